package sim

import (
	"errors"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
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
	acting      int
	stopped     bool
	invitations *invitations // nil: nobody is invited
}

func (o *operator) start(w *world) {
	o.w, o.random, o.desired, o.version = w, w.root.child(labelOperator), w.plan.voters, bootstrap.FirstClusterVersion
	o.invitations = w.invitations()
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
	changes := o.invitations.turn(w, seen, o.desired)
	if changes == nil {
		changes = o.decide(seen)
	}
	if len(changes) == 0 {
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
		h.proc.whenRunning(func() { o.act(h.proc, seen.Membership.Index, changes) })
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

// decide picks the most urgent changes: to take out members whose disk is gone, to promote, to grow or shrink. What
// is to be done together is often asked for in one call, which then moves more than one vote at once.
func (o *operator) decide(s raft.Status) []raft.Change {
	w := o.w
	members := s.Membership.Members
	together := o.random.chance(w.plan.together)
	var remove, promote []raft.Change
	for _, x := range members {
		if !w.alive(x) {
			remove = append(remove, raft.Change{Kind: raft.ChangeRemove, ID: x.ID})
		}
	}
	for _, x := range members {
		if x.Learner && w.alive(x) && (s.Progress[x.ID].CaughtUp || o.random.chance(0.1)) {
			promote = append(promote, raft.Change{Kind: raft.ChangePromote, ID: x.ID})
		}
	}
	voters := len(s.Membership.Voters())
	promote = promote[:min(len(promote), max(0, raft.MaxVoters-voters+len(remove)))]
	switch {
	case len(members)-len(remove) < o.desired && !together || len(members) < o.desired:
		if add, ok := o.add(); ok && (len(remove) == 0 || o.random.chance(0.5)) {
			return []raft.Change{add}
		}
	case voters > o.desired && len(remove)+len(promote) == 0 || (together && !w.healing && o.random.chance(0.2)):
		remove = append(remove, o.removals(members, together)...)
	}
	if together {
		// The order within a call does not matter.
		if all := append(promote, remove...); o.random.chance(0.5) {
			return all
		}
		return append(remove, promote...)
	}
	return append(remove, promote...)[:min(1, len(remove)+len(promote))]
}

// add asks for a host that has an empty directory.
func (o *operator) add() (raft.Change, bool) {
	for _, h := range o.w.hosts {
		if h.member == nil && !h.down {
			return raft.Change{Kind: raft.ChangeAddLearner, Member: raft.Member{Incarnation: h.incarnation, Name: "added"}}, true
		}
	}
	return raft.Change{}, false
}

// removals picks members to go, one or some.
func (o *operator) removals(members []raft.Member, some bool) []raft.Change {
	n := 1
	if some {
		n = o.random.span(1, max(1, len(members)/2))
	}
	from := o.random.n(len(members))
	var out []raft.Change
	for i := range n {
		out = append(out, raft.Change{Kind: raft.ChangeRemove, ID: members[(from+i)%len(members)].ID})
	}
	return out
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

func (o *operator) act(p *process, configIndex raft.Index, changes []raft.Change) {
	w := o.w
	doubtful := w.doubtfulMember()
	for _, c := range changes {
		// Whom nobody has started for has no disk that could be missed.
		if c.Kind == raft.ChangeRemove && doubtful != 0 && doubtful != c.ID && w.members[c.ID] != nil {
			return // a disk was lost meanwhile: that comes first
		}
	}
	if w.healing && changes[0].Kind == raft.ChangeInvite {
		return // by the time that it is committed nobody may come any more who would claim it
	}
	inForce := p.core.ConfigIndex()
	if changes[0].Kind == raft.ChangeClaim {
		configIndex = inForce // whoever claims does not care what else has changed
	}
	ids, index, err := p.core.ProposeChanges(configIndex, changes)
	if err == nil && configIndex != inForce {
		fail("a change is made on the membership that it was decided on", "leader %s takes a change of the membership %d, that of %d is in force", p.m.id, configIndex, inForce)
	}
	w.coverage.invited(changes[0], err)
	w.trace(p, "operator: %v of %v on the membership %d: entry %d, %v", changes, ids, configIndex, index, err)
	switch {
	case err == nil:
		w.coverage.Changes++
	case errors.Is(err, raft.ErrConfigMoved):
		w.coverage.StaleChanges++
	case errors.Is(err, raft.ErrUnsafeChange):
		w.coverage.UnsafeChanges++
	case errors.Is(err, raft.ErrChangePending):
		w.coverage.PendingChanges++
	case errors.Is(err, raft.ErrJointVersion):
		w.coverage.JointRefused++
	}
	if errors.Is(err, raft.ErrJointVersion) || err == nil && o.random.chance(0.2) {
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
	if next.Joint() {
		w.coverage.JointMemberships++
		w.strikeJoint()
	}
	for _, x := range next.Members {
		w.boundOnce(x)
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

// strikeJoint often ends the leader's program while two configurations are in force: another has to end the joint phase.
func (w *world) strikeJoint() {
	r := w.operator.random
	if !w.allows(Crash) || !r.chance(0.3) {
		return
	}
	w.after(r.between(0, 100*time.Millisecond), func() {
		if p := w.operator.findLeader(); p != nil && !w.healing {
			w.coverage.Crashes++
			p.host.kill()
			w.restartLater(r, p.host)
		}
	})
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
