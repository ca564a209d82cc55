package plan

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// The Raft group of the simulation: the real core on every node, over disks that outlive crashes and a network that delays,
// loses and cuts. One tick of the world is one tick of every core.

const (
	electionTicks  = 10
	heartbeatTicks = 2
	maxDelayTicks  = 3
)

// directory is what is on one claim.
type directory struct {
	incarnation raft.Incarnation
	cluster     raft.ClusterID
	// born is when it was made. A damaged one lets no process start.
	born    int
	damaged bool
	// bound says that there is a volume for it: its claim gets one when the pod first runs.
	bound   bool
	id      raft.NodeID
	hard    raft.HardState
	applied raft.SnapshotMeta
	start   raft.Position
	entries []raft.Entry
	// digest is over everything that was applied.
	digest uint64
}

func newDirectory(rnd *rand.Rand) *directory {
	return &directory{incarnation: raft.Incarnation(rnd.Uint64() | 1)}
}

// process is a running node: what is lost when it ends is here.
type process struct {
	ordinal int
	dir     *directory
	core    *raft.Core // nil while the directory is empty
	// removed says that the node has heard of its removal and is about to set its directory aside.
	removed bool
	stores  []*raft.StoreRequest
}

type flight struct {
	at      int
	cluster raft.ClusterID
	message raft.Message
	// snapshot tells the sender how the stream went.
	snapshot *raft.SnapshotMeta
}

// group is what the members share: the network, and what they have agreed on so far.
type group struct {
	rnd   *rand.Rand
	fail  func(format string, args ...any)
	now   int
	lossy bool
	// lazy nodes take long to set the directory of a removed member aside.
	lazy bool
	// version is the feature level at which groups begin: with raft.JointVersion they replace a member in one change.
	version uint32
	cut     map[int]bool // ordinals that other members do not reach
	slow    map[int]int  // by how many ticks longer what is sent to an ordinal is under way
	procs   map[int]*process
	flying  []flight

	// chronicle is that of the cluster founded last, chronicles hold those of all.
	*chronicle
	chronicles map[raft.ClusterID]*chronicle
}

// chronicle is what the members of one cluster have agreed on.
type chronicle struct {
	// digests is what each index means, whoever applied it first; newest is the membership committed last.
	digests map[raft.Index]uint64
	newest  raft.Membership
	// promised are writes that a leader said to be done, by the index where they are.
	promised map[raft.Index]uint64
	leaders  map[raft.Term]raft.NodeID
	// lastPromised is the last of these indices.
	lastPromised raft.Index
}

func newChronicle() *chronicle {
	return &chronicle{digests: map[raft.Index]uint64{}, promised: map[raft.Index]uint64{}, leaders: map[raft.Term]raft.NodeID{}}
}

func newGroup(rnd *rand.Rand, fail func(string, ...any)) *group {
	return &group{rnd: rnd, fail: fail, cut: map[int]bool{}, slow: map[int]int{}, procs: map[int]*process{}, chronicle: newChronicle(), chronicles: map[raft.ClusterID]*chronicle{}}
}

func (g *group) chance(percent int) bool { return g.rnd.IntN(100) < percent }

func (g *group) start(ordinal int, d *directory) {
	p := &process{ordinal: ordinal, dir: d}
	d.bound = true
	g.procs[ordinal] = p
	if d.id != 0 {
		g.boot(p)
	}
}

func (g *group) boot(p *process) {
	d := p.dir
	core, err := raft.New(raft.Config{ID: d.id, ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks, Random: g.rnd.IntN},
		raft.Initial{HardState: d.hard, Applied: d.applied, LogStart: d.start, Entries: append([]raft.Entry(nil), d.entries...)})
	if err != nil {
		g.fail("node %d does not start: %v", p.ordinal, err)
	}
	p.core = core
}

// stop ends the process; writes that were not yet synced are lost with it.
func (g *group) stop(ordinal int) { delete(g.procs, ordinal) }

// found makes the node the only voter of a new group.
func (g *group) found(p *process, cluster raft.ClusterID, m raft.Member) {
	g.chronicle = newChronicle()
	g.chronicles[cluster] = g.chronicle
	p.dir.cluster = cluster
	m.ID = 1
	first := raft.NewMembership(m)
	first.Index = 1
	p.dir.id = 1
	p.dir.applied = raft.SnapshotMeta{Index: 1, Term: 1, Membership: first, ClusterVersion: g.version}
	p.dir.start = raft.Position{Index: 1, Term: 1}
	g.digests[1] = 0
	g.newest = first
	g.boot(p)
}

// tick is one unit of time for everybody.
func (g *group) tick() {
	g.now++
	for _, p := range g.running() {
		if p.core == nil {
			g.claim(p)
		}
		if p.core == nil {
			continue
		}
		p.core.Tick()
		g.pump(p)
	}
	kept := g.flying[:0]
	due := []flight{}
	for _, f := range g.flying {
		if f.at <= g.now {
			due = append(due, f)
		} else {
			kept = append(kept, f)
		}
	}
	g.flying = kept
	for _, f := range due {
		g.deliver(f)
	}
}

