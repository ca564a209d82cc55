//go:build linux

package main

import (
	"context"
	"io"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	dragonboatconfig "github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"
)

// Settings of dragonboat: tan, the faster one of its logs; the times as raftkv's.
const (
	shardID            = 1
	roundTripMillis    = uint64(heartbeatInterval / time.Millisecond)
	compactionOverhead = snapshotEntries / 2
)

// settingsFiles are read by a system from the directory that it is started in. As it comes dragonboat refuses more than 2,048
// proposals at a time, and there may be maxCallers here.
var settingsFiles = map[string]map[string]string{
	"dragonboat": {"dragonboat-soft-settings.json": `{"IncomingProposalQueueLength": 8192}`},
}

// dragonboatRaft is a member of dragonboat.
type dragonboatRaft struct {
	host    *dragonboat.NodeHost
	id      uint64
	session *client.Session
}

func startDragonboat(p place) (engine, error) {
	for _, name := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "raftpb", "config", "utils", "tan", "settings", "order"} {
		logger.GetLogger(name).SetLevel(logger.WARNING)
	}
	expert := dragonboatconfig.GetDefaultExpertConfig()
	expert.LogDBFactory = tan.Factory
	host, err := dragonboat.NewNodeHost(dragonboatconfig.NodeHostConfig{
		WALDir: makeDir(p.dir, "wal"), NodeHostDir: makeDir(p.dir, "host"), RTTMillisecond: roundTripMillis,
		RaftAddress: p.addresses[p.id-1], Expert: expert,
	})
	if err != nil {
		return nil, err
	}
	first := map[uint64]dragonboat.Target{}
	for i, address := range p.addresses {
		first[uint64(i+1)] = address
	}
	d := &dragonboatRaft{host: host, id: uint64(p.id), session: host.GetNoOPSession(shardID)}
	return d, host.StartReplica(first, false, newDragonboatMachine, dragonboatconfig.Config{
		ReplicaID: d.id, ShardID: shardID, CheckQuorum: true, PreVote: true,
		HeartbeatRTT: 1, ElectionRTT: uint64(electionTimeout / heartbeatInterval),
		SnapshotEntries: snapshotEntries, CompactionOverhead: compactionOverhead,
	})
}

func (d *dragonboatRaft) Leads() bool {
	leader, _, known, err := d.host.GetLeaderID(shardID)
	return err == nil && known && leader == d.id
}

func (d *dragonboatRaft) Propose(ctx context.Context, command []byte) error {
	_, err := d.host.SyncPropose(ctx, d.session, command)
	return err
}

func (d *dragonboatRaft) Stop() error {
	d.host.Close()
	return nil
}

// dragonboatMachine counts bytes.
type dragonboatMachine struct{ bytes uint64 }

func newDragonboatMachine(uint64, uint64) statemachine.IStateMachine { return &dragonboatMachine{} }

func (m *dragonboatMachine) Update(e statemachine.Entry) (statemachine.Result, error) {
	m.bytes += uint64(len(e.Cmd))
	return statemachine.Result{Value: m.bytes}, nil
}

func (m *dragonboatMachine) Lookup(any) (any, error) { return m.bytes, nil }

func (m *dragonboatMachine) SaveSnapshot(io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}

func (m *dragonboatMachine) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return nil
}

func (m *dragonboatMachine) Close() error { return nil }
