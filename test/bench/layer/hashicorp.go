//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	hashicorp "github.com/hashicorp/raft"
	hashicorpwal "github.com/hashicorp/raft-wal"
)

// Settings of hashicorp/raft: those that were the fastest here; the times as raftkv's.
const (
	maxAppendEntries = 1024
	// cachedEntries are kept in memory, so that what is to be sent need not be read back from the disk.
	cachedEntries  = 16 << 10
	transportPool  = 3
	transportLimit = 10 * time.Second
	snapshotPause  = 5 * time.Second
)

// hashicorpRaft is a member of hashicorp/raft over raft-wal.
type hashicorpRaft struct {
	raft      *hashicorp.Raft
	transport *hashicorp.NetworkTransport
	log       *hashicorpwal.WAL
}

func startHashicorp(p place) (engine, error) {
	log, err := hashicorpwal.Open(makeDir(p.dir, "wal"))
	if err != nil {
		return nil, err
	}
	cache, err := hashicorp.NewLogCache(cachedEntries, log)
	if err != nil {
		return nil, err
	}
	snapshots, err := hashicorp.NewFileSnapshotStore(p.dir, 1, os.Stderr)
	if err != nil {
		return nil, err
	}
	transport, err := hashicorp.NewTCPTransport(p.addresses[p.id-1], nil, transportPool, transportLimit, os.Stderr)
	if err != nil {
		return nil, err
	}
	config := hashicorp.DefaultConfig()
	config.LocalID = hashicorp.ServerID(strconv.Itoa(p.id))
	config.MaxAppendEntries, config.BatchApplyCh = maxAppendEntries, true
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = electionTimeout, electionTimeout, electionTimeout
	config.CommitTimeout = heartbeatInterval
	config.SnapshotThreshold, config.SnapshotInterval = snapshotEntries, snapshotPause
	config.LogLevel, config.LogOutput = "WARN", os.Stderr
	servers := make([]hashicorp.Server, len(p.addresses))
	for i, address := range p.addresses {
		servers[i] = hashicorp.Server{ID: hashicorp.ServerID(strconv.Itoa(i + 1)), Address: hashicorp.ServerAddress(address)}
	}
	if err := hashicorp.BootstrapCluster(config, cache, log, snapshots, transport, hashicorp.Configuration{Servers: servers}); err != nil {
		return nil, err
	}
	r, err := hashicorp.NewRaft(config, &hashicorpMachine{}, cache, log, snapshots, transport)
	if err != nil {
		return nil, err
	}
	return &hashicorpRaft{raft: r, transport: transport, log: log}, nil
}

func makeDir(parts ...string) string {
	dir := filepath.Join(parts...)
	_ = os.MkdirAll(dir, 0o700) // whoever uses it finds out
	return dir
}

func (h *hashicorpRaft) Leads() bool { return h.raft.State() == hashicorp.Leader }

func (h *hashicorpRaft) Propose(_ context.Context, command []byte) error {
	return h.raft.Apply(command, 0).Error()
}

func (h *hashicorpRaft) Stop() error {
	return errors.Join(h.raft.Shutdown().Error(), h.transport.Close(), h.log.Close())
}

// hashicorpMachine counts bytes.
type hashicorpMachine struct{ bytes uint64 }

func (m *hashicorpMachine) Apply(l *hashicorp.Log) any {
	m.bytes += uint64(len(l.Data))
	return nil
}

func (m *hashicorpMachine) ApplyBatch(logs []*hashicorp.Log) []any {
	for _, l := range logs {
		m.bytes += uint64(len(l.Data))
	}
	return make([]any, len(logs))
}

func (m *hashicorpMachine) Snapshot() (hashicorp.FSMSnapshot, error) { return emptySnapshot{}, nil }

func (m *hashicorpMachine) Restore(r io.ReadCloser) error { return r.Close() }

// emptySnapshot has nothing in it: how long a snapshot takes is not what is measured.
type emptySnapshot struct{}

func (emptySnapshot) Persist(sink hashicorp.SnapshotSink) error { return sink.Close() }

func (emptySnapshot) Release() {}
