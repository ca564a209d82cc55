//go:build linux

package chaos

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fault is one thing that goes wrong.
type fault struct {
	kind string
	// victim chooses among the nodes that the kind leaves open.
	victim int
	// length is how long it lasts, where it lasts.
	length time.Duration
	// rush: the next fault does not wait until all nodes have caught up.
	rush bool
	// seed is for what the fault itself draws.
	seed uint64
}

func (f fault) String() string {
	return fmt.Sprintf("%s (victim %d, %v, rush %v)", f.kind, f.victim, f.length.Round(time.Millisecond), f.rush)
}

// faultKind says what a kind of fault is and from which size of cluster on it makes sense.
type faultKind struct {
	name    string
	minSize int
	run     func(*nemesis, fault)
}

var faultKinds = []faultKind{
	{"kill all at once", 1, (*nemesis).killAll},
	{"power loss of all", 1, (*nemesis).powerLoss},
	{"kill the leader", 1, (*nemesis).killLeader},
	{"kill a follower", 3, (*nemesis).killFollower},
	{"power loss of one", 3, (*nemesis).powerLossOfOne},
	{"pause the leader", 1, (*nemesis).pauseLeader},
	{"pause a follower", 3, (*nemesis).pauseFollower},
	{"terminate the leader", 1, (*nemesis).terminateLeader},
	{"terminate a follower", 3, (*nemesis).terminateFollower},
	{"cut the leader off", 3, (*nemesis).cutLeader},
	{"cut a follower off", 3, (*nemesis).cutFollower},
	{"cut one pair", 3, (*nemesis).cutPair},
	{"stall what the leader sends", 3, (*nemesis).stallFromLeader},
	{"stall what the leader gets", 3, (*nemesis).stallToLeader},
	{"delay everything", 3, (*nemesis).delayAll},
	{"wipe a follower", 3, (*nemesis).wipeFollower},
	{"kill a minority with the leader in it", 5, (*nemesis).killMinority},
}

// schedule yields what goes wrong in a cluster of that size, without an end: one round of all kinds first, then any.
func schedule(seed uint64, size int) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		random := rand.New(rand.NewPCG(seed, uint64(size)))
		kinds := kindsFor(size)
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for n := 0; ; n++ {
			k := kinds[n%len(kinds)]
			if n >= len(kinds) {
				k = kinds[random.IntN(len(kinds))]
			}
			const shortest, spread = 700 * time.Millisecond, 800 * time.Millisecond
			f := fault{
				kind: k.name, victim: random.IntN(size), length: shortest + time.Duration(random.Int64N(int64(spread))),
				rush: random.IntN(3) == 0, seed: random.Uint64(),
			}
			if !yield(f) {
				return
			}
		}
	}
}

func kindsFor(size int) []faultKind {
	return slices.DeleteFunc(slices.Clone(faultKinds), func(k faultKind) bool { return size < k.minSize })
}

func TestScheduleFollowsTheSeed(t *testing.T) {
	const faults = 100
	take := func(seed uint64, size int) (out []fault) {
		for f := range schedule(seed, size) {
			if out = append(out, f); len(out) == faults {
				break
			}
		}
		return out
	}
	for _, size := range []int{1, 3, 5} {
		first := take(1, size)
		if !slices.Equal(first, take(1, size)) {
			t.Errorf("size %d: the same seed gives two schedules", size)
		}
		if slices.Equal(first, take(2, size)) {
			t.Errorf("size %d: two seeds give one schedule", size)
		}
		for _, k := range kindsFor(size) {
			if !slices.ContainsFunc(first[:len(kindsFor(size))], func(f fault) bool { return f.kind == k.name }) {
				t.Errorf("size %d: no %q in the first round", size, k.name)
			}
		}
	}
}
