package sockets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/sim"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc/rpctest"
	"github.com/raftkv/raftkv/test/loopback"
)

// patience bounds what must happen in the end.
const patience = 2 * time.Minute

// cluster is a scenario.Cluster of real members.
type cluster struct {
	t               *testing.T
	began           time.Time
	machines        []*machine
	network         *network
	initial         []replica.Member
	snapshotEntries uint64
	running         sync.WaitGroup
	history         history
	clients         clients
	nemesis         nemesis
	ctx             context.Context
	cancel          context.CancelFunc

	mu         sync.Mutex
	broken     error
	coverage   sim.Coverage
	meter      sim.Meter
	committed  raft.Index
	membership raft.Membership
	configured raft.Index
}

// open starts the first members.
func open(t *testing.T, s sim.Setup) (*cluster, error) {
	size := s.Voters + s.Spares
	c := &cluster{
		t: t, began: time.Now(), network: newNetwork(s.Seed, size), snapshotEntries: replica.DefaultSnapshotEntries,
		meter: sim.Meter{Messages: map[raft.MessageType]uint64{}},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.clients.cluster, c.nemesis.cluster = c, c
	c.nemesis.random = rand.New(rand.NewPCG(s.Seed, 2))
	dir := t.TempDir()
	for n := 1; n <= size; n++ {
		m := &machine{cluster: c, number: n, dir: filepath.Join(dir, fmt.Sprint(n)), address: loopback.MustAddress(t), voter: n <= s.Voters, log: &logTail{}}
		c.machines = append(c.machines, m)
		c.network.numbers[m.address] = n
		if m.voter {
			c.initial = append(c.initial, replica.Member{Name: fmt.Sprintf("m%d", n), PeerAddress: m.address})
		}
	}
	t.Cleanup(c.close)
	for _, m := range c.machines[:s.Voters] {
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	for _, m := range c.machines[:s.Voters] {
		r, _ := m.running()
		select {
		case <-r.Running():
		case <-r.Done():
			return nil, fmt.Errorf("machine %d: %w", m.number, r.Err())
		case <-time.After(patience):
			return nil, errors.New("the cluster does not form")
		}
	}
	return c, nil
}

func (c *cluster) close() {
	c.cancel()
	c.Heal()
	for _, m := range c.machines {
		if err := m.stop(); err != nil {
			c.t.Errorf("machine %d: %v", m.number, err)
		}
	}
	c.running.Wait()
	if c.t.Failed() {
		for _, m := range c.machines {
			c.t.Logf("--- machine %d, %s", m.number, m.address)
			m.log.writeTo(c.t.Output())
		}
	}
}

// fail keeps what must not happen.
func (c *cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

func (c *cluster) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *cluster) covered(f func(*sim.Coverage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.coverage)
}

// count takes what a member receives.
func (c *cluster) count(messages []raft.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		c.meter.Messages[m.Type]++
		c.meter.Entries += uint64(len(m.Entries))
		if b, err := m.AppendBinary(nil); err == nil {
			c.meter.Bytes += uint64(len(b))
		}
		if m.Type == raft.MsgAppendResponse && m.Reject {
			c.meter.Rejected++
		}
	}
}

func (c *cluster) machine(n int) *machine { return c.machines[n-1] }

// Now is the time since the start.
func (c *cluster) Now() time.Duration { return time.Since(c.began) }

// Run lets time pass, in which faults strike that are allowed.
func (c *cluster) Run(d time.Duration) error {
	until := time.NewTimer(d)
	defer until.Stop()
	turn := time.NewTicker(10 * time.Millisecond)
	defer turn.Stop()
	for {
		select {
		case <-until.C:
			return c.failure()
		case <-turn.C:
			if err := c.nemesis.turn(c.Now()); err != nil {
				return err
			}
		}
	}
}

// Patience is generous: it is only used up by what does not happen. A snapshot to a machine that is cut off keeps the log for as long as
// it may be resumed.
func (c *cluster) Patience(limit time.Duration) time.Duration {
	return transport.SnapshotResumeTotal + 10*time.Second + 4*limit
}

// Note and TraceStatus write into the test's log.
func (c *cluster) Note(text string) { c.t.Logf("%8.3fs %s", c.Now().Seconds(), text) }

func (c *cluster) TraceStatus() {
	for _, m := range c.machines {
		c.t.Logf("machine %d: %+v", m.number, m.look())
	}
}

func (c *cluster) Size() int { return len(c.machines) }

func (c *cluster) Machine(n int) sim.Machine {
	m := c.machine(n).look()
	c.network.mu.Lock()
	m.Paused = c.network.paused[n].After(time.Now())
	c.network.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = max(c.committed, m.Status.Commit)
	if s := m.Status; s.ConfigCommitted && s.ConfigIndex > c.configured {
		c.configured, c.membership = s.ConfigIndex, s.Membership
	}
	return m
}

func (c *cluster) MachineOf(id raft.NodeID) int {
	for _, m := range c.machines {
		if c.Machine(m.number).Member == id {
			return m.number
		}
	}
	return 0
}

func (c *cluster) lookAtAll() {
	for _, m := range c.machines {
		c.Machine(m.number)
	}
}

func (c *cluster) Committed() raft.Index {
	c.lookAtAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.committed
}

func (c *cluster) Membership() raft.Membership {
	c.lookAtAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.membership.Clone()
}

func (c *cluster) Register(machine, register int) (uint64, error) {
	_, s := c.machine(machine).running()
	if s == nil {
		return 0, nil
	}
	value, _, err := read(c.ctx, s, orderedKey(register))
	return value, err
}

func (c *cluster) StateHash(machine int) (uint64, error) {
	_, s := c.machine(machine).running()
	if s == nil {
		return 0, nil
	}
	h, err := s.Hash(c.ctx)
	return h.Hash, err
}

func (c *cluster) Coverage() sim.Coverage {
	c.lookAtAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.coverage
	out.EntriesCommitted = uint64(c.committed)
	return out
}

func (c *cluster) Sent() *sim.Meter {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.meter
	out.Messages = map[raft.MessageType]uint64{}
	for k, n := range c.meter.Messages {
		out.Messages[k] = n
	}
	return &out
}

func (c *cluster) Block(from, to int) {
	c.network.change(func() { c.network.blocked[[2]int{from, to}] = true })
}

func (c *cluster) Unblock(from, to int) {
	c.network.change(func() { delete(c.network.blocked, [2]int{from, to}) })
}

func (c *cluster) Blocked(from, to int) bool { return c.network.isBlocked(from, to) }

func (c *cluster) Heal() {
	c.network.change(func() {
		clear(c.network.blocked)
		clear(c.network.struck)
	})
	c.network.leak(func(f *rpctest.Faults) { *f = rpctest.Faults{} })
}

// cutsPerLoss is by how much less likely a chunk of bytes takes its connection with it than a message is lost in the simulation.
const cutsPerLoss = 25

func (c *cluster) Loss(p float64) {
	c.network.leak(func(f *rpctest.Faults) { f.CutChance = p / cutsPerLoss })
}

func (c *cluster) Duplicate(float64) {}

func (c *cluster) Reorder(p float64) {
	c.network.leak(func(f *rpctest.Faults) { f.DelayMax = max(f.DelayMin, time.Duration(p*float64(100*time.Millisecond))) })
}

func (c *cluster) Latency(low, high time.Duration) {
	c.network.leak(func(f *rpctest.Faults) { f.DelayMin, f.DelayMax = low, high })
}

func (c *cluster) Crash(n int) error     { return c.machine(n).stop() }
func (c *cluster) LosePower(n int) error { return c.Crash(n) }
func (c *cluster) Wipe(n int) error      { return c.machine(n).wipe() }

func (c *cluster) Restart(n int) error {
	c.covered(func(c *sim.Coverage) { c.Boots++ })
	return c.machine(n).start()
}

func (c *cluster) Pause(n int, d time.Duration) error {
	c.network.change(func() { c.network.paused[n] = time.Now().Add(d) })
	// However short the looks are that a story takes meanwhile: Run may return before its first turn.
	ends := time.AfterFunc(d, func() { c.network.change(func() {}) })
	c.t.Cleanup(func() { ends.Stop() })
	return nil
}

// Compact starts the machines that run again, with a short log.
func (c *cluster) Compact(keep int) {
	c.snapshotEntries = uint64(2 * keep)
	for _, m := range c.machines {
		if r, _ := m.running(); r == nil {
			continue
		}
		if err := errors.Join(m.stop(), m.start()); err != nil {
			c.fail(err)
		}
	}
}

func (c *cluster) Allow(f sim.Faults)  { c.nemesis.allowed |= f }
func (c *cluster) Forbid(f sim.Faults) { c.nemesis.forbid(f) }

// member is the running replica of a machine.
func (c *cluster) member(n int) (*replica.Replica, error) {
	r, _ := c.machine(n).running()
	if r == nil || r.Node() == nil {
		return nil, fmt.Errorf("machine %d does not run as a member", n)
	}
	return r, nil
}

func (c *cluster) Transfer(n, to int) error {
	r, err := c.member(n)
	if err != nil {
		return err
	}
	id := c.Machine(to).Member
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
		defer cancel()
		if _, err := r.Transfer(ctx, id); err != nil {
			c.t.Logf("transfer to machine %d: %v", to, err)
		}
	})
	return nil
}

