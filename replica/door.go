package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/rpc"
)

// features are the feature levels that a build can run at.
type features struct{ lowest, highest uint32 }

// adoption is what a leader says to a directory that was added.
type adoption struct {
	cluster raft.ClusterID
	member  raft.NodeID
}

// door is the peer port's side of a replica: it decides which members may connect, and carries messages between them and this one.
type door struct {
	logger    *slog.Logger
	transport *transport.Transport
	forwarder forwarder
	// adoptable tells whether the directory may be adopted, as long as it is empty.
	adoptable func() bool
	adopted   chan adoption
	removed   chan struct{}

	inner      atomic.Pointer[inside]
	background sync.WaitGroup // rechecks and introductions

	mu        sync.Mutex
	local     transport.Local
	removedBy sync.Once
	// levels are the feature levels of the members that are connected, nonces their processes.
	levels  map[raft.NodeID]uint32
	nonces  map[raft.NodeID]uint64
	refusal map[raft.NodeID]string
	// current is the membership in force, introduction the newest one that another member told of.
	current, introduction raft.Membership
	introducing           map[raft.NodeID]*introducing
	closed                bool
	// news has a place for one word: levels have changed.
	news chan struct{}
}

// inside is the running member behind the door.
type inside struct {
	node           *node.Node
	clusterVersion func() uint32
}

// newDoor registers what members ask of each other on the peer port's server. While the directory is empty, adoptable is asked
// before it is adopted; it must not block.
func newDoor(server *rpc.Server, id identity.Identity, levels features, adoptable func() bool, cfg Config) (*door, error) {
	d := &door{
		logger: cfg.Logger, adoptable: adoptable,
		adopted: make(chan adoption, 1), removed: make(chan struct{}), news: make(chan struct{}, 1),
		levels: map[raft.NodeID]uint32{}, nonces: map[raft.NodeID]uint64{}, refusal: map[raft.NodeID]string{}, introducing: map[raft.NodeID]*introducing{},
	}
	d.local = transport.Local{Identity: identityOf(id), FeatureMin: levels.lowest, FeatureMax: levels.highest}
	settings := transport.Config{
		Identity: identityOf(id), FeatureMin: levels.lowest, FeatureMax: levels.highest,
		Gate: d, Receive: d.receive, Sink: d, Dial: cfg.Dial, Logger: quiet(cfg.Logger),
		SnapshotBytesPerSecond: transport.DefaultSnapshotBytesPerSecond,
		Events: transport.Events{
			Unreachable: d.unreachable, Connected: d.connected, Lost: d.lost, DialFailed: d.dialFailed, Refused: d.refused,
		},
	}
	if cfg.Tune != nil {
		cfg.Tune(&settings)
	}
	var err error
	if d.transport, err = transport.New(server, settings); err != nil {
		return nil, err
	}
	d.forwarder.transport = d.transport
	if err := errors.Join(registerForward(server, d), registerIntroduction(server, d)); err != nil {
		return nil, err
	}
	return d, nil
}

func identityOf(id identity.Identity) transport.Identity {
	return transport.Identity{Cluster: id.ClusterID, ID: id.MemberID, Incarnation: id.Incarnation}
}

// close ends the connections to other members.
func (d *door) close() error {
	d.mu.Lock()
	d.closed = true
	for _, x := range d.introducing {
		x.cancel()
	}
	d.mu.Unlock()
	d.background.Wait()
	return d.transport.Close()
}

// Accept is the transport's question about a connection from another member.
func (d *door) Accept(h transport.Hello) (transport.HelloReply, error) {
	d.mu.Lock()
	local := d.local
	d.mu.Unlock()
	if in := d.inner.Load(); in != nil {
		local.FeatureMin = max(local.FeatureMin, in.clusterVersion())
	}
	if local.ID == 0 {
		d.considerAdoption(local, h)
	}
	return transport.HelloReply{}, transport.Decide(local, h)
}

