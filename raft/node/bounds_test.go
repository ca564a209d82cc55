package node

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// Proposals of other members are not bounded by what waits here: the log must not grow while nothing is applied.
func TestALeaderWhoseStateMachineStandsStillRefuses(t *testing.T) {
	const maxBytes = 64 << 10
	c := startCluster(t, 3, func(cfg *Config) { cfg.SnapshotEntries, cfg.LogBounds.Hard = 20, maxBytes })
	l := c.leader()
	open := c.state[l.cfg.ID].close(t)
	data := [][]byte{make([]byte, 1024)}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		err = l.AppendForwarded(soon(t), data)
	}
	if !errors.Is(err, raft.ErrBusy) {
		t.Fatalf("a log without a bound: %v", err)
	}
	open()
	c.waitFor("room in the log", func(*Node) bool { return l.AppendForwarded(soon(t), data) == nil })
}

// Small entries are mostly places, which count as well: for what is full, and for what is cut, whatever SnapshotEntries says.
func TestSmallEntriesFillTheLogToo(t *testing.T) {
	const most = 100
	c := startCluster(t, 1, func(cfg *Config) {
		cfg.SnapshotEntries, cfg.LogBounds = 1<<40, LogBounds{Compact: most * raft.EntryPlaceBytes / 2, Hard: most * raft.EntryPlaceBytes}
	})
	l := c.leader()
	open := c.state[l.cfg.ID].close(t)
	accepted := 0
	var err error
	for ; accepted < 10*most && err == nil; accepted++ {
		err = l.AppendForwarded(soon(t), [][]byte{{1}})
	}
	if !errors.Is(err, raft.ErrBusy) || accepted > most+1 {
		t.Fatalf("%d small entries were taken: %v", accepted, err)
	}
	open()
	c.waitFor("cut", func(n *Node) bool {
		s, err := n.Status(soon(t))
		return err == nil && s.Last.Index-s.LogStart.Index <= most/2
	})
}

// Nothing may be applied any more when the state machine's disk has caught up.
func TestTheLogIsCutWithoutFurtherProposals(t *testing.T) {
	c := startCluster(t, 1, func(cfg *Config) { cfg.SnapshotEntries = 20 })
	n, state := c.leader(), c.state[1]
	state.mu.Lock()
	state.lag = 1
	state.mu.Unlock()
	for i := range 100 {
		if _, err := n.Propose(soon(t), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	state.mu.Lock()
	if state.flushes == 0 {
		t.Error("the state machine was not asked to become durable")
	}
	state.lag = 0
	state.mu.Unlock()
	c.waitFor("cut", func(n *Node) bool {
		s, err := n.Status(soon(t))
		return err == nil && s.LogStart.Index > 80
	})
}

// An answer to the process before must not pass for one to this process.
func TestReadsOfTwoProcessesAreToldApart(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	var mu sync.Mutex
	var asked []uint64
	c.intercept(func(m raft.Message) bool {
		if m.Type == raft.MsgReadIndex && m.From == f.cfg.ID {
			mu.Lock()
			asked = append(asked, m.Context)
			mu.Unlock()
		}
		return false
	}, nil)
	if err := f.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, id := range asked {
		if id <= f.cfg.Nonce || id > f.cfg.Nonce+1000 {
			t.Errorf("read %d is not of the process with nonce %d", id, f.cfg.Nonce)
		}
	}
}

// The applier may be further than the core knows. A cut that was tried then must be tried again when the core knows more.
func TestALogThatTheApplierRanAheadOfIsCut(t *testing.T) {
	m := raft.NewMembership(raft.Member{ID: 1, Incarnation: 1})
	m.Index = 1
	base := raft.SnapshotMeta{Index: 1, Term: 1, Membership: m, ClusterVersion: 1}
	core, err := raft.New(raft.Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, Random: func(int) int { return 0 }},
		raft.Initial{Applied: base, LogStart: raft.Position{Index: 1, Term: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var last raft.Index
	drain := func() {
		for e := core.TakeEffects(); e.Store != nil || len(e.Committed) > 0; e = core.TakeEffects() {
			if e.Store != nil {
				core.Stored(e.Store.Done())
			}
			if n := len(e.Committed); n > 0 {
				last = e.Committed[n-1].Index
			}
		}
	}
	core.Tick()
	drain()
	if _, _, err := core.Propose(make([][]byte, 100)); err != nil {
		t.Fatal(err)
	}
	drain()
	ahead := base
	ahead.Index = last
	n := &Node{core: core, log: slog.New(slog.DiscardHandler), stores: newQueue[storeWork](newWake()),
		cfg: Config{SnapshotEntries: 20, StateMachine: newJournal(ahead), LogBounds: LogBounds{}.complete()}}
	n.applied.Store(uint64(last))
	core.Applied(3)
	n.compact()
	core.Applied(last)
	n.compact()
	if start := core.LogStart().Index; start < last-20 {
		t.Fatalf("all up to %d is applied and durable, the log still starts behind %d", last, start)
	}
}
