package server

import (
	"context"
	"errors"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd"
)

// readyLine is what scripts and test drivers that were written for etcd wait for.
const readyLine = "ready to serve client requests"

// membershipPause is the pause before a change of the membership is asked for again that came too close to another.
const membershipPause = 50 * time.Millisecond

// newEtcd makes the front end of the etcd v3 API.
func (n *node) newEtcd() *etcd.Server {
	return etcd.New(n.service, n.cluster, etcd.Options{
		MaxRequestBytes: n.cfg.MaxRequestBytes, ElectionTimeout: n.cfg.ElectionTimeout, Logger: n.logger,
	})
}

// service is the whole store of this life's member, nil if there is none.
func (n *node) service() backend.Store {
	if m := n.member.Load(); m != nil {
		return m.Store()
	}
	return nil
}

func (n *node) cluster() etcd.Cluster {
	if r := n.replica.Load(); r != nil && n.member.Load() != nil {
		return cluster{r}
	}
	return nil
}

// cluster is the replica's cluster as clients ask for it, who know nothing of the index of a membership.
type cluster struct{ replica *replica.Replica }

// Members is that of etcd.Cluster.
func (c cluster) Members(ctx context.Context, linearizable bool) (raft.Membership, error) {
	if linearizable {
		if err := c.replica.Barrier(ctx); err != nil {
			return raft.Membership{}, err
		}
	}
	return c.replica.Status().Membership, nil
}

// Change is that of etcd.Cluster. It asks again when the membership has moved on, since the client's wish does not depend on it.
func (c cluster) Change(ctx context.Context, change raft.Change) error {
	for {
		_, _, err := c.replica.Change(ctx, c.replica.Status().ConfigIndex, change)
		if !errors.Is(err, raft.ErrConfigMoved) && !errors.Is(err, raft.ErrChangePending) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(membershipPause):
		}
	}
}

// Transfer is that of etcd.Cluster.
func (c cluster) Transfer(ctx context.Context, to raft.NodeID) error {
	_, err := c.replica.Transfer(ctx, to)
	return err
}
