package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/member"
)

// listenRetry is the pause before a peer address is tried again between two lives.
const listenRetry = 200 * time.Millisecond

// readinessPause is how often a member is looked at for news that nobody announces, such as a learner that has caught up.
const readinessPause = time.Second

// live runs one life of the node: the time of one incarnation of the data directory, in which there is one replica. It returns nil when
// the next one may begin, or ctx has ended.
func (n *node) live(ctx context.Context, fronts *fronts) error {
	listeners, err := n.listenPeers(ctx)
	if err != nil || ctx.Err() != nil {
		closeAll(listeners)
		return err
	}
	options := member.Options{Config: n.cfg, Metrics: n.metrics, Logger: n.logger, Memory: n.bounds}
	var machine *member.Machine // of the member, once there is one
	r, err := replica.Open(replica.Config{
		Dir: n.cfg.DataDir, Name: n.cfg.Name, Listeners: n.secured(listeners), Alone: len(n.cfg.ListenPeer) == 0,
		InitialCluster: n.initialCluster(), InitialToken: n.cfg.InitialClusterToken, AnyToken: !n.cfg.InitialClusterTokenSet,
		OpenMachine: func(p replica.Place) (_ replica.Machine, err error) {
			machine, err = member.OpenMachine(options, p)
			return machine, err
		},
		Services: func(r *replica.Replica, server *rpc.Server) error {
			n.replica.Store(r)
			n.publish()
			if err := errors.Join(registerCluster(server, n.clusterOf(r)), n.registerJoining(server, r), member.RegisterCompare(server, n.member.Load)); err != nil {
				return err
			}
			return admin.Register(server, steer{n, r}, n.board, n.cfg.AdminTokenFile)
		},
		FeatureLevel:      member.FeatureLevel,
		HeartbeatInterval: n.cfg.HeartbeatInterval, ElectionTimeout: n.cfg.ElectionTimeout, SnapshotEntries: n.cfg.SnapshotCount, LogBounds: n.bounds.Log,
		LeaseReads: n.cfg.LeaseReads, ClockDriftPercent: n.cfg.ClockDriftPercent,
		Tune:   func(t *transport.Config) { t.SnapshotBytesPerSecond = n.cfg.SnapshotBytesPerSecond },
		Dial:   n.between.Dial,
		Logger: n.logger, Observer: n.metrics,
	})
	if err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		var advertising sync.WaitGroup
		defer advertising.Wait()
		advertising.Go(func() { n.advertise(watching, r) })
		n.joins.Do(func() { advertising.Go(func() { n.join(watching, r) }) })
		n.watch(watching, r)
	}()
	defer func() {
		stopWatching()
		<-watched
	}()
	fronts.tell(n.options.Listening)
	select {
	case <-r.Running():
		m := member.Start(options, r, machine)
		n.member.Store(m)
		late := n.openLate()
		n.publish()
		n.serve(ctx, r, fronts)
		late.Stop()
		n.member.Store(nil)
		m.Stop()
	case <-r.Done():
	case <-ctx.Done():
	}
	return n.end(r)
}

// serve waits until the node is stopped or its member has ended, and finishes the requests that are being answered.
func (n *node) serve(ctx context.Context, r *replica.Replica, fronts *fronts) {
	for {
		changed := r.Changed()
		if r.Status().State != replica.StateMember {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			n.logger.Info("stopping: handing leadership over and finishing requests")
			n.handOver(r)
			fronts.drain(n.logger)
			return
		}
	}
}

// end stops the replica, and tells whether the node goes on.
func (n *node) end(r *replica.Replica) error {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	err := r.Stop(ctx)
	if errors.Is(err, replica.ErrRemoved) || errors.Is(err, replica.ErrRefounded) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the node stops, since going on would put data at risk: %w", err)
	}
	return nil
}

func (n *node) initialCluster() []replica.Member {
	var members []replica.Member
	for _, m := range n.cfg.InitialCluster {
		members = append(members, bootstrap.StaticMember(m))
	}
	return members
}

// listenPeers takes the listeners that were opened at the start, or opens the addresses again: a replica's end closes them.
func (n *node) listenPeers(ctx context.Context) ([]net.Listener, error) {
	if open := n.peers; open != nil {
		n.peers = nil
		return open, nil
	}
	for {
		listeners, err := listen("peers", n.cfg.ListenPeer)
		if err == nil {
			return listeners, nil
		}
		n.logger.Warn("the peer port cannot be opened again yet", "error", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(listenRetry):
		}
	}
}

// secured puts TLS on the peers' connections where it is asked for.
func (n *node) secured(listeners []net.Listener) []net.Listener {
	out := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		out[i] = n.between.Listen(l, n.cfg.ListenPeer[i])
	}
	return out
}

// handOver lets another member lead before the clients' requests are finished, so that they can be.
func (n *node) handOver(r *replica.Replica) {
	if s := r.Status(); !s.Leads() || len(s.Membership.Voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if leader, err := r.Transfer(ctx, 0); err != nil {
		n.logger.Warn("leadership could not be handed over", "error", err)
	} else {
		n.logger.Info("handed leadership over", "leader", leader.String())
	}
}

// watch publishes what changes.
func (n *node) watch(ctx context.Context, r *replica.Replica) {
	pause := time.NewTicker(readinessPause)
	defer pause.Stop()
	for {
		changed := r.Changed()
		n.publish()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-pause.C:
		}
	}
}