// considerAdoption takes up what a member says of an empty directory (rule: the incarnation must be named). Members dial a new
// learner only once its addition is committed, so the ID is its own for good.
func (d *door) considerAdoption(local transport.Local, h transport.Hello) {
	if h.ToIncarnation != local.Incarnation || h.Cluster == 0 || h.To == 0 || !d.adoptable() {
		return
	}
	select {
	case d.adopted <- adoption{cluster: h.Cluster, member: h.To}:
	default: // one is enough
	}
}

// identify says whom this directory speaks for from now on.
func (d *door) identify(id identity.Identity) {
	d.mu.Lock()
	d.local.Identity = identityOf(id)
	d.mu.Unlock()
	d.transport.SetIdentity(identityOf(id))
}

// enter puts a running member behind the door.
func (d *door) enter(in *inside) { d.inner.Store(in) }

// leave stops the delivery to the member.
func (d *door) leave() { d.inner.Store(nil) }

func (d *door) receive(messages []raft.Message) {
	in := d.inner.Load()
	if in == nil {
		return // Raft tolerates loss
	}
	in.node.Deliver(messages...)
}

func (d *door) unreachable(id raft.NodeID) {
	if in := d.inner.Load(); in != nil {
		in.node.Unreachable(id)
	}
}

func (d *door) connected(id raft.NodeID, reply transport.HelloReply) {
	d.mu.Lock()
	old := d.nonces[id]
	d.nonces[id], d.levels[id] = reply.Nonce, reply.FeatureMax
	delete(d.refusal, id)
	d.introduceTo(id)
	d.mu.Unlock()
	d.logger.Info("connected to a member", "peer", id.String(), "featureLevel", reply.FeatureMax)
	if in := d.inner.Load(); in != nil && old != 0 && old != reply.Nonce {
		in.node.LeaderGone(id)
	}
	d.tell()
}

func (d *door) lost(id raft.NodeID, err error) {
	d.stopIntroducing(id)
	d.mu.Lock()
	delete(d.levels, id)
	d.mu.Unlock()
	d.logger.Info("lost the connection to a member", "peer", id.String(), "error", err)
}

func (d *door) dialFailed(id raft.NodeID, portClosed bool, _ error) {
	if in := d.inner.Load(); in != nil && portClosed {
		in.node.LeaderGone(id)
	}
}

// refused notes that a member of the cluster does not take this one for a member. It is told at each attempt and logged once.
func (d *door) refused(id raft.NodeID, reason transport.Reason, text string) {
	d.mu.Lock()
	said := d.refusal[id] == text
	d.refusal[id] = text
	d.mu.Unlock()
	level := slog.LevelWarn
	if reason == transport.ReasonNotMember {
		level = slog.LevelInfo // it is on its way to becoming one
	}
	if !said {
		d.logger.Log(context.Background(), level, "a member refuses this node", "peer", id.String(), "reason", string(reason), "text", text)
	}
	if reason == transport.ReasonRemoved {
		d.noteRemoved()
	}
}

func (d *door) noteRemoved() { d.removedBy.Do(func() { close(d.removed) }) }

// tell wakes who watches the levels.
func (d *door) tell() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// featureLevels returns what is known of the members that are connected.
func (d *door) featureLevels() map[raft.NodeID]uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[raft.NodeID]uint32, len(d.levels))
	for id, level := range d.levels {
		out[id] = level
	}
	return out
}

// setMembership makes the door follow the membership.
func (d *door) setMembership(current, committed raft.Membership) {
	d.mu.Lock()
	self, news := d.local.ID, committed.Index > d.local.Committed.Index
	d.current, d.local.Committed = current, committed
	d.followPeers()
	if news {
		for id := range d.levels {
			d.introduceTo(id)
		}
	}
	d.mu.Unlock()
	d.background.Go(d.transport.Recheck) // it writes to connections, and this is the node's loop
	if committed.Removed(self) {
		d.noteRemoved()
	}
}

// followPeers connects to the members that are known. The caller holds mu.
func (d *door) followPeers() {
	d.transport.SetPeers(transport.Dialed(d.current, d.local.Committed, d.introduction))
}
