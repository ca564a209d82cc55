package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/raftkv/raftkv/raft"
)

const (
	// convergenceLimit is how long after the last fault clients must be served, lost members replaced and learners promoted.
	convergenceLimit = 60 * time.Second
	// quiescenceLimit is how long after the last operation all members must be equal.
	quiescenceLimit = 15 * time.Second
	// livenessOperations is how many operations each client must get through after the last fault.
	livenessOperations = 3

	livenessPoll = 50 * time.Millisecond
	// healingPace is the time between two looks of the operator after the last fault: what has a bound then is the cluster's time, not
	// that of someone who seldom comes by.
	healingPace = 2 * time.Second
)

// startLiveness ends all faults, and demands that the cluster recovers (a promise that holds only without faults, so
// that it is checked at the end).
func (w *world) startLiveness() {
	w.trace(nil, "faults end")
	w.endFaults((*process).scrub)
	if m := w.oracle.membership; len(m.Members) > 0 {
		w.operator.desired = len(m.Voters())
	}
	w.every(w.operator.random, healingPace, w.operator.turn)
	for _, c := range w.clients {
		c.finished = 0
	}
	w.poll(w.now+convergenceLimit, "clients are served and members replaced", w.recovered, func() {
		for _, c := range w.clients {
			c.idle = true
		}
		w.operator.stopped = true
		w.poll(w.now+quiescenceLimit+w.backlog(), "all members become equal", w.equal, func() {
			w.trace(nil, "converged")
			w.done = true
		})
	})
}

// endFaults heals the network, the disks and the clocks, and starts what does not run. What runs is looked over first.
func (w *world) endFaults(lookOver func(*process)) {
	w.healing = true
	w.net.heal()
	for _, h := range w.hosts {
		if m := h.member; m != nil {
			m.fill(false)
		}
		if p := h.proc; p != nil {
			p.pausedUntil = min(p.pausedUntil, w.now)
			p.clock.set(w.now, million)
			lookOver(p)
		}
		w.after(0, func() { h.boot(w) })
	}
}

// backlog is how much longer it may take where appends are so small that they carry one entry each: one after the other, for the member that
// is furthest behind, each with its way there and back and its sync.
func (w *world) backlog() time.Duration {
	if w.plan.maxAppendBytes == 0 {
		return 0
	}
	least, most := raft.Index(math.MaxUint64), raft.Index(0)
	for _, x := range w.oracle.membership.Members {
		if m := w.members[x.ID]; m != nil && m.host != nil && m.host.proc != nil {
			s := m.host.proc.core.Status()
			least, most = min(least, s.Commit), max(most, s.Last.Index)
		}
	}
	if most <= least {
		return 0
	}
	return time.Duration(most-least) * (2*w.plan.latencyHigh + w.plan.syncHigh + w.plan.tick)
}

// poll waits for a condition, which returns what it still lacks.
func (w *world) poll(deadline time.Duration, what string, lacks func() string, then func()) {
	missing := "a program has ended itself"
	w.happen(func() { missing = lacks() })
	switch {
	case missing == "":
		then()
	case w.now >= deadline:
		w.traceStatus()
		fail("liveness: "+what, "%s", missing)
	default:
		w.after(livenessPoll, func() { w.poll(deadline, what, lacks, then) })
	}
}

// traceStatus writes how every member stands.
func (w *world) traceStatus() {
	if w.opts.Trace == nil {
		return
	}
	w.trace(nil, "committed membership %+v, committed index %d", w.oracle.membership, w.oracle.committedIndex())
	for _, h := range w.hosts {
		if h.proc != nil {
			w.trace(h.proc, "on host %d, machine at %d: %+v", h.slot, h.proc.machine.meta.Index, h.proc.core.Status())
		}
	}
}

func (w *world) recovered() string {
	for _, c := range w.clients {
		if c.finished < livenessOperations {
			return fmt.Sprintf("client %d has got through %d operations", c.id, c.finished)
		}
	}
	if w.oracle.membership.Joint() {
		return fmt.Sprintf("the membership %d is still joint", w.oracle.membership.Index)
	}
	for _, x := range w.oracle.membership.Members {
		if m := w.members[x.ID]; !w.alive(x) || (m != nil && m.damaged) {
			return fmt.Sprintf("member %s has lost its disk and is still in the membership", x.ID)
		}
		if x.Learner && w.opts.Without&MembershipChange == 0 && len(w.oracle.membership.Voters()) < raft.MaxVoters {
			return fmt.Sprintf("member %s is still a learner", x.ID)
		}
	}
	return ""
}

// equal tells whether all members of the committed membership have the same log, commit index and state, and one leader.
func (w *world) equal() string {
	for _, c := range w.clients {
		if c.current != nil {
			return fmt.Sprintf("client %d waits for an answer", c.id)
		}
	}
	var leader *process
	for _, x := range w.oracle.membership.Members {
		m := w.members[x.ID]
		if m == nil || m.host == nil || m.host.proc == nil {
			return fmt.Sprintf("member %s does not run", x.ID)
		}
		if p := m.host.proc; p.core.Role() == raft.RoleLeader {
			if leader != nil {
				return fmt.Sprintf("members %s and %s both lead", leader.m.id, p.m.id)
			}
			leader = p
		}
	}
	if leader == nil {
		return "nobody leads"
	}
	want := leader.core.Status()
	if want.Commit != want.Last.Index || !want.ConfigCommitted {
		return fmt.Sprintf("leader %s has committed %d of %d entries", want.ID, want.Commit, want.Last.Index)
	}
	for _, x := range w.oracle.membership.Members {
		p := w.members[x.ID].host.proc
		s := p.core.Status()
		if s.Term != want.Term || s.Last != want.Last || s.Commit != want.Commit || s.Leader != want.ID || s.Stored != want.Last.Index {
			return fmt.Sprintf("member %s is at term %d, log %v stored to %d, commit %d, leader %s; leader %s at term %d, log %v, commit %d",
				s.ID, s.Term, s.Last, s.Stored, s.Commit, s.Leader, want.ID, want.Term, want.Last, want.Commit)
		}
		if p.machine.meta.Index != want.Commit || s.Applied != want.Commit {
			return fmt.Sprintf("member %s has applied %d of %d entries, the core knows of %d", s.ID, p.machine.meta.Index, want.Commit, s.Applied)
		}
	}
	for _, x := range w.oracle.membership.Members {
		p := w.members[x.ID].host.proc
		if a, b := p.stateHash(), leader.stateHash(); a != b {
			fail("state machine safety", "members %s and %s have states with the checksums %x and %x at %d", x.ID, want.ID, a, b, want.Commit)
		}
	}
	return ""
}
