package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// labelHarm tells the chance of harm from all other.
const labelHarm = 50

// harm is what becomes of a minority of the voters, for good.
type harm struct {
	name string
	do   func(w *world, r *random, h *host)
}

var harms = []harm{
	{"down", func(w *world, _ *random, h *host) {
		h.kill()
		h.down = true
	}},
	{"cut off", func(w *world, _ *random, h *host) { w.cutOff(h, true, true) }},
	{"deaf", func(w *world, _ *random, h *host) { w.cutOff(h, true, false) }},
	{"mute", func(w *world, _ *random, h *host) { w.cutOff(h, false, true) }},
	{"half connected", func(w *world, r *random, h *host) {
		for _, o := range w.hosts {
			if o != h && r.chance(0.5) {
				w.net.cut(o.slot, h.slot, 1)
				if r.chance(0.5) {
					w.net.cut(h.slot, o.slot, 1)
				}
			}
		}
	}},
	{"with disks that stand still", func(w *world, _ *random, h *host) { h.member.stalledUntil = w.now + time.Hour }},
	{"paused", func(w *world, _ *random, h *host) {
		if h.proc != nil {
			h.proc.pausedUntil = w.now + time.Hour
		}
	}},
	{"paused again and again", func(w *world, r *random, h *host) {
		w.every(r, 900*time.Millisecond, func() bool {
			if h.proc != nil {
				h.proc.pausedUntil = max(h.proc.pausedUntil, w.now+r.between(300*time.Millisecond, 1500*time.Millisecond))
			}
			return true
		})
	}},
	{"killed again and again", func(w *world, r *random, h *host) {
		w.every(r, 600*time.Millisecond, func() bool {
			if h.proc != nil {
				h.kill()
				w.after(r.between(10*time.Millisecond, 300*time.Millisecond), func() { h.boot(w) })
			}
			return true
		})
	}},
	{"down, the others with disks as slow as an election timeout", func(w *world, _ *random, h *host) {
		h.kill()
		h.down = true
		w.plan.syncLow = time.Duration(w.plan.electionTicks) * w.plan.tick
		w.plan.syncHigh = w.plan.syncLow + w.plan.syncLow/5
	}},
}

func (w *world) cutOff(h *host, in, out bool) {
	for _, o := range w.hosts {
		if o == h {
			continue
		}
		if in {
			w.net.cut(o.slot, h.slot, 1)
		}
		if out {
			w.net.cut(h.slot, o.slot, 1)
		}
	}
}

// TestAMajorityServesWhateverBecomesOfTheRest: the end of a campaign heals everything. Here, after all kinds of faults, a majority is well and the minority
// stays harmed, in each of these ways, and the clients must be served all the same.
func TestAMajorityServesWhateverBecomesOfTheRest(t *testing.T) {
	const seedsEach = 25
	for i, x := range harms {
		t.Run(x.name, func(t *testing.T) {
			harmed := 0
			for n := range uint64(seedsEach) {
				seed := 1000*uint64(i+1) + n
				some, v := runHarmed(seed, x)
				if v != nil {
					t.Errorf("seed %d: %v", seed, v)
				}
				if some {
					harmed++
				}
			}
			if harmed < seedsEach/2 {
				t.Errorf("somebody was harmed in %d of %d runs only", harmed, seedsEach)
			}
		})
	}
}

// runHarmed tells whether there was a minority, and which promise was broken.
func runHarmed(seed uint64, x harm) (some bool, v *Violation) {
	w := &world{
		opts: Options{Seed: seed, Duration: 10 * time.Second, Without: MembershipChange | BitRot | Wipe},
		hash: newHash(), root: random{seed}, members: map[raft.NodeID]*member{},
	}
	defer func() { v = w.violation(recover()) }()
	w.plan = drawPlan(w.root.child(labelPlan))
	w.plan.maxAppendBytes, w.plan.maxInflightMessages, w.plan.maxInflightBytes = 0, 0, 0 // with little in flight slow disks serve few
	w.build()
	for i := range w.plan.clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	w.operator.start(w)
	w.startNemesis()
	w.queue.push(w.opts.Duration, func() { some = w.harmMinority(x) })
	for !w.done {
		w.next()
	}
	w.history.check()
	return some, nil
}

// harmMinority ends all faults but those of a minority, and demands that clients are served.
func (w *world) harmMinority(x harm) (some bool) {
	w.endFaults(func(*process) {})
	minority := (len(w.oracle.membership.Voters()) - 1) / 2
	w.after(longestDowntime+time.Millisecond, func() { // once all are started, and no start is due any more that would end the harm
		r := w.root.child(labelHarm)
		voters := w.oracle.membership.Voters()
		from := r.n(len(voters))
		for n := range minority {
			x.do(w, r, w.members[voters[(from+n)%len(voters)]].host)
		}
		for _, c := range w.clients {
			c.finished = 0
		}
		w.poll(w.now+convergenceLimit, "clients are served", func() string { return w.unserved(livenessOperations) }, func() {
			for _, c := range w.clients {
				c.idle = true
			}
			w.poll(w.now+convergenceLimit, "clients get their answers", w.unanswered, func() { w.done = true })
		})
	})
	return minority > 0
}

func (w *world) unserved(operations int) string {
	for _, c := range w.clients {
		if c.finished < operations {
			return fmt.Sprintf("client %d has got through %d operations", c.id, c.finished)
		}
	}
	return ""
}

func (w *world) unanswered() string {
	for _, c := range w.clients {
		if c.current != nil {
			return fmt.Sprintf("client %d waits for an answer", c.id)
		}
	}
	return ""
}
