package sim

import (
	"fmt"
	"io"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
)

// Setup is what a directed cluster begins as.
type Setup struct {
	Seed uint64
	// Voters are the machines that hold the first members, Spares have an empty disk.
	Voters, Spares int
	// OneByOne lets each append message carry a single entry.
	OneByOne bool
	// Leases lets members read without a round while a lease holds.
	Leases bool
	// Trace takes a readable account of all that happens, if it is not nil.
	Trace io.Writer
}

// Cluster is a world in which nothing goes wrong by itself: whoever holds it says what happens, and when. It is the same
// world as in a campaign, with the real log, the real state machine and all invariants. Machines are numbered
// from 1; a machine keeps its number when its disk is lost, the member on it does not keep its ID.
//
// Every method that lets something happen returns a *Violation once a promise is broken.
type Cluster struct {
	w           *world
	broken      *Violation
	asking      []*client
	submissions []*submission
}

const (
	// DirectedTick is the core's unit of time in a directed cluster: a heartbeat; ten of them are the least election timeout.
	DirectedTick          = 50 * time.Millisecond
	directedElectionTicks = 10

	// Registers is how many registers a directed cluster has for orders; the random clients have others.
	Registers      = 26
	randomKeys     = 6
	firstFreshWord = 1 << 32 // values of random clients begin here, those of orders are below
)

// Direct makes a cluster that does as it is told.
func Direct(s Setup) (*Cluster, error) {
	w := &world{
		opts: Options{Seed: s.Seed, Without: AllFaults, Trace: s.Trace},
		hash: newHash(), root: random{s.Seed}, members: map[raft.NodeID]*member{},
	}
	w.plan = directedPlan(s)
	w.history.values = firstFreshWord
	c := &Cluster{w: w}
	err := c.do(func() {
		w.build()
		w.net.meter = newMeter()
		w.operator.start(w)
		w.startNemesis()
	})
	return c, err
}

func directedPlan(s Setup) plan {
	maxAppendBytes := 0
	if s.OneByOne {
		maxAppendBytes = 1
	}
	return plan{
		maxAppendBytes: maxAppendBytes,
		voters:         s.Voters, spares: s.Spares, keys: randomKeys, registers: randomKeys + Registers,
		bootIndex: uint64(bootstrap.FirstPosition.Index),
		tick:      DirectedTick, electionTicks: directedElectionTicks, heartbeatTicks: 1,
		latencyLow: 500 * time.Microsecond, latencyHigh: 3 * time.Millisecond,
		syncLow: 200 * time.Microsecond, syncHigh: 2 * time.Millisecond, applyHigh: time.Millisecond,
		leases: s.Leases, leaseDrift: raft.DefaultClockDriftPercent,
		realLog: true, realMachine: true, ordered: true, encode: true,
		drift: 0.1, stall: 0.05, think: 20 * time.Millisecond, chunk: 20 * time.Millisecond,
		flush: 200 * time.Millisecond, compact: 400 * time.Millisecond, keepEntries: 5,
		partition: 3 * time.Second, leaky: 5 * time.Second, crash: 3 * time.Second, powerLoss: 6 * time.Second,
		pause: 5 * time.Second, jump: 8 * time.Second, wipe: 15 * time.Second, change: 500 * time.Millisecond,
		transfer: 5 * time.Second, rot: 15 * time.Second, full: 10 * time.Second, storm: 20 * time.Second,
	}
}

// do runs f, which may break a promise.
func (c *Cluster) do(f func()) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer func() {
		if v := c.w.violation(recover()); v != nil {
			c.broken, err = v, v
		}
	}()
	c.w.happen(f)
	return nil
}

// Now is the virtual time since the start.
func (c *Cluster) Now() time.Duration { return c.w.now }

// Hash is the same for two runs that went the same way.
func (c *Cluster) Hash() uint64 { return uint64(c.w.hash) }

// Run lets time pass.
func (c *Cluster) Run(d time.Duration) error {
	return c.do(func() {
		until := c.w.now + d
		for c.w.queue.hasBy(until) {
			c.w.next()
		}
		c.w.now = until
	})
}

// Note writes a line into the trace.
func (c *Cluster) Note(text string) { c.w.trace(nil, "%s", text) }

// Allow lets these kinds of faults strike by chance, Forbid ends them. MembershipChange sets a random operator to work.
func (c *Cluster) Allow(f Faults) { c.w.opts.Without &^= f }

// Forbid ends these kinds of faults.
func (c *Cluster) Forbid(f Faults) { c.w.opts.Without |= f }

// Compact lets the machines compact their logs all the time, but for at most keep entries behind what is applied.
func (c *Cluster) Compact(keep int) {
	c.w.plan.keepEntries = keep
	c.Allow(Compaction)
}

