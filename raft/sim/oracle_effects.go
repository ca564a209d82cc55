package sim

import (
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// leaves checks a message at the moment that it leaves its sender: what it says must survive a power loss.
func (o *oracle) leaves(p *process, m raft.Message) {
	if m.Type == raft.MsgPreVote || m.Type == raft.MsgPreVoteResponse {
		return // of a term that has not begun
	}
	hard := p.m.disk.durable.hard
	if hard.Term < m.Term {
		fail("a term is stored before its messages leave", "member %s sends %s, its disk says term %d", p.m.id, describe(m), hard.Term)
	}
	switch {
	case m.Type == raft.MsgVote:
		o.votesOnce(p, m, p.m.id)
	case m.Type == raft.MsgVoteResponse && !m.Reject:
		o.votesOnce(p, m, m.To)
	case m.Type == raft.MsgAppendResponse && !m.Reject:
		o.acknowledges(p, m)
	case m.Type == raft.MsgAppend:
		o.appends(p, m)
	}
}

// appends checks that a leader sends a learner nothing but what is committed: it stands for nothing, so that a log of it that is newer than
// those of all who stand could keep them from being elected for ever.
func (o *oracle) appends(p *process, m raft.Message) {
	if n := len(m.Entries); n == 0 || m.Entries[n-1].Index <= m.Commit {
		return
	}
	if x, ok := p.m.shadow.membership().membership.Find(m.To); ok && !x.Votes() {
		fail("a learner gets only what is committed", "leader %s sends %s", p.m.id, describe(m))
	}
}

// votesOnce checks that a member votes once in a term, whatever happens to it in between.
func (o *oracle) votesOnce(p *process, m raft.Message, candidate raft.NodeID) {
	b := ballot{p.m.id, m.Term}
	if before, ok := o.votes[b]; ok && before != candidate {
		fail("one vote in a term", "member %s votes for %s in term %d after it voted for %s", p.m.id, candidate, m.Term, before)
	}
	o.votes[b] = candidate
	hard := p.m.disk.durable.hard
	if hard.Term == m.Term && hard.Vote != candidate {
		fail("a vote is stored before it leaves", "member %s votes for %s in term %d, its disk says %s", p.m.id, candidate, m.Term, hard.Vote)
	}
}

// acknowledges checks that a follower has stored what it says, and that it equals the leader's log.
func (o *oracle) acknowledges(p *process, m raft.Message) {
	if a := &p.acknowledged; m.Term > a.Term || m.Index > a.Index {
		*a = raft.Position{Index: m.Index, Term: m.Term}
	}
	log := &p.m.disk.durable
	stored := max(log.last().Index, p.m.durable.meta.Index)
	if m.Index > stored {
		fail("nothing is acknowledged before it is stored", "member %s acknowledges %d, its disk ends at %d", p.m.id, m.Index, stored)
	}
	t, ok := log.term(m.Index)
	leader := o.w.members[m.To]
	if !ok || leader == nil || leader.host == nil || leader.host.proc == nil {
		return
	}
	if l := leader.host.proc; l.core.Role() == raft.RoleLeader && l.core.Term() == m.Term {
		if want, ok := leader.shadow.term(m.Index); ok && want != t {
			fail("an acknowledged entry equals the leader's", "member %s acknowledges entry %d with term %d, leader %s has it with term %d", p.m.id, m.Index, t, m.To, want)
		}
	}
}

// handedOut checks entries that a member is to apply.
func (o *oracle) handedOut(p *process, entries []raft.Entry) {
	for _, e := range entries {
		if e.Index != p.seen.handed+1 && e.Index != p.m.shadow.start.Index+1 {
			fail("state machine safety", "member %s hands out entry %d after %d", p.m.id, e.Index, p.seen.handed)
		}
		if e.Index > p.core.Commit() {
			fail("apply after commit", "member %s hands out entry %d, committed is %d", p.m.id, e.Index, p.core.Commit())
		}
		if e.Index > o.committedIndex() {
			fail("apply after commit", "member %s hands out entry %d, leaders have committed %d", p.m.id, e.Index, o.committedIndex())
		}
		h := newHash()
		h.mix(uint64(e.Type))
		h.mixBytes(e.Data)
		if c := o.at(e.Index); c.term != e.Term || c.content != h {
			fail("state machine safety", "member %s hands out another entry %d of term %d than the committed one of term %d", p.m.id, e.Index, e.Term, c.term)
		}
		if !p.m.disk.durable.has(raft.Position{Index: e.Index, Term: e.Term}) {
			fail("nothing is applied that this member has not stored", "member %s hands out entry %d, its disk ends at %v", p.m.id, e.Index, p.m.disk.durable.last())
		}
		p.seen.handed = e.Index
	}
}

// appliedTo checks that machines that have applied the same are the same.
func (o *oracle) appliedTo(m *member, state *machine) {
	i := state.meta.Index
	if i <= o.base || i > o.committedIndex() {
		return
	}
	d := state.digest()
	if known := &o.states[i-o.base-1]; *known == 0 {
		*known = d
	} else if *known != d {
		fail("state machine safety", "member %s has another state at %d than others", m.id, i)
	}
	o.w.hash.mix(uint64(o.w.now), uint64(m.id), uint64(i), d)
}

// tookEffect checks that a numbered command takes effect at one entry only, on every member.
func (o *oracle) tookEffect(h session.Header, index raft.Index) {
	if before, ok := o.effects[h]; ok && before != index {
		fail("exactly once", "command %d of session %d took effect at entry %d and at entry %d", h.Sequence, h.Session, before, index)
	}
	o.effects[h] = index
}

// flushed checks that the machine is never durably ahead of the log.
func (o *oracle) flushed(m *member) {
	// Behind the log's start it is while a snapshot waits to be put in force.
	if log := &m.disk.durable; m.durable.meta.Index >= log.start.Index && !log.has(m.durable.position()) {
		fail("the machine is never ahead of the log", "member %s has applied %v durably, its log ends at %v", m.id, m.durable.position(), log.last())
	}
}

// synced checks that a disk only moves forward.
func (o *oracle) synced(m *member) {
	if t := m.disk.durable.hard.Term; t > m.shadow.highest {
		m.shadow.highest = t
	} else if t < m.shadow.highest {
		fail("terms grow", "the disk of member %s went from term %d to %d", m.id, m.shadow.highest, t)
	}
}

// shadow is the log that a member's core has in memory, as far as its requests to the storage tell: terms only.
type shadow struct {
	start       raft.Position
	terms       []raft.Term
	memberships []membershipAt
	highest     raft.Term // the highest term that was ever durable
}

type membershipAt struct {
	index      raft.Index
	membership raft.Membership
}

func (s *shadow) last() raft.Position {
	if n := len(s.terms); n > 0 {
		return raft.Position{Index: s.start.Index + raft.Index(n), Term: s.terms[n-1]}
	}
	return s.start
}

func (s *shadow) term(i raft.Index) (raft.Term, bool) {
	switch {
	case i == s.start.Index:
		return s.start.Term, true
	case i < s.start.Index || i > s.last().Index:
		return 0, false
	}
	return s.terms[i-s.start.Index-1], true
}

// has tells whether the log has the entry; what a snapshot covers it has.
func (s *shadow) has(p raft.Position) bool {
	t, ok := s.term(p.Index)
	return p.Index < s.start.Index || (ok && t == p.Term)
}

func (s *shadow) membership() membershipAt {
	if n := len(s.memberships); n > 0 {
		return s.memberships[n-1]
	}
	return membershipAt{}
}

func (s *shadow) append(e raft.Entry, m *raft.Membership) {
	s.terms = append(s.terms, e.Term)
	if m != nil {
		s.memberships = append(s.memberships, membershipAt{e.Index, *m})
	}
}

func (s *shadow) truncate(first raft.Index) {
	s.terms = s.terms[:first-s.start.Index-1]
	for n := len(s.memberships); n > 0 && s.memberships[n-1].index >= first; n-- {
		s.memberships = s.memberships[:n-1]
	}
}

func (s *shadow) restart(at raft.Position, m raft.Membership) {
	s.start, s.terms = at, s.terms[:0]
	s.memberships = append(s.memberships[:0], membershipAt{m.Index, m})
}

// load takes what a member starts from: a state, and the log behind it.
func (s *shadow) load(log *image, state raft.SnapshotMeta) {
	s.restart(log.start, state.Membership)
	for _, e := range log.entries {
		s.terms = append(s.terms, e.Term)
		if e.Type != raft.EntryMembership || e.Index <= state.Index {
			continue
		}
		var m raft.Membership
		if err := m.UnmarshalBinary(e.Data); err != nil {
			fail("restart", "entry %d: %v", e.Index, err)
		}
		s.memberships = append(s.memberships, membershipAt{e.Index, m})
	}
}
