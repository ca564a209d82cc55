package sockets

import (
	"math/rand/v2"
	"time"

	"github.com/raftkv/raftkv/raft/sim"
)

const (
	// strikeEvery is how often a fault strikes on average, while some are allowed.
	strikeEvery = 700 * time.Millisecond
	// mostStruck is how long one lasts.
	mostStruck = 1500 * time.Millisecond
)

// nemesis lets faults strike by chance. It belongs to the goroutine that plays the story.
type nemesis struct {
	cluster *cluster
	random  *rand.Rand
	allowed sim.Faults
	next    time.Duration
	// over is when the fault that strikes now ends.
	over time.Duration
	down int // the machine that it has stopped, or zero
}

// turn ends what is over, and lets something strike when it is time.
func (n *nemesis) turn(now time.Duration) error {
	if n.over != 0 && now >= n.over {
		if err := n.end(); err != nil {
			return err
		}
	}
	if n.allowed == 0 || n.over != 0 || now < n.next {
		return nil
	}
	n.next = now + time.Duration(n.random.Int64N(int64(2*strikeEvery)))
	n.over = now + time.Duration(n.random.Int64N(int64(mostStruck)))
	return n.strike(now)
}

func (n *nemesis) strike(now time.Duration) error {
	c := n.cluster
	victim := 1 + n.random.IntN(c.Size())
	switch kind := sim.Faults(1) << n.random.IntN(32); kind & n.allowed {
	case sim.Partition:
		c.covered(func(c *sim.Coverage) { c.Partitions++ })
		side := n.random.Uint64()
		c.network.change(func() {
			for link := range c.network.links {
				if side>>link[0]&1 != side>>link[1]&1 {
					c.network.struck[link] = true
				}
			}
		})
	case sim.Crash, sim.PowerLoss:
		n.down = victim
		return c.Crash(victim)
	case sim.Pause:
		return c.Pause(victim, n.over-now)
	case sim.Loss:
		c.Loss(0.1)
	case sim.Reordering:
		c.Reorder(0.2)
	case sim.Transfer:
		for m := 1; m <= c.Size(); m++ {
			if c.Machine(m).Leads() {
				return c.Transfer(m, victim)
			}
		}
	case sim.SnapshotFailure:
		for other := 1; other <= c.Size(); other++ {
			if other != victim {
				c.network.breakLinks(victim, other)
			}
		}
	default:
		n.over, n.next = 0, now // of a kind that is not allowed, or has no meaning here: draw again
	}
	return nil
}

// end heals what has struck.
func (n *nemesis) end() error {
	c := n.cluster
	n.over = 0
	c.network.change(func() { clear(c.network.struck) })
	if n.allowed&(sim.Loss|sim.Reordering) != 0 {
		c.Loss(0)
		c.Reorder(0)
	}
	if down := n.down; down != 0 {
		n.down = 0
		return c.Restart(down)
	}
	return nil
}

func (n *nemesis) forbid(f sim.Faults) {
	if n.over != 0 {
		if err := n.end(); err != nil {
			n.cluster.fail(err)
		}
	}
	n.allowed &^= f
}