// Size is the number of machines.
func (c *Cluster) Size() int { return len(c.w.hosts) }

func (c *Cluster) host(machine int) *host { return c.w.hosts[machine-1] }

// Block drops what one machine sends to another, until Heal; Unblock takes one such block back.
func (c *Cluster) Block(from, to int) { c.w.net.cut(from-1, to-1, 1) }

// Unblock ends a block.
func (c *Cluster) Unblock(from, to int) {
	if c.w.net.isCut(from-1, to-1) {
		c.w.net.cut(from-1, to-1, -1)
	}
}

// Blocked tells whether messages from one machine to another are dropped.
func (c *Cluster) Blocked(from, to int) bool { return c.w.net.isCut(from-1, to-1) }

// Heal ends all blocks, loss, duplication and reordering.
func (c *Cluster) Heal() { c.w.net.heal() }

// Loss, Duplicate and Reorder set how likely it is that a message is lost, comes twice, or comes late.
func (c *Cluster) Loss(p float64) { c.w.net.loss = p }

// Duplicate sets how likely it is that a message comes twice.
func (c *Cluster) Duplicate(p float64) { c.w.net.duplication = p }

// Reorder sets how likely it is that a message comes up to 300 ms late.
func (c *Cluster) Reorder(p float64) { c.w.net.reordering = p }

// Latency sets how long messages take.
func (c *Cluster) Latency(low, high time.Duration) {
	c.w.plan.latencyLow, c.w.plan.latencyHigh = low, high
}

// Crash ends the program of a machine. Its disk keeps all that the program wrote, and its peers see that the connections break.
func (c *Cluster) Crash(machine int) error {
	return c.do(func() {
		h := c.host(machine)
		h.down = true
		h.kill()
	})
}

// LosePower ends the program and drops or tears what it had not synced. Its peers hear nothing of it.
func (c *Cluster) LosePower(machine int) error {
	return c.do(func() {
		h := c.host(machine)
		h.down = true
		h.losePower(c.w, h.random)
	})
}

// Restart starts the program of a machine, if it does not run.
func (c *Cluster) Restart(machine int) error {
	return c.do(func() { c.host(machine).boot(c.w) })
}

// Pause stops the program of a machine for a while; what comes meanwhile waits.
func (c *Cluster) Pause(machine int, d time.Duration) error {
	return c.do(func() {
		if p := c.host(machine).proc; p != nil {
			p.pausedUntil = max(p.pausedUntil, c.w.now+d)
			c.w.trace(p, "paused until %s", p.pausedUntil)
		}
	})
}

// Wipe ends the program of a machine and loses its disk for good. Once the machine is restarted, its directory waits to be added.
func (c *Cluster) Wipe(machine int) error {
	return c.do(func() {
		h := c.host(machine)
		c.w.trace(h.proc, "its disk is lost")
		h.down = true
		h.kill()
		if m := h.member; m != nil {
			m.lost, m.host = true, nil
		}
		c.w.freshDirectory(h)
	})
}

// Transfer asks a machine, which should lead, to hand over to the member of another.
func (c *Cluster) Transfer(machine, to int) error {
	p, m := c.host(machine).proc, c.host(to).member
	if p == nil || m == nil {
		return fmt.Errorf("machine %d does not run, or machine %d holds no member", machine, to)
	}
	return c.ask(func() error {
		err := p.core.Transfer(m.id)
		p.stepped()
		return err
	})
}

// Change asks a machine, which should lead, to change the membership on the configuration that it has: to add the
// empty directory of a machine, or to promote or remove the member id.
func (c *Cluster) Change(machine int, kind raft.ChangeKind, id raft.NodeID, empty int) error {
	p := c.host(machine).proc
	if p == nil {
		return fmt.Errorf("machine %d does not run", machine)
	}
	change := raft.Change{Kind: kind, ID: id}
	if kind == raft.ChangeAddLearner {
		h := c.host(empty)
		change.Member = raft.Member{Incarnation: h.incarnation, Name: fmt.Sprintf("host-%d", h.slot)}
	}
	return c.ask(func() error {
		ids, index, err := p.core.ProposeChanges(p.core.ConfigIndex(), []raft.Change{change})
		c.w.trace(p, "%s %s: entry %d, %v", kind, ids, index, err)
		if err == nil {
			c.w.coverage.Changes++
		}
		p.stepped()
		return err
	})
}

// ask runs f, which asks something of a core that may refuse it.
func (c *Cluster) ask(f func() error) error {
	var refused error
	if err := c.do(func() { refused = f() }); err != nil {
		return err
	}
	return refused
}
