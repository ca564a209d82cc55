package plan

import (
	"flag"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// The simulation runs Plan with the real raft core while pods crash, volumes and machines are lost, nodes are cut off,
// answer late or are said to be gone while they run, templates are bad, the spec changes, somebody deletes the StatefulSet, claims in use, or the RaftCluster, which is applied
// again over what it left, recoveries are allowed that nobody needs, caches lag, the operator's clock leaps, and the operator is killed between any two effects or away for long. In half
// of the worlds crises are staged (crises_test.go). It
// checks that the operator never gives a quorum up, deletes what a member needs, or founds a cluster
// twice; that no write which was acknowledged is lost, also not by the order in which pods are stopped to rest; and that once the faults end
// the cluster becomes what was asked for, in bounded time.

var (
	simSeeds = flag.Int("plan.seeds", 80, "seeds of the simulation")
	simBase  = flag.Uint64("plan.base", 0, "the first seed")
	simSweep = flag.Bool("plan.sweep", true, "fail when something that the simulation is to survive did not happen")
	simLines = flag.Int("plan.lines", 40, "what is told of a run that failed: so many lines of its end")
)

const (
	simFaultTicks   = 4000
	simHealingTicks = 12000
	simTemplates    = 1000
)

func TestSimulation(t *testing.T) {
	total := map[string]int{}
	longest := 0
	for seed := range uint64(*simSeeds) {
		w := newWorld(t, *simBase+seed)
		for range simFaultTicks {
			if !w.unfold() && w.rnd.IntN(1000) < 25 {
				w.fault()
			}
			w.tick()
		}
		longest = max(longest, w.heal())
		for k, n := range w.stats {
			total[k] += n
		}
		total["written"] += len(w.g.promised)
	}
	t.Logf("converged within %d ticks; %v", longest, total)
	if !*simSweep {
		return
	}
	for _, k := range []string{"wipe", "record", "add-learner", "promote", "remove", "transfer", "withdraw", "scale", "restart", "force",
		"claim-deleted", "hibernated", "awake", "recreate", "stale", "set-deleted", "hidden", "killed-before-effect-0", "killed-before-effect-1",
		"killed-before-effect-2", "killed-before-effect-3", "killed-before-effect-4", "killed-before-effect-5", "written",
		"applied-anew", "leap", "operator-away", "consent", "probe", "slow"} {
		if total[k] < *simSeeds/4 {
			t.Errorf("only %d times %q in %d seeds: the simulation tests too little", total[k], k, *simSeeds)
		}
	}
	for _, k := range []string{"recover", "abandon", "begin-empty", "damage", "claim-deleted-in-use", "gone-with-its-pod", "replace", "replace-volume", "put-back", "made-with-what-was-held", "refused",
		"machine-and-volume", "crisis-tails", "relic", "crisis-late learner", "crisis-uneasy rest", "crisis-half asleep", "crisis-forsaken", "crisis-back again", "crisis-ghost", "ghost-on-no-record", "crisis-guest", "outgrown"} {
		if total[k] < *simSeeds/40 {
			t.Errorf("only %d times %q in %d seeds: the simulation tests too little of what is rare", total[k], k, *simSeeds)
		}
	}
	if total["readmit"] == 0 {
		t.Error("no pod that was to go stayed after all")
	}
}

// heal ends the faults, and gives how many ticks it took until all was as the spec says.
func (w *world) heal() int {
	w.say("the faults end")
	w.faults, w.g.lossy, w.paused, w.hibernate, w.skew = false, false, false, false, 0
	w.template = simTemplates
	w.specVersion++
	clear(w.g.cut)
	clear(w.g.slow)
	w.g.lazy, w.refuses = false, 0
	w.endGhosts()
	for _, p := range w.pods {
		p.hidden, p.failing = false, false
	}
	for tick := range simHealingTicks {
		w.expel()
		w.tick()
		d := w.op.last
		if d.Stalled != nil && d.Stalled.Reason == ReasonUnaccountedClaim {
			w.person()
		}
		if w.op.turn == nil && d.Step == nil && d.Waiting == nil && d.Stalled == nil && w.converged() {
			w.keptWrites()
			return tick
		}
	}
	w.fail("not converged to %d members (%d pods, members %+v); the last decision was %s", w.desired, w.replicas, w.g.newest.Members, &w.op)
	return 0
}

// keptWrites checks that the members have what clients were told is written.
func (w *world) keptWrites() {
	last := raft.Index(0)
	for index, digest := range w.g.promised {
		if w.g.digests[index] != digest {
			w.fail("entry %d was acknowledged and is another now", index)
		}
		last = max(last, index)
	}
	if l := w.g.leader(); l.dir.applied.Index < last {
		w.fail("entry %d was acknowledged and the leader %d has only %d", last, l.ordinal, l.dir.applied.Index)
	}
}
