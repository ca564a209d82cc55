package server

import (
	"context"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/native"
)

// newNative makes the front end of the native protocol.
func (n *node) newNative() (*native.Server, error) {
	return native.New(n.batches, n.nativeCluster, native.Options{
		Name: n.cfg.Name, Version: n.options.Version, MaxRequestBytes: n.cfg.MaxRequestBytes, ElectionTimeout: n.cfg.ElectionTimeout, Answers: n.answers, Logger: n.logger,
	})
}

// batches is the store of this life's member with its service for batches, nil if there is none.
func (n *node) batches() native.Store {
	if m := n.member.Load(); m != nil {
		return m.Batches()
	}
	return nil
}

func (n *node) nativeCluster() native.Cluster {
	if r := n.replica.Load(); r != nil && n.member.Load() != nil {
		return anyMember{n.clusterOf(r)}
	}
	return nil
}

// anyMember is the cluster as one may ask any member for it.
type anyMember struct{ cluster }

// Transfer is that of native.Cluster: any member takes it to the leader.
func (c anyMember) Transfer(ctx context.Context, to raft.NodeID) error {
	now := c.replica.Status()
	switch {
	case now.Leads():
		return c.cluster.Transfer(ctx, to)
	case now.Leader == 0:
		return raft.ErrNoLeader
	}
	leader, err := c.ask(ctx, now.Leader)
	if err != nil {
		return err
	}
	_, err = leader.Transfer(ctx, &transferWish{to})
	return asked(err)
}
