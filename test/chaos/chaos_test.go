//go:build linux

package chaos

import (
	"testing"
	"time"
)

// convergenceTimeout bounds how long a healed cluster may take until all nodes hold the same.
const convergenceTimeout = 2 * patience

func TestOneNode(t *testing.T)    { survive(t, 1) }
func TestThreeNodes(t *testing.T) { survive(t, 3) }
func TestFiveNodes(t *testing.T)  { survive(t, 5) }

// TestLeaseReads has the same faults, a leader that is stopped and goes on among them, while leaders answer reads by themselves.
func TestLeaseReads(t *testing.T) { survive(t, 3, "--lease-reads") }

// survive runs a cluster through faults under clients, heals it and checks all that was promised.
func survive(t *testing.T, size int, flags ...string) {
	t.Parallel() // most of the time something is waited for
	seed := tellSeed(t)
	c := newCluster(t, size, t.TempDir(), append(flags, "--snapshot-count=500")...)
	c.start(c.nodes...)
	c.awaitReady()
	w := startWorkload(t, c, seed)
	watching := startWatchers(t, c)
	pairs := startPairs(t, c, w.history, seed)
	n := &nemesis{t: t, cluster: c, history: w.history}
	n.torment(seed, *durationFlag)
	n.report()
	w.end()
	pairs.end()
	from := w.history.now()
	held := c.converge(convergenceTimeout)
	converged := w.history.now()
	w.history.finish(held, from, converged)
	w.history.check(t)
	pairs.check(t)
	watching.check(t, pairs.acknowledged())
	t.Logf("%d keys; the same on all nodes %v after the last request; the search for an order took %v",
		len(held), (converged - from).Round(time.Millisecond), (w.history.now() - converged).Round(time.Millisecond))
}
