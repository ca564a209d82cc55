package sim

import (
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
)

const (
	// doorWorlds is how many of the worlds have connections as the program makes them: a member dials whom it knows of, is let in by who has nothing against it, and
	// answers nobody whom it does not dial. In the others every message finds its way.
	doorWorlds = 0.4
	// introductionPause is how often members tell those whom they are connected to who is where.
	introductionPause = 100 * time.Millisecond
	// absenceEvery is how often a program stays away for so long, mostAbsence at the most, that it misses changes of the membership.
	absenceEvery = 10 * time.Second
	mostAbsence  = 25 * time.Second

	doorCluster raft.ClusterID = 1
)

// door is what a program knows of the others, beside its log and its state.
type door struct {
	look            doorLook
	committed, told raft.Membership
	dialed          []raft.Member
}

// doorLook tells whether anything has changed since the last look.
type doorLook struct {
	term                  raft.Term
	config, applied, told raft.Index
	committed, looked     bool
}

// startDoors has members tell each other who is where, in the worlds that have doors. The chance of it is its own, so that the others stay as they were.
func (w *world) startDoors() {
	r := w.root.child(labelDoors)
	if r.chance(doorWorlds) {
		w.openDoors(r)
		w.every(r, absenceEvery, func() bool {
			w.absent(r.between(longestDowntime, mostAbsence), w.hosts[r.n(len(w.hosts))])
			return !w.healing
		})
	}
}

func (w *world) openDoors(r *random) {
	w.doors = true
	w.every(r, introductionPause, w.introduce)
}

// absent ends a host's program and leaves it so for long.
func (w *world) absent(long time.Duration, h *host) {
	if w.allows(Crash) && h.proc != nil {
		w.coverage.Absences++
		h.kill()
		h.down = true
		w.after(long, func() { h.boot(w) })
	}
}

// looked brings a program's door up to date, as package node tells it of the memberships.
func (p *process) looked() *door {
	d, v, applied := &p.door, p.core.View(), p.machine.meta.Membership
	now := doorLook{v.Term, v.ConfigIndex, applied.Index, d.told.Index, v.ConfigCommitted, true}
	if now == d.look {
		return d
	}
	d.look = now
	current := p.core.Status().Membership
	switch {
	case v.ConfigCommitted:
		d.committed = current
	case applied.Index >= d.committed.Index:
		d.committed = applied
	}
	d.dialed = transport.Dialed(current, d.committed, d.told)
	return d
}

// dials tells whether messages to a member leave the program at all.
func (p *process) dials(to raft.NodeID) bool {
	if !p.w.doors {
		return true
	}
	for _, x := range p.looked().dialed {
		if x.ID == to {
			m := p.w.members[to]
			return m != nil && m.incarnation == x.Incarnation
		}
	}
	return false
}

// letsIn tells whether the program takes messages of another.
func (p *process) letsIn(from *process) bool {
	if !p.w.doors {
		return true
	}
	local := transport.Local{
		Identity: transport.Identity{Cluster: doorCluster, ID: p.m.id, Incarnation: p.m.incarnation}, Committed: p.looked().committed,
	}
	return transport.Decide(local, transport.Hello{
		Cluster: doorCluster, From: from.m.id, FromIncarnation: from.m.incarnation, To: p.m.id, ToIncarnation: p.m.incarnation,
	}) == nil
}

// introduce has everyone tell those whom it is connected to.
func (w *world) introduce() bool {
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			from, to := a.proc, b.proc
			if from == nil || to == nil || from == to || w.now < from.pausedUntil || w.now < to.pausedUntil || !w.net.reachable(a.slot, b.slot) {
				continue
			}
			if from.dials(to.m.id) && to.letsIn(from) {
				from.introduce(to)
			}
		}
	}
	return !w.done
}

func (p *process) introduce(to *process) {
	known := p.door.committed
	if m, there := known.Find(to.m.id); !there || known.Index <= to.door.told.Index || p.w.opts.mutant == tellLearnersOnly && !m.Learner {
		return
	}
	to.door.told = known
	p.w.coverage.Introductions++
}
