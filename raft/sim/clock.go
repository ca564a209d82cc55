package sim

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// clock is the clock of a process: it runs at a rate of its own, which changes, and may leap or stand still. The process reads it
// before it takes effects and whenever a tick is due.
type clock struct {
	rate     int64 // local nanoseconds in a million
	since    time.Duration
	local    time.Duration // at since
	reported uint64        // ticks
}

// million is the rate of a clock that is right.
const million = 1_000_000

func (c *clock) read(now time.Duration) time.Duration {
	return c.local + time.Duration(int64(now-c.since)*c.rate/million)
}

// set lets the clock go on from now at another rate.
func (c *clock) set(now time.Duration, rate int64) {
	c.local, c.since, c.rate = c.read(now), now, rate
}

// ticks returns how many ticks have passed since it was last asked.
func (c *clock) ticks(now, tick time.Duration) int {
	total := uint64(c.read(now) / tick)
	n := total - c.reported
	c.reported = total
	return int(n)
}

// untilNext returns how long it takes until the next tick.
func (c *clock) untilNext(now, tick time.Duration) time.Duration {
	left := time.Duration(c.reported+1)*tick - c.read(now)
	if c.rate == 0 {
		return tick
	}
	return max(0, time.Duration(int64(left)*million/c.rate)) + 1
}

// drift draws a rate for a process: within the bound that leases are told of, where there are any, and anything where not.
func (p *process) drift() int64 {
	plan := &p.w.plan
	if !p.w.allows(ClockDrift) {
		return million
	}
	most := int64(plan.drift * million)
	if plan.leases {
		most = plan.mostLeaseDrift()
	}
	if p.random.chance(0.5) {
		return million + most*int64(2*p.random.n(2)-1) // where bounds show
	}
	return million + most*int64(p.random.span(-100, 100))/100
}

func (p *process) tick() {
	if p.dead {
		return
	}
	// A paused program misses its ticks, and hears of them when it goes on.
	p.whenRunning(func() {
		p.advance()
		p.stepped()
		p.w.after(p.clock.untilNext(p.w.now, p.w.plan.tick), p.tick)
	})
}

// mostLeaseDrift is how far a rate may be from a right one where leases are on. Two clocks may disagree by the bound B over a
// lease: the fastest has 1/(1-B) times the rate of the slowest.
func (p *plan) mostLeaseDrift() int64 {
	bound := int64(p.leaseDrift)
	most := million * bound / (200 - bound)
	return most - most/100
}

// advance tells the core what the clock says.
func (p *process) advance() { p.core.Advance(p.clock.ticks(p.w.now, p.w.plan.tick)) }

// strikeClock lets a member's clock go wrong: run at another rate and, where no lease relies on it, stand still or leap.
func (w *world) strikeClock(r *random) {
	p := w.victim(r).proc
	if p == nil {
		return
	}
	kind := r.n(4)
	if w.plan.leases {
		kind = 0
	}
	switch kind {
	case 0:
		w.coverage.ClockDrifts++
		p.clock.set(w.now, p.drift())
		w.trace(p, "clock runs at %d ppm", p.clock.rate)
	case 1:
		w.coverage.ClockStops++
		w.trace(p, "clock stands still")
		p.clock.set(w.now, 0)
		w.after(r.between(100*time.Millisecond, 3*time.Second), func() { p.clock.set(w.now, million) })
	default:
		w.coverage.ClockJumps++
		ticks := r.span(1, 4*w.plan.electionTicks)
		w.trace(p, "clock leaps by %d ticks", ticks)
		if kind == 2 {
			p.clock.local += time.Duration(ticks) * w.plan.tick
			return
		}
		// As with a timer that fires for all that it has missed.
		p.whenRunning(func() {
			for range ticks {
				p.core.Tick()
			}
			p.stepped()
		})
	}
}

// leases says whether a process makes and uses promises. One that ran before may have made some, which it keeps.
func (p *process) leases() (on bool, quietTicks int) {
	plan := &p.w.plan
	if !plan.leases {
		return false, 0
	}
	if p.w.allows(ClockDrift) && p.random.chance(0.15) {
		return false, plan.electionTicks + 1
	}
	return true, 0
}

func (p *process) config(leases bool) raft.Config {
	plan := &p.w.plan
	c := raft.Config{
		ID: p.m.id, ElectionTicks: plan.electionTicks, HeartbeatTicks: plan.heartbeatTicks, Random: p.random.n,
		MaxAppendBytes: plan.maxAppendBytes, MaxInflightMessages: plan.maxInflightMessages,
		MaxInflightBytes: plan.maxInflightBytes, MaxUncommittedBytes: plan.maxUncommittedBytes,
		MaxApplyBytes: plan.maxApplyBytes, MaxPendingReads: plan.maxPendingReads,
	}
	if leases {
		c.LeaseReads, c.ClockDriftPercent, c.TickMicros = true, plan.leaseDrift, int(plan.tick.Microseconds())
	}
	return c
}

