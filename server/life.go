package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/member"
)

// listenRetry is the pause before a peer address is tried again between two lives.
const listenRetry = 200 * time.Millisecond

// readinessPause is how often a member is looked at for news that nobody announces, such as a learner that has caught up.
const readinessPause = time.Second

// life is the time of one incarnation of the data directory.
type life struct {
	node   *node
	server *rpc.Server
	door   *member.Door
	former *bootstrap.Former // nil unless the flags name a static cluster

	running sync.WaitGroup
	// bootstraps hands the administrator's bootstraps to the life, which answers them.
	bootstraps chan bootstrapCall
	// became is closed when the directory belongs to a member, ended at the end of the life.
	became, ended chan struct{}
}

type bootstrapCall struct {
	request admin.BootstrapRequest
	done    chan error
}

// live runs one life. It returns nil when the next one may begin, or ctx has ended.
func (n *node) live(ctx context.Context, fronts *fronts) error {
	l := &life{node: n, bootstraps: make(chan bootstrapCall), became: make(chan struct{}), ended: make(chan struct{})}
	n.setState(l.firstState())
	defer l.close()
	if err := l.open(ctx); err != nil {
		return err
	}
	fronts.tell(n.options.Listening)
	if n.dir.Identity().Empty() {
		if err := l.becomeMember(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return l.beMember(ctx, fronts)
}

func (l *life) firstState() admin.NodeState {
	switch {
	case !l.node.dir.Identity().Empty():
		return admin.StateMember
	case len(l.node.cfg.InitialCluster) > 0:
		return admin.StateForming
	}
	return admin.StateEmpty
}

// open registers the services of the peer port and serves them.
func (l *life) open(ctx context.Context) error {
	n := l.node
	id := n.dir.Identity()
	l.server = rpc.NewServer(rpc.ServerOptions{Logger: member.Quiet(n.logger)})
	var err error
	if len(n.cfg.InitialCluster) > 0 {
		if l.former, err = n.newFormer(id); err != nil {
			return err
		}
		if err := l.former.Register(l.server); err != nil {
			return err
		}
	}
	adoptable := func() bool { return l.former == nil || !l.former.Stored() }
	if l.door, err = member.NewDoor(l.server, id, adoptable, n.logger); err != nil {
		return err
	}
	if err := admin.Register(l.server, l, n.board, n.cfg.AdminTokenFile); err != nil {
		return err
	}
	n.door.Store(l.door)
	listeners, err := l.listenPeers(ctx)
	if err != nil {
		return err
	}
	for _, x := range listeners {
		l.running.Go(func() {
			if err := l.server.Serve(x); !errors.Is(err, rpc.ErrServerClosed) {
				n.logger.Error("a listener failed", "port", "peer", "error", err)
			}
		})
	}
	return nil
}

func (n *node) newFormer(id identity.Identity) (*bootstrap.Former, error) {
	if !id.Empty() && n.cfg.InitialClusterTokenSet && id.ClusterToken != "" && id.ClusterToken != bootstrap.TokenHash(n.cfg.InitialClusterToken) {
		return nil, fmt.Errorf("%s belongs to member %s of cluster %s, which was formed with another --initial-cluster-token: "+
			"give this node its own --data-dir, or the token of that cluster", n.dir.Path(), id.MemberID, id.ClusterID)
	}
	var members []bootstrap.StaticMember
	for _, m := range n.cfg.InitialCluster {
		members = append(members, bootstrap.StaticMember(m))
	}
	return bootstrap.NewFormer(bootstrap.Options{
		Name: n.cfg.Name, Incarnation: id.Incarnation, Token: n.cfg.InitialClusterToken, Members: members,
		Dir: n.dir.Path(), Formed: !id.Empty(), Logger: n.logger,
	})
}

// listenPeers takes the listeners that were opened at the start, or opens the addresses again: a server's end closes them.
func (l *life) listenPeers(ctx context.Context) ([]net.Listener, error) {
	n := l.node
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

// close ends the services and waits for them.
func (l *life) close() {
	close(l.ended)
	if l.door != nil {
		if err := l.door.Close(); err != nil {
			l.node.logger.Debug("closing the connections to members", "error", err)
		}
	}
	if err := l.server.Close(); err != nil {
		l.node.logger.Debug("closing the peer port", "error", err)
	}
	l.running.Wait()
}

// becomeMember waits for whichever comes first: the static cluster has formed, an administrator bootstraps, a leader adopts.
func (l *life) becomeMember(ctx context.Context) error {
	n := l.node
	forming, cancel := context.WithCancel(ctx)
	defer cancel()
	formed := make(chan formation, 1)
	if l.former != nil {
		l.running.Go(func() {
			table, err := l.former.Run(forming)
			formed <- formation{table, err}
		})
	} else {
		n.logger.Info("this node is empty: it waits to be bootstrapped, or added to a cluster", "incarnation", n.dir.Identity().Incarnation.String())
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-formed:
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(f.err, bootstrap.ErrJoin) {
				n.logger.Warn("this node waits to be added to the cluster as a new member", "reason", f.err, "incarnation", n.dir.Identity().Incarnation.String())
				n.setState(admin.StateEmpty)
				continue
			}
			if f.err != nil {
				return f.err
			}
			return l.form(f.table)
		case a := <-l.door.Adopted():
			n.logger.Info("a leader has added this node", "cluster", a.Cluster.String(), "member", a.Member.String())
			return n.dir.BecomeMember(a.Cluster, a.Member, "", func(dir string) error {
				return member.PrepareJoining(dir, n.identityAs(a.Cluster, a.Member), n.logger)
			})
		case call := <-l.bootstraps:
			err := l.bootstrap(call.request)
			if err != nil {
				call.done <- err
				return err
			}
			n.setState(admin.StateMember)
			call.done <- nil
			return nil
		}
	}
}

type formation struct {
	table bootstrap.Table
	err   error
}

// identityAs is the directory's identity once it is that member's.
func (n *node) identityAs(cluster raft.ClusterID, id raft.NodeID) identity.Identity {
	out := n.dir.Identity()
	out.ClusterID, out.MemberID = cluster, id
	return out
}

// form makes the directory one of the static cluster's.
func (l *life) form(t bootstrap.Table) error {
	n := l.node
	self, _ := t.Find(n.cfg.Name)
	n.logger.Info("the static cluster has formed", "cluster", t.ClusterID().String(), "member", self.ID.String(), "members", len(t.Members))
	err := n.dir.BecomeMember(t.ClusterID(), self.ID, t.Token, func(dir string) error {
		return member.PrepareFirst(dir, n.identityAs(t.ClusterID(), self.ID), t.Membership(), n.logger)
	})
	if err == nil {
		l.former.Formed()
	}
	return err
}

// bootstrap makes the directory that of the only voter of a new cluster.
func (l *life) bootstrap(r admin.BootstrapRequest) error {
	n := l.node
	first := r.Member
	first.ID, first.Learner, first.Incarnation = bootstrap.AdminFirstID, false, r.Incarnation
	if first.Name == "" {
		first.Name = n.cfg.Name
	}
	n.logger.Info("bootstrapping a new cluster", "cluster", r.ClusterID.String())
	return n.dir.BecomeMember(r.ClusterID, first.ID, "", func(dir string) error {
		return member.PrepareFirst(dir, n.identityAs(r.ClusterID, first.ID), bootstrap.FirstMembership(first), n.logger)
	})
}

// beMember runs the member until ctx ends, or it is removed or fails.
func (l *life) beMember(ctx context.Context, fronts *fronts) error {
	n := l.node
	n.setState(admin.StateMember)
	close(l.became)
	m, err := member.Start(member.Options{
		Dir: n.dir.MemberPath(), Identity: n.dir.Identity(), Config: n.cfg, Door: l.door, Metrics: n.metrics, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.member.Store(m)
	watching, stopWatching := context.WithCancel(context.Background())
	l.running.Go(func() { n.watch(watching, m) })
	defer stopWatching()
	var failure error
	select {
	case <-ctx.Done():
		n.logger.Info("stopping: handing leadership over and finishing requests")
		l.handOver(m)
		fronts.drain(n.logger)
	case failure = <-m.Fatal():
	case <-m.Removed():
		n.logger.Warn("this member was removed from the cluster: its directory will be set aside")
		n.setState(admin.StateRemoved)
	}
	n.member.Store(nil)
	stopping, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if failure != nil || n.removed() {
		cancel() // nothing to hand over
	}
	err = m.Stop(stopping)
	if failure != nil {
		return fmt.Errorf("the node stops, since going on would put data at risk: %w", failure)
	}
	if err != nil {
		return fmt.Errorf("close log and state: %w", err)
	}
	if n.removed() {
		return l.setAside()
	}
	return nil
}

// handOver lets another member lead before the clients' requests are finished, so that they can be.
func (l *life) handOver(m *member.Member) {
	if m.Summary().Role != raft.RoleLeader || len(m.Summary().Membership.Voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if leader, err := m.Transfer(ctx, 0); err != nil {
		l.node.logger.Warn("leadership could not be handed over", "error", err)
	} else {
		l.node.logger.Info("handed leadership over", "leader", leader.String())
	}
}

func (n *node) removed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state == admin.StateRemoved
}

func (l *life) setAside() error {
	n := l.node
	aside, err := n.dir.SetAside(bootstrap.TableFile)
	if err != nil {
		return fmt.Errorf("set the removed member's directory aside: %w", err)
	}
	n.logger.Warn("set the removed member's directory aside; it is safe to delete once nobody wants its data", "path", aside,
		"incarnation", n.dir.Identity().Incarnation.String())
	return nil
}

// watch publishes what changes.
func (n *node) watch(ctx context.Context, m *member.Member) {
	pause := time.NewTicker(readinessPause)
	defer pause.Stop()
	for {
		changed := m.Changed()
		n.publish()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-pause.C:
		}
	}
}
