package server

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// steer is what an administrator asks of the node, in one life.
type steer struct {
	node    *node
	replica *replica.Replica
}

// Status is that of the node.
func (s steer) Status(ctx context.Context) admin.Status { return s.node.Status(ctx) }

// Bootstrap answers a repeated call for the same cluster and incarnation as the first (rule 5).
func (s steer) Bootstrap(ctx context.Context, r admin.BootstrapRequest) error {
	err := s.replica.Bootstrap(ctx, r.ClusterID, r.Incarnation, r.Member)
	switch {
	case errors.Is(err, replica.ErrIncarnation):
		return rpc.Refusal(admin.ReasonIncarnation, "%v", err)
	case errors.Is(err, replica.ErrNotEmpty):
		return rpc.Refusal(admin.ReasonNotEmpty, "%v", err)
	case errors.Is(err, replica.ErrStopped):
		return rpc.Errorf(rpc.CodeUnavailable, "the node is stopping")
	}
	return err
}

// Refound answers a repeated call for the same new cluster as the first.
func (s steer) Refound(ctx context.Context, r admin.RefoundRequest) error {
	return refusal(s.replica.Refound(ctx, r.ClusterID, r.Incarnation, r.NewClusterID, r.Member))
}

// Abandon is the replica's.
func (s steer) Abandon(_ context.Context, r admin.AbandonRequest) error {
	return refusal(s.replica.Abandon(r.ClusterID, r.Incarnation))
}

// refusal gives the reasons of a replica their names in calls.
func refusal(err error) error {
	switch {
	case errors.Is(err, replica.ErrIncarnation):
		return rpc.Refusal(admin.ReasonIncarnation, "%v", err)
	case errors.Is(err, replica.ErrOtherCluster):
		return rpc.Refusal(admin.ReasonOtherCluster, "%v", err)
	case errors.Is(err, replica.ErrHasLeader):
		return rpc.Refusal(admin.ReasonHasLeader, "%v", err)
	case errors.Is(err, replica.ErrStopped), errors.Is(err, replica.ErrUnavailable):
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	return err
}

// Change is the replica's.
func (s steer) Change(ctx context.Context, configIndex raft.Index, changes ...raft.Change) ([]raft.NodeID, raft.Index, error) {
	return s.replica.Change(ctx, configIndex, changes...)
}

// Transfer is the replica's.
func (s steer) Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error) {
	return s.replica.Transfer(ctx, to)
}