// running are the processes in the order of their ordinals, so that a seed gives one run.
func (g *group) running() []*process {
	var out []*process
	for i := range mostPods {
		if p := g.procs[i]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// claim lets an empty node learn from the members that its incarnation was added, and a member that it was removed.
func (g *group) claim(p *process) {
	if m, ok := g.newest.FindIncarnation(p.dir.incarnation); ok && !g.cut[p.ordinal] && g.chance(30) {
		p.dir.id = m.ID
		for id, c := range g.chronicles {
			if c == g.chronicle {
				p.dir.cluster = id
			}
		}
		g.boot(p)
	}
}

// hearOfRemoval is how a removed member ends: the others refuse it, and it sets its directory aside for a fresh one.
func (g *group) hearOfRemoval(p *process) (aside bool) {
	if p.dir.id == 0 || g.of(p.dir) != g.chronicle || !g.newest.Removed(p.dir.id) || g.cut[p.ordinal] {
		return false
	}
	if !p.removed {
		p.removed = g.chance(10)
		return false
	}
	return !g.lazy && g.chance(20)
}

// of is the chronicle of the directory's cluster.
func (g *group) of(d *directory) *chronicle { return g.chronicles[d.cluster] }

func (g *group) pump(p *process) {
	c := g.of(p.dir)
	for range 100 {
		e := p.core.TakeEffects()
		for _, t := range e.Transitions {
			if t.To == raft.RoleLeader {
				if other, ok := c.leaders[t.Term]; ok && other != p.dir.id {
					g.fail("members %s and %s both lead term %d", other, p.dir.id, t.Term)
				}
				c.leaders[t.Term] = p.dir.id
			}
		}
		for _, m := range e.Messages {
			g.send(flight{cluster: p.dir.cluster, message: m})
		}
		for _, to := range e.SendSnapshots {
			meta := p.dir.applied
			g.send(flight{cluster: p.dir.cluster, snapshot: &meta, message: raft.Message{Type: raft.MsgSnapshot, From: p.dir.id, To: to, Term: p.core.Term(),
				Index: meta.Index, LogTerm: meta.Term, Snapshot: &meta}})
		}
		if e.Store != nil {
			p.stores = append(p.stores, e.Store)
		}
		g.apply(p, e.Committed)
		synced := g.sync(p)
		if len(e.Messages) == 0 && len(e.Committed) == 0 && len(e.SendSnapshots) == 0 && !synced {
			return
		}
	}
	g.fail("node %d does not come to rest", p.ordinal)
}

// sync makes durable what was written, mostly at once.
func (g *group) sync(p *process) bool {
	if len(p.stores) == 0 || (g.lossy && g.chance(20)) {
		return false
	}
	d := p.dir
	for _, r := range p.stores {
		if r.HardState != nil {
			d.hard = *r.HardState
		}
		if s := r.Snapshot; s != nil {
			g.install(d, s)
		}
		if len(r.Entries) > 0 {
			keep := int(r.Entries[0].Index - d.start.Index - 1)
			d.entries = append(d.entries[:keep:keep], r.Entries...)
		}
	}
	last := p.stores[len(p.stores)-1]
	p.stores = nil
	p.core.Stored(last.Done())
	return true
}

func (g *group) install(d *directory, s *raft.SnapshotMeta) {
	i := int(s.Index) - int(d.start.Index) - 1
	if i >= 0 && i < len(d.entries) && d.entries[i].Term == s.Term {
		d.entries = append([]raft.Entry(nil), d.entries[i+1:]...)
	} else {
		d.entries = nil
	}
	d.start = raft.Position{Index: s.Index, Term: s.Term}
	if s.Index > d.applied.Index {
		d.applied, d.digest = *s, g.of(d).digests[s.Index]
	}
}

func (g *group) apply(p *process, entries []raft.Entry) {
	d, c := p.dir, g.of(p.dir)
	for _, e := range entries {
		if e.Index != d.applied.Index+1 {
			g.fail("node %d applies entry %d after %d", p.ordinal, e.Index, d.applied.Index)
		}
		d.digest = chained(d.digest, e)
		if known, ok := c.digests[e.Index]; ok && known != d.digest {
			g.fail("node %d applied another entry %d than others did", p.ordinal, e.Index)
		}
		c.digests[e.Index] = d.digest
		d.applied.Index, d.applied.Term = e.Index, e.Term
		if e.Type == raft.EntryMembership {
			var m raft.Membership
			if err := m.UnmarshalBinary(e.Data); err != nil {
				g.fail("node %d: %v", p.ordinal, err)
			}
			d.applied.Membership = m
			if m.Index > c.newest.Index {
				c.newest = m.Clone()
			}
		}
		if e.Type == raft.EntryNormal && p.core.Role() == raft.RoleLeader {
			c.promised[e.Index] = d.digest
			c.lastPromised = max(c.lastPromised, e.Index)
		}
	}
	if len(entries) > 0 {
		p.core.Applied(d.applied.Index)
	}
}

// chained is the digest of a state that has applied one more entry.
func chained(digest uint64, e raft.Entry) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %d %d %d %x", digest, e.Index, e.Term, e.Type, e.Data)
	return h.Sum64()
}

func (g *group) send(f flight) {
	f.at = g.now + 1 + g.rnd.IntN(maxDelayTicks)
	if g.lossy && g.chance(3) {
		f.at = -1
	}
	if f.at < 0 && f.snapshot == nil {
		return
	}
	if to := g.byID(f.cluster, f.message.To); to != nil && f.at >= 0 {
		f.at += g.slow[to.ordinal]
	}
	g.flying = append(g.flying, f)
}

func (g *group) deliver(f flight) {
	from, to := g.byID(f.cluster, f.message.From), g.byID(f.cluster, f.message.To)
	reached := f.at >= 0 && to != nil && from != nil && !g.cut[to.ordinal] && !g.cut[from.ordinal]
	if reached {
		if err := to.core.Step(f.message); err != nil {
			g.fail("node %d: %v", to.ordinal, err)
		}
		g.pump(to)
	}
	if f.snapshot != nil && from != nil {
		from.core.SnapshotSent(f.message.To, *f.snapshot, reached)
		g.pump(from)
	}
}

// swift tells that a node is reached, and at once: one whose line has just become slow is not heard for a while.
func (g *group) swift(ordinal int) bool { return !g.cut[ordinal] && g.slow[ordinal] == 0 }

func (g *group) byID(cluster raft.ClusterID, id raft.NodeID) *process {
	for _, p := range g.running() {
		if p.core != nil && p.dir.id == id && p.dir.cluster == cluster {
			return p
		}
	}
	return nil
}

// write lets clients write through whoever says that it leads.
func (g *group) write() {
	for _, p := range g.running() {
		if p.core != nil && p.core.Role() == raft.RoleLeader && !g.cut[p.ordinal] {
			_, _, _ = p.core.Propose([][]byte{{byte(g.now), byte(g.now >> 8)}})
			g.pump(p)
		}
	}
}

// status is what the node would answer the operator, as package replica describes it.
func (g *group) status(p *process) *admin.Status {
	d := p.dir
	s := &admin.Status{Name: podName(p.ordinal), Incarnation: d.incarnation, State: admin.StateEmpty}
	if d.id == 0 || p.core == nil {
		return s
	}
	c := p.core.Status()
	s.State, s.ClusterID, s.MemberID = admin.StateMember, d.cluster, d.id
	s.LastTerm, s.LastIndex = c.Last.Term, c.Last.Index
	if p.removed {
		s.State = admin.StateRemoved
	}
	s.ClusterVersion = d.applied.ClusterVersion
	s.Role, s.Term, s.Leader = c.Role.String(), c.Term, c.Leader
	s.Commit, s.Applied = c.Commit, c.Applied
	s.Ready = c.Leader != 0 && c.Applied == c.Commit
	s.ConfigIndex, s.ConfigCommitted = c.ConfigIndex, c.ConfigCommitted
	for _, m := range c.Membership.Members {
		x := admin.MemberStatus{Member: m}
		switch {
		case c.Role != raft.RoleLeader:
		case m.ID == d.id:
			x.Match, x.Active, x.CaughtUp = c.Stored, true, true
		default:
			f := c.Progress[m.ID]
			x.Match, x.Active, x.CaughtUp = f.Match, f.Active, f.CaughtUp
		}
		s.Members = append(s.Members, x)
	}
	return s
}

// voters counts those of the newest committed membership, those of them whose directories exist, and those that run and are
// reached.
func (g *group) voters(claims map[int]*directory) (all, intact, up int) {
	for _, m := range g.newest.Members {
		if m.Learner {
			continue
		}
		all++
		i, _ := resources.Ordinal("demo", m.Name)
		if d := claims[i]; d != nil && d.incarnation == m.Incarnation && !d.damaged {
			intact++
			if p := g.procs[i]; p != nil && p.dir == d && p.core != nil && !g.cut[i] {
				up++
			}
		}
	}
	return all, intact, up
}

// leader is the one that really leads: of those that say so, the one of the highest term.
func (g *group) leader() *process {
	var best *process
	for _, p := range g.running() {
		if p.core != nil && g.of(p.dir) == g.chronicle && p.core.Role() == raft.RoleLeader && (best == nil || p.core.Term() > best.core.Term()) {
			best = p
		}
	}
	return best
}