func (c *cluster) Change(n int, kind raft.ChangeKind, id raft.NodeID, empty int) error {
	r, err := c.member(n)
	if err != nil {
		return err
	}
	change := raft.Change{Kind: kind, ID: id}
	if kind == raft.ChangeAddLearner {
		m := c.machine(empty)
		newcomer, _ := m.running()
		if newcomer == nil {
			return fmt.Errorf("machine %d does not run", empty)
		}
		change.Member = raft.Member{Incarnation: newcomer.Status().Identity.Incarnation, Name: fmt.Sprintf("m%d", empty), PeerAddress: m.address}
	}
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()
	_, _, err = r.Change(ctx, r.Status().ConfigIndex, change)
	c.t.Logf("%8.3fs %s %s of machine %d: %v", c.Now().Seconds(), kind, id, empty, err)
	return err
}

// Submit proposes a write to the core of one machine, once, outside of any session.
func (c *cluster) Submit(n, register int, value uint64) error {
	r, err := c.member(n)
	if err != nil {
		return err
	}
	key := orderedKey(register)
	data, err := kv.AppendProposal(nil, session.Header{}, kv.Put([]byte(key), encodeValue(value)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()
	op := c.history.begin(opWrite, key, value, 0)
	if err := r.Node().AppendForwarded(ctx, [][]byte{data}); err != nil {
		c.history.drop(op)
		return err
	}
	return nil
}