// strikeLease brings about what a lease is most afraid of: a member that has not heard from the leader for long stands for election, and
// those that have just promised the leader not to elect another hear of it no more, or even start anew. Their clocks run as fast, the
// leader's as slow, as the bound allows. The old leader is asked again and again.
func (w *world) strikeLease(r *random) {
	p := w.operator.findLeader()
	if p == nil || !w.plan.leases || !w.allows(Crash) {
		return
	}
	leader := p.host
	voters := w.oracle.membership.Voters()
	m := w.members[voters[r.n(len(voters))]]
	if len(voters) < 3 || m == nil || m.host == nil || m.host == leader {
		return
	}
	rival := m.host
	w.trace(p, "is cut off from host %d, and soon from the others", rival.slot)
	w.readsOnly++ // or the rival's log would fall behind, and nobody could elect it
	if r.chance(0.3) {
		w.after(answerTimeout, func() { w.attackHandOver(r, leader, rival) })
		return
	}
	w.after(answerTimeout, func() { w.attackLease(r, leader, rival) })
}

func (w *world) attackLease(r *random, leader, rival *host) {
	p := leader.proc
	if p == nil || w.healing {
		w.readsOnly--
		return
	}
	w.coverage.LeasesAttacked++
	timeout := time.Duration(w.plan.electionTicks) * w.plan.tick
	heals := w.net.heals
	cut := func(h *host, by int) {
		w.net.cut(leader.slot, h.slot, by)
		w.net.cut(h.slot, leader.slot, by)
	}
	cut(rival, 1)
	restart := r.chance(0.5)
	if w.allows(ClockDrift) && r.chance(0.7) {
		most := w.plan.mostLeaseDrift()
		for _, h := range w.hosts {
			switch {
			case h == leader:
				p.clock.set(w.now, million-most)
			case h.proc != nil:
				h.proc.clock.set(w.now, million+most)
			}
		}
	}
	w.after(r.between(2*timeout, 7*timeout/2), func() {
		if w.net.heals != heals {
			w.readsOnly--
			return
		}
		for _, h := range w.hosts {
			if h == leader || h == rival {
				continue
			}
			cut(h, 1)
			if h.proc != nil && restart && r.chance(0.9) {
				h.kill()
				h.down = true
				w.after(r.between(0, timeout/4), func() { h.boot(w) })
			}
		}
		over := w.now + r.between(timeout, 4*timeout)
		w.probe(r, leader, over)
		w.after(over-w.now, func() {
			w.readsOnly--
			if w.net.heals != heals {
				return
			}
			for _, h := range w.hosts {
				if h != leader {
					cut(h, -1)
				}
			}
		})
	})
}

// attackHandOver lets the leader hand over and then hear nothing of what comes of it.
func (w *world) attackHandOver(r *random, leader, rival *host) {
	p := leader.proc
	if p == nil || rival.member == nil || w.healing || p.core.Transfer(rival.member.id) != nil {
		w.readsOnly--
		return
	}
	w.coverage.Transfers++
	p.stepped()
	heals := w.net.heals
	isolate := func(by int) {
		for _, h := range w.hosts {
			if h != leader {
				w.net.cut(leader.slot, h.slot, by)
				w.net.cut(h.slot, leader.slot, by)
			}
		}
	}
	// The word to the rival is on its way for so long.
	w.after(w.plan.latencyHigh+w.plan.batching, func() {
		w.readsOnly--
		if w.net.heals != heals {
			return
		}
		isolate(1)
		lasts := time.Duration(2*w.plan.electionTicks) * w.plan.tick
		w.probe(r, leader, w.now+lasts)
		w.after(lasts, func() {
			if w.net.heals == heals {
				isolate(-1)
			}
		})
	})
}

// probe asks a member for reads until a moment: clients that wait for their writes there ask for few.
func (w *world) probe(r *random, h *host, until time.Duration) {
	nobody := &client{w: w, random: r} // whose answers only the oracle looks at
	w.every(r, w.plan.tick/2, func() bool {
		if p := h.proc; p != nil {
			p.whenRunning(func() { p.read(nobody, 0, r.n(w.plan.keys), 0) })
		}
		return w.now < until && !w.healing
	})
}
