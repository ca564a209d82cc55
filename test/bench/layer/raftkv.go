//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/rpc"
)

// Settings of raftkv's members; the times are the product's defaults.
const (
	clusterID         = raft.ClusterID(0xbe7c)
	heartbeatInterval = 50 * time.Millisecond
	electionTimeout   = 500 * time.Millisecond
	snapshotEntries   = 100_000
	stopWait          = 5 * time.Second
)

// raftkv is a member as the node's program runs it, but for the store and what the operator asks.
type raftkv struct {
	node      *node.Node
	log       *wal.Log
	server    *rpc.Server
	transport *transport.Transport
	// ready is closed when node is set.
	ready chan struct{}
}

func incarnationOf(id int) raft.Incarnation { return raft.Incarnation(1000 + id) }

func startRaftkv(p place) (engine, error) {
	id := transport.Identity{Cluster: clusterID, ID: raft.NodeID(p.id), Incarnation: incarnationOf(p.id)}
	var first []raft.Member
	for i, address := range p.addresses {
		first = append(first, raft.Member{ID: raft.NodeID(i + 1), Incarnation: incarnationOf(i + 1), Name: "m" + strconv.Itoa(i+1), PeerAddress: address})
	}
	membership := raft.NewMembership(first...)
	membership.Index = 1
	meta := raft.SnapshotMeta{Index: 1, Term: 1, Membership: membership}
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(p.dir, "wal"), wal.Options{Identity: wal.Identity{Cluster: id.Cluster, Member: id.ID, Incarnation: id.Incarnation}})
	if err != nil {
		return nil, err
	}
	if err := log.Append([]*raft.StoreRequest{{HardState: &raft.HardState{Term: 1}, Snapshot: &meta}}); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	r := &raftkv{log: log, server: rpc.NewServer(rpc.ServerOptions{Logger: logger}), ready: make(chan struct{})}
	r.transport, err = transport.New(r.server, transport.Config{
		Identity: id, FeatureMin: 1, FeatureMax: 1, Receive: r.receive, Logger: logger,
		Gate: gate{transport.Local{Identity: id, FeatureMin: 1, FeatureMax: 1, Committed: membership}},
		Events: transport.Events{Unreachable: func(to raft.NodeID) {
			<-r.ready
			r.node.Unreachable(to)
		}},
	})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", p.addresses[p.id-1])
	if err != nil {
		return nil, err
	}
	go func() { _ = r.server.Serve(listener) }() // it ends with Close
	r.node, err = node.Start(node.Config{
		ID: id.ID, Name: first[p.id-1].Name, Incarnation: id.Incarnation,
		StateMachine: newMachine(meta), Sessions: sessions{}, Log: log,
		Initial:   raft.Initial{HardState: raft.HardState{Term: 1}, Applied: meta, LogStart: raft.Position{Index: meta.Index, Term: meta.Term}},
		Transport: link{r.transport}, Logger: logger, Random: rand.IntN, Nonce: rand.Uint64() | 1,
		HeartbeatInterval: heartbeatInterval, ElectionTimeout: electionTimeout, SnapshotEntries: snapshotEntries,
	})
	if err != nil {
		return nil, err
	}
	close(r.ready)
	return r, nil
}

func (r *raftkv) receive(messages []raft.Message) {
	<-r.ready
	r.node.Deliver(messages...)
}

func (r *raftkv) Leads() bool {
	s := r.node.Summary()
	return s.Role == raft.RoleLeader && s.Ready
}

func (r *raftkv) Propose(ctx context.Context, data []byte) error {
	_, err := r.node.Propose(ctx, data)
	return err
}

func (r *raftkv) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	r.node.Stop(ctx)
	return errors.Join(r.transport.Close(), r.server.Close(), r.log.Close())
}

// gate lets the members in that there were at the start: there are no others here.
type gate struct{ local transport.Local }

func (g gate) Accept(h transport.Hello) (transport.HelloReply, error) {
	return transport.HelloReply{}, transport.Decide(g.local, h)
}

var errNotHere = errors.New("nothing in this benchmark needs that")

// link is the transport as the node wants it. Nobody is ever so far behind that it needs a snapshot, and all proposals are made at
// the leader.
type link struct{ *transport.Transport }

func (l link) SetMembership(current, _ raft.Membership) { l.SetPeers(current.Members) }

func (l link) SendSnapshot(context.Context, raft.Message, io.WriterTo) error { return errNotHere }

func (l link) Forward(context.Context, raft.NodeID, [][]byte) error {
	return errors.Join(node.ErrNotAppended, errNotHere)
}
