package server

import (
	"context"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/joining"
)

// registerJoining lets nodes claim the places that etcd's clients make for them. Where there is an admin token its owner gives them out.
func (n *node) registerJoining(server *rpc.Server, r *replica.Replica) error {
	if n.cfg.AdminTokenFile != "" {
		return nil
	}
	return joining.Register(server, func() raft.ClusterID { return r.Status().Identity.ClusterID }, n.clusterOf(r))
}

// join takes the place that was made for this node. It is for the process's first life: a member that is removed while it runs waits, or its
// process would take the place that was made for the one that is to follow it at the same address.
func (n *node) join(ctx context.Context, r *replica.Replica) {
	if len(n.cfg.ExistingCluster) == 0 || n.cfg.AdvertisePeer == "" {
		return
	}
	o := joining.Options{
		Name: n.cfg.Name, PeerAddress: n.cfg.AdvertisePeer, Dir: n.cfg.DataDir,
		Replica: r, Cluster: n.clusterOf(r), Dial: n.between.Dial, Logger: n.logger,
	}
	for _, m := range n.cfg.ExistingCluster {
		o.Members = append(o.Members, m.PeerAddress)
	}
	joining.Run(ctx, o)
}
