package sim

import "time"

const (
	// sluggishWorlds is how many of the worlds have disks that become slow for longer than any member waits, some of them all at once.
	sluggishWorlds = 0.2
	sluggishEvery  = 15 * time.Second
)

// startSluggish lets disks become slow. The chance of it is its own, so that worlds without it stay as they were.
func (w *world) startSluggish() {
	r := w.root.child(labelSluggish)
	if w.opts.Without&SlowDisk != 0 || !r.chance(sluggishWorlds) {
		return
	}
	w.sluggish = r
	w.every(r, sluggishEvery, func() bool {
		all, until := r.chance(0.2), w.now+r.between(2*time.Second, 20*time.Second)
		by := r.between(10*time.Millisecond, time.Duration(w.plan.electionTicks)*w.plan.tick)
		one := w.hosts[r.n(len(w.hosts))]
		for _, h := range w.hosts {
			if m := h.member; m != nil && (all || h == one) {
				m.slowUntil, m.slowBy = until, by
				w.coverage.SluggishDisks++
			}
		}
		w.trace(one.proc, "slow until %s, all: %t: a sync takes up to %s longer", until, all, by)
		return !w.healing
	})
}

// sluggish is how much longer a sync takes that begins now.
func (p *process) sluggish() time.Duration {
	if p.w.now >= p.m.slowUntil || !p.w.allows(SlowDisk) {
		return 0
	}
	return p.w.sluggish.between(p.m.slowBy/2, p.m.slowBy)
}
