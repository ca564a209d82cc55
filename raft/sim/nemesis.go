package sim

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// startNemesis sets off the faults. Each kind comes at times of its own, from chance of its own.
func (w *world) startNemesis() {
	label := uint64(labelNemesis)
	fault := func(kind Faults, mean time.Duration, strike func(r *random)) {
		label++
		if mean == 0 {
			return // not in this run
		}
		r := w.root.child(label)
		w.every(r, mean, func() bool {
			if w.allows(kind) {
				strike(r)
			}
			return !w.healing
		})
	}
	fault(Partition, w.plan.partition, w.strikePartition)
	fault(Loss, w.plan.leaky, func(r *random) { w.leak(r, &w.net.loss, 0.3) })
	fault(Duplication, w.plan.leaky, func(r *random) { w.leak(r, &w.net.duplication, 0.3) })
	fault(Reordering, w.plan.leaky, func(r *random) { w.leak(r, &w.net.reordering, 0.3) })
	fault(Crash, w.plan.crash, w.strikeCrash)
	fault(PowerLoss, w.plan.powerLoss, w.strikePower)
	fault(Pause, w.plan.pause, w.strikePause)
	fault(ClockDrift, w.plan.jump, w.strikeClock)
	fault(Wipe, w.plan.wipe, w.strikeWipe)
	fault(Transfer, w.plan.transfer, w.strikeTransfer)
	fault(BitRot, w.plan.rot, w.strikeRot)
	fault(FullDisk, w.plan.full, w.strikeFull)
	fault(SessionStorm, w.plan.storm, w.strikeStorm)
	fault(Partition, w.plan.attack, w.strikeLease)
}

// victim picks a host: often that of the leader, who has most to lose.
func (w *world) victim(r *random) *host {
	if r.chance(0.4) {
		if p := w.operator.findLeader(); p != nil {
			return p.host
		}
	}
	return w.hosts[r.n(len(w.hosts))]
}

// leak makes the network misbehave for a while.
func (w *world) leak(r *random, rate *float64, most float64) {
	*rate = most * float64(r.span(1, 100)) / 100
	w.trace(nil, "leaky: loss %.2f, duplication %.2f, reordering %.2f", w.net.loss, w.net.duplication, w.net.reordering)
	w.after(r.between(500*time.Millisecond, 8*time.Second), func() { *rate = 0 })
}

// strikePartition cuts links: between two groups, in one direction only, around a bridge that both sides see,
// around one member, or a single link.
func (w *world) strikePartition(r *random) {
	size := w.net.size
	if size == 1 {
		return
	}
	side := make([]int, size)
	for i := range side {
		side[i] = r.n(2)
	}
	var cuts [][2]int
	between := func(oneWay bool) {
		for a := range size {
			for b := range size {
				if side[a] == 0 && side[b] == 1 {
					cuts = append(cuts, [2]int{a, b})
					if !oneWay {
						cuts = append(cuts, [2]int{b, a})
					}
				}
			}
		}
	}
	kind := [...]string{"symmetric", "one-way", "bridge", "isolation", "one-way isolation", "link"}[r.n(6)]
	switch kind {
	case "symmetric":
		between(false)
	case "one-way":
		between(true)
	case "bridge":
		side[w.victim(r).slot] = 2
		between(false)
	case "isolation", "one-way isolation":
		clear(side)
		side[w.victim(r).slot] = 1
		between(kind == "one-way isolation")
	case "link":
		a := r.n(size)
		b := (a + 1 + r.n(size-1)) % size
		cuts = append(cuts, [2]int{a, b}, [2]int{b, a})
	}
	w.trace(nil, "partition (%s): cuts %v", kind, cuts)
	w.coverage.Partitions++
	switch kind {
	case "one-way", "one-way isolation":
		w.coverage.OneWayPartitions++
	case "bridge":
		w.coverage.BridgePartitions++
	}
	for _, c := range cuts {
		w.net.cut(c[0], c[1], 1)
	}
	heals := w.net.heals
	w.after(r.between(200*time.Millisecond, 5*time.Second), func() {
		if w.net.heals != heals {
			return // everything is healed already
		}
		w.trace(nil, "partition (%s) ends", kind)
		for _, c := range cuts {
			w.net.cut(c[0], c[1], -1)
		}
	})
}

// longestDowntime is how long a host's program is down, at most.
const longestDowntime = 4 * time.Second

// restartLater starts a host's program again after a while.
func (w *world) restartLater(r *random, h *host) {
	h.down = true
	w.after(r.between(50*time.Millisecond, longestDowntime), func() { h.boot(w) })
}

func (w *world) strikeCrash(r *random) {
	h := w.victim(r)
	if h.proc == nil {
		return
	}
	w.coverage.Crashes++
	h.kill()
	w.restartLater(r, h)
}

// strikePower cuts the power of one host, some, or all.
func (w *world) strikePower(r *random) {
	one := w.victim(r)
	all := r.chance(0.3)
	for _, h := range w.hosts {
		if h != one && !(all && r.chance(0.8)) {
			continue
		}
		w.coverage.PowerLosses++
		h.losePower(w, r)
		if !h.down {
			w.restartLater(r, h)
		}
	}
}

// losePower ends the program too, at the same moment.
func (h *host) losePower(w *world, r *random) {
	if h.proc != nil {
		w.trace(h.proc, "loses its power")
		h.end()
	}
	if m := h.member; m != nil && m.disk.losePower(r) {
		w.coverage.WritesDropped++
	}
}

func (w *world) strikePause(r *random) {
	p := w.victim(r).proc
	if p == nil {
		return
	}
	w.coverage.Pauses++
	p.pausedUntil = max(p.pausedUntil, w.now+r.between(50*time.Millisecond, 3*time.Second))
	w.trace(p, "paused until %s", p.pausedUntil)
}

func (w *world) strikeTransfer(r *random) {
	p := w.operator.findLeader()
	if p == nil {
		return
	}
	var to raft.NodeID
	if voters := w.oracle.membership.Voters(); r.chance(0.7) {
		to = voters[r.n(len(voters))]
	}
	p.whenRunning(func() {
		err := p.core.Transfer(to)
		w.trace(p, "operator: transfer to %s: %v", to, err)
		if err == nil {
			w.coverage.Transfers++
		}
		p.stepped()
	})
}

// strikeWipe loses a disk for good. More than one lost voter at a time, or one lost while a change is under way, may
// be a loss of quorum that nothing can heal, so that has to wait for the operator.
func (w *world) strikeWipe(r *random) {
	h := w.victim(r)
	m := h.member
	if m == nil || m.removed || w.operator.acting > 0 || w.opts.Without&MembershipChange != 0 {
		return
	}
	if !w.mayLose(m) {
		return
	}
	w.coverage.Wipes++
	w.trace(h.proc, "its disk is lost")
	h.kill()
	if w.opts.mutant == wipedKeepsID {
		w.prepare(m, newMachine(raft.SnapshotMeta{}, w.plan.registers), r)
		m.shadow = shadow{}
		w.restartLater(r, h)
		return
	}
	m.lost, m.host = true, nil
	w.freshDirectory(h)
	w.restartLater(r, h)
}
