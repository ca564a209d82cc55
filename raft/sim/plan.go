package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raftkv/raftkv/replica/bootstrap"
)

// Faults is a set of kinds of faults.
type Faults uint32

// The kinds of faults. Loss to Reordering concern single messages, Partition cuts groups of links.
const (
	Loss Faults = 1 << iota
	Duplication
	Reordering
	Partition
	Crash
	PowerLoss
	Pause
	ClockDrift
	SlowDisk
	DiskError
	Wipe
	MembershipChange
	Transfer
	Compaction
	SnapshotFailure
	GiveUp
	BitRot
	FullDisk
	SessionStorm
	faultsEnd

	// AllFaults are all of them.
	AllFaults = faultsEnd - 1
)

var faultNames = [...]string{
	"loss", "duplication", "reordering", "partition", "crash", "power-loss", "pause", "clock-drift",
	"slow-disk", "disk-error", "wipe", "membership-change", "transfer", "compaction", "snapshot-failure", "give-up",
	"bit-rot", "full-disk", "session-storm",
}

// String lists the kinds, separated by commas.
func (f Faults) String() string {
	var names []string
	for i, name := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseFaults reads what String writes.
func ParseFaults(s string) (Faults, error) {
	var f Faults
next:
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		for i, name := range faultNames {
			if name == word {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("unknown kind of fault %q: the kinds are %s", word, AllFaults)
	}
	return f, nil
}

// plan is what a seed draws once for its world.
type plan struct {
	voters, spares, clients int
	keys, registers         int    // clients choose among the first keys of the registers
	bootIndex               uint64 // of the state that the first members start from

	tick                          time.Duration
	electionTicks, heartbeatTicks int
	maxAppendBytes                int
	maxInflightMessages           int
	maxInflightBytes              int
	maxUncommittedBytes           int
	maxApplyBytes                 int
	maxPendingReads               int

	latencyLow, latencyHigh time.Duration // of a message
	syncLow, syncHigh       time.Duration // of a disk
	applyHigh               time.Duration // of a batch of entries
	batching                time.Duration // inputs of this long share one set of effects; zero: each has its own
	realLog                 bool          // the real write-ahead log stores, on a file system in memory
	realMachine             bool          // the real state machine applies
	ordered                 bool          // messages do not overtake each other, except where they are reordered on purpose
	encode                  bool          // messages pass through their encoding
	drift                   float64       // of clocks, as a fraction
	history                 bool          // clients read old revisions, and give them up
	leases                  bool          // reads need no round while a lease holds
	leaseDrift              int           // what leases allow clocks to differ by, in percent
	stall                   float64       // how often a sync takes very long
	together                float64       // how often the operator asks for several changes at once
	repeat                  float64       // how often a command is proposed several times at once
	think                   time.Duration // of a client between two operations
	chunk                   time.Duration // of a snapshot's stream, the longest
	flush                   time.Duration // between two durable states of the machine
	compact                 time.Duration // between two compactions
	keepEntries             int           // behind a compaction

	// mean times between two faults of a kind
	partition, leaky, crash, powerLoss, pause, jump, wipe, change, transfer, rot, full, storm, attack time.Duration
}

func drawPlan(r *random) plan {
	voters := [...]int{1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7}
	p := plan{
		voters: voters[r.n(len(voters))], spares: r.span(1, 3), clients: r.span(3, 9), keys: r.span(3, 12),
		bootIndex: uint64(bootstrap.FirstPosition.Index) * uint64(r.n(2)),
		tick:      r.between(40*time.Millisecond, 100*time.Millisecond),

		electionTicks: r.span(5, 10), heartbeatTicks: r.span(1, 2),
		maxAppendBytes:      []int{0, 64, 256, 1024}[r.n(4)],
		maxInflightMessages: []int{0, 1, 4, 16}[r.n(4)],
		maxInflightBytes:    []int{0, 256, 4096}[r.n(3)],
		maxUncommittedBytes: []int{0, 512, 4096}[r.n(3)],
		maxApplyBytes:       []int{0, 1, 200, 2000}[r.n(4)],
		maxPendingReads:     []int{0, 2, 8}[r.n(3)],

		syncLow: 100 * time.Microsecond, syncHigh: r.between(time.Millisecond, 100*time.Millisecond),
		applyHigh:   r.between(time.Millisecond, 20*time.Millisecond),
		realLog:     r.chance(0.7),
		realMachine: r.chance(0.4),
		ordered:     r.chance(0.5),
		encode:      r.chance(0.2),
		drift:       float64(r.n(20)) / 100,
		leases:      r.chance(0.3),
		leaseDrift:  []int{2, 10, 30, 50}[r.n(4)],
		stall:       float64(r.n(10)) / 100,
		repeat:      float64(r.n(20)) / 100,
		together:    float64(r.n(3)) / 3,
		chunk:       r.between(10*time.Millisecond, 400*time.Millisecond),
		think:       r.between(5*time.Millisecond, 150*time.Millisecond),
		flush:       r.between(100*time.Millisecond, 3*time.Second),
		compact:     r.between(100*time.Millisecond, 6*time.Second), keepEntries: r.n(20),

		partition: r.between(2*time.Second, 12*time.Second), leaky: r.between(4*time.Second, 20*time.Second),
		crash: r.between(2*time.Second, 15*time.Second), powerLoss: r.between(3*time.Second, 30*time.Second),
		pause: r.between(2*time.Second, 15*time.Second), jump: r.between(4*time.Second, 20*time.Second),
		wipe: r.between(8*time.Second, 40*time.Second), change: r.between(300*time.Millisecond, 3*time.Second),
		transfer: r.between(2*time.Second, 12*time.Second),
		rot:      r.between(5*time.Second, 30*time.Second), full: r.between(5*time.Second, 40*time.Second),
	}
	p.registers = p.keys
	if p.leases {
		p.attack = r.between(2*time.Second, 6*time.Second)
		if r.chance(0.6) {
			// An attack on a lease needs a leader that stays one until then.
			for _, mean := range []*time.Duration{&p.partition, &p.crash, &p.powerLoss, &p.pause, &p.change, &p.transfer, &p.full} {
				*mean *= 5
			}
		}
	}
	if p.realMachine {
		p.bootIndex = uint64(bootstrap.FirstPosition.Index)
		p.history = r.chance(0.6)
		if r.chance(0.08) {
			// Some thousand entries at once have to get through.
			p.storm = r.between(5*time.Second, 30*time.Second)
			p.maxAppendBytes, p.maxInflightMessages, p.maxInflightBytes, p.maxUncommittedBytes, p.maxApplyBytes = 0, 0, 0, 0, 0
		}
	}
	if p.maxAppendBytes == 64 || p.maxInflightMessages == 1 {
		p.repeat = 0 // one entry at a time would never catch up
	}
	if p.maxAppendBytes == 64 && p.maxInflightMessages == 1 {
		// One entry for each round trip and sync is less than the clients ask for: what waits in the log, their retries among it, grows
		// with the time that faults last, and so does the time that a new voter needs for it, in which nothing is committed.
		p.maxInflightMessages = 4
	}
	p.latencyLow = r.between(200*time.Microsecond, 2*time.Millisecond)
	p.latencyHigh = p.latencyLow + r.between(0, 20*time.Millisecond)
	if r.chance(0.5) {
		p.batching = 2 * time.Millisecond
	}
	return p
}
