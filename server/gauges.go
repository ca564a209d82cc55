package server

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/raft"
	raftnode "github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/status"
)

// gauges is a node as metrics are read from it. All of it works in every state of the node.
type gauges struct{ node *node }

func (g gauges) running() *raftnode.Node {
	if r := g.node.replica.Load(); r != nil {
		return r.Node()
	}
	return nil
}

// RaftStatus is that of the running member's core.
func (g gauges) RaftStatus(ctx context.Context) (raft.Status, time.Duration, bool) {
	n := g.running()
	if n == nil {
		return raft.Status{}, 0, false
	}
	s, err := n.Status(ctx)
	return s, n.Tick(), err == nil
}

// Queues are those of the running member.
func (g gauges) Queues() []raftnode.QueueDepth {
	if n := g.running(); n != nil {
		return n.Queues()
	}
	return nil
}

// Stats are those of the connections that this node makes to its peers.
func (g gauges) Stats() transport.Stats {
	if r := g.node.replica.Load(); r != nil {
		return r.Stats()
	}
	return transport.Stats{}
}

// StoreSize is that of the running member's store.
func (g gauges) StoreSize(ctx context.Context) (status.StoreSize, bool) {
	m := g.node.member.Load()
	if m == nil {
		return status.StoreSize{}, false
	}
	s, err := m.Store().Status(ctx)
	return status.StoreSize{FileBytes: s.FileBytes, UsedBytes: s.UsedBytes, QuotaBytes: s.QuotaBytes}, err == nil && s.FileBytes > 0
}

// Served are the calls on the peer port.
func (g gauges) Served() rpc.CallStats {
	if r := g.node.replica.Load(); r != nil {
		return r.Calls()
	}
	return rpc.CallStats{}
}
