package sim

import (
	"errors"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// operator changes the membership as a person or a controller does: it looks at a member that says it leads, and
// acts on what it saw a while later, when that may not be so any more.
type operator struct {
	w       *world
	random  *random
	desired int // voters
	version uint32
	// acting counts those between looking and acting: nobody is wiped in between. More than one may be, as when an
	// operator is replaced by another that does not know of it.
	acting  int
	stopped bool
}

func (o *operator) start(w *world) {
	o.w, o.random, o.desired = w, w.root.child(labelOperator), w.plan.voters
	w.every(o.random, w.plan.change, o.turn)
}

// turn looks at the cluster and decides on at most one change.
func (o *operator) turn() bool {
	w := o.w
	if w.opts.Without&MembershipChange != 0 || o.stopped || o.acting >= 2 {
		return true
	}
	if !w.healing && o.random.chance(0.15) {
		o.desired = o.random.span(1, min(len(w.hosts), raft.MaxVoters))
	}
	leader := o.findLeader()
	if leader == nil {
		return true
	}
	seen := leader.core.Status()
	change, ok := o.decide(seen)
	if !ok {
		return true
	}
	o.acting++
	delay := o.random.between(0, 50*time.Millisecond)
	if !w.healing && o.random.chance(0.2) {
		delay = o.random.between(0, 2*time.Second)
	}
	h := leader.host
	w.after(delay, func() {
		o.acting--
		if h.proc == nil {
			return
		}
		h.proc.whenRunning(func() { o.act(h.proc, seen.Membership.Index, change) })
	})
	return true
}

func (o *operator) findLeader() *process {
	from := o.random.n(len(o.w.hosts))
	for i := range o.w.hosts {
		h := o.w.hosts[(from+i)%len(o.w.hosts)]
		if h.proc != nil && h.proc.core.Role() == raft.RoleLeader {
			return h.proc
		}
	}
	return nil
}

// decide picks the most urgent change: to take out members whose disk is gone, to promote, to grow or shrink.
func (o *operator) decide(s raft.Status) (raft.Change, bool) {
	w := o.w
	voters := len(s.Membership.Voters())
	for _, x := range s.Membership.Members {
		if !w.alive(x) {
			return raft.Change{Kind: raft.ChangeRemove, ID: x.ID}, true
		}
	}
	for _, x := range s.Membership.Members {
		if x.Learner && (s.Progress[x.ID].CaughtUp || o.random.chance(0.1)) && voters < raft.MaxVoters {
			return raft.Change{Kind: raft.ChangePromote, ID: x.ID}, true
		}
	}
	switch {
	case len(s.Membership.Members) < o.desired:
		for _, h := range w.hosts {
			if h.member == nil && !h.down {
				return raft.Change{Kind: raft.ChangeAddLearner, Member: raft.Member{Incarnation: h.incarnation, Name: "added"}}, true
			}
		}
	case voters > o.desired:
		x := s.Membership.Members[o.random.n(len(s.Membership.Members))]
		return raft.Change{Kind: raft.ChangeRemove, ID: x.ID}, true
	}
	return raft.Change{}, false
}

// alive tells whether the member's directory is still there, or still to be used for the first time.
func (w *world) alive(x raft.Member) bool {
	if m := w.members[x.ID]; m != nil {
		return !m.lost && m.host != nil
	}
	for _, h := range w.hosts {
		if h.incarnation == x.Incarnation {
			return true
		}
	}
	return false
}

func (o *operator) act(p *process, configIndex raft.Index, change raft.Change) {
	w := o.w
	if change.Kind == raft.ChangeRemove && w.doubtfulMember() != 0 && w.doubtfulMember() != change.ID {
		return // a disk was lost meanwhile: that comes first
	}
	inForce := p.core.ConfigIndex()
	id, index, err := p.core.ProposeChange(configIndex, change)
	if err == nil && configIndex != inForce {
		fail("a change is made on the membership that it was decided on", "leader %s takes a change of the membership %d, that of %d is in force", p.m.id, configIndex, inForce)
	}
	w.trace(p, "operator: %s %s on the membership %d: entry %d, %v", change.Kind, id, configIndex, index, err)
	switch {
	case err == nil:
		w.coverage.Changes++
	case errors.Is(err, raft.ErrConfigMoved):
		w.coverage.StaleChanges++
	case errors.Is(err, raft.ErrUnsafeChange):
		w.coverage.UnsafeChanges++
	case errors.Is(err, raft.ErrChangePending):
		w.coverage.PendingChanges++
	}
	if err == nil && o.random.chance(0.2) {
		o.version++
		_, _ = p.core.ProposeClusterVersion(o.version)
	}
	p.stepped()
}

// doubtfulMember returns a member of the committed membership whose disk is gone, or not to be relied on, or zero.
func (w *world) doubtfulMember() raft.NodeID {
	for _, x := range w.oracle.membership.Members {
		if m := w.members[x.ID]; m != nil && m.doubtful() {
			return x.ID
		}
	}
	return 0
}

// membershipCommitted follows a membership: new members claim their IDs, removed ones set their directory aside.
func (w *world) membershipCommitted(next raft.Membership) {
	w.coverage.MembershipsCommitted++
	for _, x := range next.Members {
		if w.members[x.ID] == nil {
			w.claim(x)
		}
	}
	for _, m := range w.ordered {
		if !m.removed && next.Removed(m.id) {
			m.removed = true
			w.retire(m)
		}
	}
}

// claim starts a new member on the host that has its incarnation, if that still waits.
func (w *world) claim(x raft.Member) {
	for _, h := range w.hosts {
		if h.incarnation != x.Incarnation || h.member != nil {
			continue
		}
		w.coverage.MembersAdded++
		w.found(x.ID, h, newMachine(raft.SnapshotMeta{}, w.plan.registers))
		if !h.down {
			w.after(h.random.between(0, 200*time.Millisecond), func() { h.boot(w) })
		}
		return
	}
}

// retire lets a removed member go on for a while, as one does that has not heard of it, and then empties its host.
func (w *world) retire(m *member) {
	w.coverage.MembersRemoved++
	if m.host == nil {
		return
	}
	h := m.host
	w.after(h.random.between(0, 4*time.Second), func() {
		if m.host != h {
			return
		}
		h.kill()
		m.host = nil
		w.freshDirectory(h)
	})
}
