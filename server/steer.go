package server

import (
	"context"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// Status is that of the node.
func (l *life) Status(ctx context.Context) admin.Status { return l.node.Status(ctx) }

// Bootstrap answers a repeated call for the same cluster and incarnation as the first (rule 5).
func (l *life) Bootstrap(ctx context.Context, r admin.BootstrapRequest) error {
	n := l.node
	n.mu.Lock()
	id, state := n.id, n.state
	n.mu.Unlock()
	switch {
	case id.Incarnation != r.Incarnation:
		return rpc.Refusal(admin.ReasonIncarnation, "incarnation %s was meant, this directory is of incarnation %s: look again", r.Incarnation, id.Incarnation)
	case !id.Empty() && id.ClusterID == r.ClusterID && id.MemberID == bootstrap.AdminFirstID:
		return nil
	case !id.Empty():
		return rpc.Refusal(admin.ReasonNotEmpty, "this directory belongs to member %s of cluster %s", id.MemberID, id.ClusterID)
	case l.former != nil:
		return rpc.Refusal(admin.ReasonNotEmpty, "this node is %s of a static cluster by its --initial-cluster", state)
	}
	call := bootstrapCall{request: r, done: make(chan error, 1)}
	select {
	case l.bootstraps <- call:
	case <-l.became:
		return l.Bootstrap(ctx, r) // it has become somebody's meanwhile
	case <-l.ended:
		return rpc.Errorf(rpc.CodeUnavailable, "the node is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-call.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Change is the member's.
func (l *life) Change(ctx context.Context, configIndex raft.Index, change raft.Change) (raft.NodeID, raft.Index, error) {
	m := l.node.member.Load()
	if m == nil {
		return 0, 0, raft.ErrNotLeader
	}
	return m.Change(ctx, configIndex, change)
}

// Transfer is the member's.
func (l *life) Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error) {
	m := l.node.member.Load()
	if m == nil {
		return 0, raft.ErrNotLeader
	}
	return m.Transfer(ctx, to)
}
