package sim

import (
	"fmt"
	"slices"
	"sort"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// oracle sees everything that all members do, and checks the promises after every step. Each check costs
// about as much as what is checked: nothing is ever looked at again as a whole.
type oracle struct {
	w *world
	// leaders by term (election safety, §5.2).
	leaders map[raft.Term]raft.NodeID
	// votes that left a member, by member and term.
	votes map[ballot]raft.NodeID
	// entries that ever were in a log (log matching, §5.3).
	entries map[raft.Position]entryFact
	// committed entries from base+1 on, the same for all members (state machine safety, §5.4.3).
	base      raft.Index
	committed []committedEntry
	// memberships that are committed, the last one counts.
	membership raft.Membership
	// states are digests of the machine by index, from base+1 on; zero: not seen yet.
	states []uint64
	// effects says at which entry a numbered command took effect.
	effects map[session.Header]raft.Index
	// past are the values of registers by revision, as far as revision.
	past     map[int][]valueAt
	revision uint64
}

type ballot struct {
	voter raft.NodeID
	term  raft.Term
}

type entryFact struct {
	previous raft.Term
	content  hash
	// membership is set for entries that bring one.
	membership *raft.Membership
}

type committedEntry struct {
	term    raft.Term
	content hash
	// by is the term of the leader that committed it.
	by raft.Term
}

// seen is what was last seen of a process.
type seen struct {
	role    raft.Role
	term    raft.Term
	commit  raft.Index
	handed  raft.Index
	started raft.Index // the commit index that it booted with
}

func newOracle(w *world) oracle {
	return oracle{
		w: w, leaders: map[raft.Term]raft.NodeID{}, votes: map[ballot]raft.NodeID{},
		entries: map[raft.Position]entryFact{}, effects: map[session.Header]raft.Index{}, past: map[int][]valueAt{},
	}
}

func (o *oracle) boot(meta raft.SnapshotMeta) {
	o.base = meta.Index
	o.membership = meta.Membership
}

func (o *oracle) committedIndex() raft.Index { return o.base + raft.Index(len(o.committed)) }

func (o *oracle) at(i raft.Index) *committedEntry { return &o.committed[i-o.base-1] }

// booted checks what a member comes back with.
func (o *oracle) booted(p *process) {
	at := p.machine.meta.Index
	p.seen = seen{handed: at, commit: at, started: at}
	if at > o.committedIndex() {
		fail("apply after commit", "member %s has applied %d durably, only %d is committed", p.m.id, at, o.committedIndex())
	}
}

// offered checks entries that enter a member's log.
func (o *oracle) offered(p *process, r *raft.StoreRequest) {
	s := &p.m.shadow
	if r.Snapshot != nil {
		if r.Snapshot.Index > o.committedIndex() {
			fail("apply after commit", "member %s takes a snapshot at %d, only %d is committed", p.m.id, r.Snapshot.Index, o.committedIndex())
		}
		s.restart(raft.Position{Index: r.Snapshot.Index, Term: r.Snapshot.Term}, r.Snapshot.Membership)
	}
	if len(r.Entries) > 0 && r.Entries[0].Index <= s.last().Index {
		o.truncated(p, r.Entries[0].Index)
	}
	for _, e := range r.Entries {
		previous := s.last()
		if e.Index != previous.Index+1 {
			fail("log matching", "member %s appends entry %d after %d", p.m.id, e.Index, previous.Index)
		}
		s.append(e, o.learn(p, e, previous.Term))
	}
	if a := p.acknowledged; a.Term == p.core.Term() && a.Index > s.last().Index {
		fail("acknowledged entries stay", "member %s has acknowledged %d in term %d, its log now ends at %v", p.m.id, a.Index, a.Term, s.last())
	}
}

// truncated checks that only what may go goes.
func (o *oracle) truncated(p *process, first raft.Index) {
	s := &p.m.shadow
	if p.core.Role() == raft.RoleLeader && p.seen.role == raft.RoleLeader && p.seen.term == p.core.Term() {
		fail("leader append-only", "leader %s of term %d replaces entry %d", p.m.id, p.core.Term(), first)
	}
	if first <= max(p.seen.commit, s.start.Index) {
		fail("committed entries stay", "member %s replaces entry %d, it knows %d to be committed", p.m.id, first, p.seen.commit)
	}
	o.w.coverage.Truncations++
	o.w.coverage.EntriesTruncated += uint64(s.last().Index - first + 1)
	o.w.trace(p, "cuts its log of %v off at %d", s.last(), first)
	s.truncate(first)
}

// learn checks log matching: an index and a term name one entry, with one predecessor. By induction logs that
// agree in one entry agree in all before it.
func (o *oracle) learn(p *process, e raft.Entry, previous raft.Term) *raft.Membership {
	h := newHash()
	h.mix(uint64(e.Type))
	h.mixBytes(e.Data)
	at := raft.Position{Index: e.Index, Term: e.Term}
	fact, known := o.entries[at]
	if known {
		if fact.content != h || fact.previous != previous {
			fail("log matching", "member %s has another entry %d of term %d than others, or another before it", p.m.id, e.Index, e.Term)
		}
		return fact.membership
	}
	fact = entryFact{previous: previous, content: h}
	if previous > e.Term {
		fail("log matching", "member %s has entry %d of term %d after one of term %d", p.m.id, e.Index, e.Term, previous)
	}
	if e.Type == raft.EntryMembership {
		fact.membership = o.newMembership(p, e)
	}
	o.entries[at] = fact
	return fact.membership
}

// newMembership checks a membership that a leader has just proposed (thesis §4.1).
func (o *oracle) newMembership(p *process, e raft.Entry) *raft.Membership {
	var next raft.Membership
	if err := next.UnmarshalBinary(e.Data); err != nil {
		fail("membership", "entry %d: %v", e.Index, err)
	}
	if err := next.Validate(); err != nil {
		fail("membership", "entry %d: %v", e.Index, err)
	}
	s := &p.m.shadow
	current := s.membership()
	if current.index > p.core.Commit() {
		fail("one membership change at a time", "member %s appends the membership %d, that of %d is not committed", p.m.id, e.Index, current.index)
	}
	if t, ok := s.term(p.core.Commit()); ok && t != e.Term && p.core.Term() == e.Term {
		fail("no membership change before an entry of the term is committed", "leader %s of term %d appends the membership %d", p.m.id, e.Term, e.Index)
	}
	o.follows(current.membership, next)
	return &next
}

// follows checks that quorums of two memberships in a row overlap: they differ by one vote at most (thesis §4.1), or one of them is
// joint and the other is one of its two halves (§6).
func (o *oracle) follows(before, next raft.Membership) {
	switch {
	case before.Joint():
		if next.Joint() || !slices.Equal(votes(next, incoming), votes(before, incoming)) {
			fail("a joint membership ends in its incoming half", "the membership %d follows %+v: %+v", next.Index, before, next)
		}
	case next.Joint():
		if !slices.Equal(votes(next, outgoing), votes(before, incoming)) {
			fail("a joint membership begins with the voters of before", "the membership %d follows %+v: %+v", next.Index, before, next)
		}
	default:
		if moved := votesMoved(votes(before, incoming), votes(next, incoming)); moved > 1 {
			fail("one membership change at a time", "the membership %d moves %d votes without being joint", next.Index, moved)
		}
	}
}

// incoming and outgoing tell who votes in either half of a membership; there is nobody in the second half of one that is not joint.
// The simulation counts majorities by itself rather than by what it checks.
func incoming(x raft.Member) bool { return !x.Learner }
func outgoing(x raft.Member) bool { return x.OutgoingVoter }

func votes(m raft.Membership, half func(raft.Member) bool) (ids []raft.NodeID) {
	for _, x := range m.Members {
		if half(x) {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

func votesMoved(a, b []raft.NodeID) int {
	moved := 0
	for _, id := range a {
		if !slices.Contains(b, id) {
			moved++
		}
	}
	for _, id := range b {
		if !slices.Contains(a, id) {
			moved++
		}
	}
	return moved
}

// majorities checks that more than half of the voters of each half of a membership do something.
func (o *oracle) majorities(m raft.Membership, property string, what func() string, does func(raft.NodeID) bool) {
	for i, half := range []func(raft.Member) bool{incoming, outgoing} {
		voters := votes(m, half)
		n := 0
		for _, id := range voters {
			if does(id) {
				n++
			}
		}
		if n <= len(voters)/2 && len(voters) > 0 {
			fail(property, "%s by %d of the %d %s voters of the membership %d", what(), n, len(voters), [...]string{"incoming", "outgoing"}[i], m.Index)
		}
	}
}

// stepped looks at a leader after every input: its commit index counts under the membership of that moment.
func (o *oracle) stepped(p *process) {
	if commit := p.core.Commit(); commit > o.committedIndex() && p.core.Role() == raft.RoleLeader {
		o.extend(p, commit)
	}
}

// tookEffects looks at a member after it took the effects of one or more inputs.
func (o *oracle) tookEffects(p *process) {
	role, term, commit := p.core.Role(), p.core.Term(), p.core.Commit()
	if term < p.seen.term {
		fail("terms grow", "member %s went from term %d to %d", p.m.id, p.seen.term, term)
	}
	if commit < p.seen.commit {
		fail("commit index grows", "member %s went from %d to %d", p.m.id, p.seen.commit, commit)
	}
	if role == raft.RoleLeader && (p.seen.role != raft.RoleLeader || p.seen.term != term) {
		o.elected(p, term)
	}
	if led := p.seen.role == raft.RoleLeader && p.seen.term == term; commit > o.committedIndex() && (led || role == raft.RoleLeader) {
		o.extend(p, commit) // the end of a joint phase may commit what waited for the outgoing half
	}
	if commit > p.seen.commit {
		o.commits(p, commit)
	}
	p.seen.role, p.seen.term, p.seen.commit = role, term, commit
	if role == raft.RoleLeader {
		m := p.m.shadow.membership()
		if x, ok := m.membership.Find(p.m.id); (!ok || !x.Votes()) && m.index <= commit {
			fail("a removed leader stops", "member %s leads term %d though the membership %d without its vote is committed", p.m.id, term, m.index)
		}
	}
}

// elected checks election safety and leader completeness (§5.4).
func (o *oracle) elected(p *process, term raft.Term) {
	if other, ok := o.leaders[term]; ok && other != p.m.id {
		fail("election safety", "members %s and %s both lead term %d", other, p.m.id, term)
	}
	o.leaders[term] = p.m.id
	o.majorities(p.m.shadow.membership().membership, "a leader is elected by a quorum",
		func() string { return fmt.Sprintf("member %s leads term %d, elected", p.m.id, term) },
		func(id raft.NodeID) bool { return id == p.m.id || o.votes[ballot{id, term}] == p.m.id })
	// An old candidate may get late votes: it lacks what later leaders committed.
	n := sort.Search(len(o.committed), func(i int) bool { return o.committed[i].by >= term })
	if n == 0 {
		return
	}
	last := raft.Position{Index: o.base + raft.Index(n), Term: o.committed[n-1].term}
	if !p.m.shadow.has(last) {
		fail("leader completeness", "leader %s of term %d lacks entry %v, which was committed before; its log ends at %v", p.m.id, term, last, p.m.shadow.last())
	}
}

// commits follows a member's commit index: a leader was the first to know.
func (o *oracle) commits(p *process, commit raft.Index) {
	if known := o.committedIndex(); commit > known {
		fail("commit", "member %s takes %d for committed, leaders have committed %d", p.m.id, commit, known)
	}
	if commit <= o.base {
		return
	}
	if t, ok := p.m.shadow.term(commit); ok && t != o.at(commit).term {
		fail("state machine safety", "member %s has entry %d of term %d as committed, others have that of term %d", p.m.id, commit, t, o.at(commit).term)
	}
}

// extend takes what a leader commits into the committed log.
func (o *oracle) extend(p *process, commit raft.Index) {
	s := &p.m.shadow
	by := p.core.Term()
	if t, _ := s.term(commit); t != by {
		fail("only entries of the own term are committed by counting (§5.4.2)", "leader %s of term %d commits entry %d of term %d", p.m.id, by, commit, t)
	}
	o.quorumStored(p, commit)
	for i := o.committedIndex() + 1; i <= commit; i++ {
		t, ok := s.term(i)
		if !ok {
			fail("commit", "leader %s commits entry %d, its log is %v..%v", p.m.id, i, s.start, s.last())
		}
		fact := o.entries[raft.Position{Index: i, Term: t}]
		o.committed = append(o.committed, committedEntry{t, fact.content, by})
		o.states = append(o.states, 0)
		o.w.coverage.EntriesCommitted++
		if fact.membership != nil {
			o.membership = *fact.membership
			o.w.membershipCommitted(*fact.membership)
		}
	}
}

// quorumStored checks that what a leader commits would survive a power loss of all members at once.
func (o *oracle) quorumStored(p *process, commit raft.Index) {
	at := raft.Position{Index: commit}
	at.Term, _ = p.m.shadow.term(commit)
	inForce := p.m.shadow.membership()
	if inForce.index != p.core.ConfigIndex() { // it was proposed after the last effects
		inForce.membership = p.core.Status().Membership
	}
	o.majorities(inForce.membership, "a quorum has stored what is committed",
		func() string {
			return fmt.Sprintf("leader %s of term %d commits %v, stored", p.m.id, p.core.Term(), at)
		},
		func(id raft.NodeID) bool {
			m := o.w.members[id]
			return m != nil && m.holds(at)
		})
}

// holds tells whether the member would still have the entry after a power loss.
func (m *member) holds(at raft.Position) bool {
	return at.Index <= m.durable.meta.Index || at.Index < m.disk.durable.start.Index || m.disk.durable.has(at)
}
