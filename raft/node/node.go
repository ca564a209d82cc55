package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Node is one running member. Its methods may be called from any goroutine.
type Node struct {
	cfg Config
	log *slog.Logger

	// turning is held for a turn with the core, by the loop or by a goroutine that brings it news (hasten). It guards these.
	turning    sync.Mutex
	tickLength time.Duration
	origin     time.Duration // on the clock: when the core began to count
	ticks      int64         // reported to the core since then
	ended      bool          // no turn follows
	core       *raft.Core
	published  Summary
	view       raft.View       // of the core when the summary was published
	committed  raft.Membership // the latest that is known to be committed
	// membershipMoved says that the membership may be another one although its index is the same.
	membershipMoved bool
	readyTerm       raft.Term
	waiting         []*proposal // not sent, or to be sent again
	batch           []*proposal // scratch of nextBatch
	batchData       [][]byte
	held            bool // nothing is sent before the next tick
	opening         bool // a session is being opened
	openTicks       int
	forwards        int
	eraContext      context.Context // ends when another leader or term is known
	endEra          context.CancelFunc
	readers         readersInLoop
	changes         []*pendingChange
	streams         map[raft.NodeID]*stream
	streaming       chan struct{} // holds a word for each snapshot that is being streamed
	commitMarks     []commitMark  // batches that a leader has appended, and that are not known to be committed
	cutTried        raft.Index    // up to where a cut of the log was tried last

	wake      chan struct{} // of the loop
	proposals proposals
	progress  progress
	inbound   *queue[raft.Message]
	requests  *queue[func()] // run by the loop
	reads     *queue[*reader]
	stores    *queue[storeWork]
	applies   *queue[applyWork]
	applied   atomic.Uint64
	// installing counts the snapshots that the core has taken over and that are not in force yet.
	installing atomic.Int32

	summary atomic.Pointer[Summary]
	changed *broadcast

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	fatal  chan error
	once   sync.Once
}

// Start runs a member. The log and the state machine belong to the node until Stop has returned; the caller
// closes them then.
func Start(cfg Config) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	// Whole microseconds: a lease is counted in ticks, and a tick that lasts longer than the core knows would stretch it.
	tick := (cfg.HeartbeatInterval / ticksPerHeartbeat).Truncate(time.Microsecond)
	cfg.Initial.QuietTicks = int((cfg.Quiet+tick-1)/tick) + 1
	if cfg.Quiet <= 0 {
		cfg.Initial.QuietTicks = 0
	}
	core, err := raft.New(raft.Config{
		ID: cfg.ID, HeartbeatTicks: ticksPerHeartbeat,
		ElectionTicks: int((cfg.ElectionTimeout + tick - 1) / tick),
		Random:        cfg.Random,
		LeaseReads:    cfg.LeaseReads, ClockDriftPercent: cfg.ClockDriftPercent, TickMicros: int(tick.Microseconds()),
	}, cfg.Initial)
	if err != nil {
		return nil, err
	}
	wake := newWake()
	n := &Node{
		cfg: cfg, core: core, tickLength: tick, origin: cfg.Clock.Elapsed(),
		log:     cfg.Logger.With("node", cfg.Name, "member", cfg.ID.String()),
		streams: map[raft.NodeID]*stream{}, streaming: make(chan struct{}, MaxSnapshotStreams),
		wake:     wake,
		inbound:  newQueue[raft.Message](wake),
		requests: newQueue[func()](wake),
		reads:    newQueue[*reader](wake),
		stores:   newQueue[storeWork](newWake()),
		applies:  newQueue[applyWork](newWake()),
		changed:  newBroadcast(),
		fatal:    make(chan error, 1),
	}
	n.applied.Store(uint64(cfg.Initial.Applied.Index))
	n.proposals.init(wake)
	n.readers.init(cfg.Nonce)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.beginEra()
	n.publish(true)
	for _, run := range []func(){n.loop, n.storeLoop, n.applyLoop} {
		n.wait.Add(1)
		go func() {
			defer n.wait.Done()
			run()
		}()
	}
	return n, nil
}

// Fatal delivers the error that made the node stop by itself: its disk or its state machine failed.
func (n *Node) Fatal() <-chan error { return n.fatal }

// fail stops the node for good; a failed disk is never tried again (rule: a failed fsync is fatal).
func (n *Node) fail(err error) {
	n.once.Do(func() {
		n.log.Error("the node stops: going on would put data at risk", "error", err)
		n.fatal <- err
		n.cancel()
	})
}

// Stop takes no more proposals, hands leadership over if this member leads and another can, waits for the answers of what it has
// taken, and stops. It does so until ctx ends, and waits for answers no longer than drainTimeouts.
func (n *Node) Stop(ctx context.Context) {
	n.proposals.stopping.Store(true)
	if ctx.Err() == nil && n.Summary().Role == raft.RoleLeader {
		if _, err := n.Transfer(ctx, 0); err != nil {
			n.log.Info("stopping without a hand-over of leadership", "reason", err)
		}
	}
	n.drain(ctx)
	n.cancel()
	n.wait.Wait()
}

// drainTimeouts is for how many election timeouts Stop waits for answers: a successor that leads commits what this member had
// appended within one, and on a busy machine it may take a few until there is one.
const drainTimeouts = 10

// drain waits until no proposal waits for an answer: what was appended here reaches its end by the new leader, and what was not
// is forwarded to it.
func (n *Node) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeouts*n.cfg.ElectionTimeout)
	defer cancel()
	select {
	case <-n.proposals.drained():
	case <-ctx.Done():
		n.log.Info("stopping before all proposals were answered", "waiting", n.proposals.count.Load())
	case <-n.ctx.Done():
	}
}

// Deliver takes messages from a peer. It never waits; what is past the bounds is dropped, as Raft tolerates.
func (n *Node) Deliver(messages ...raft.Message) {
	for i := range messages {
		m := &messages[i]
		if m.Type == raft.MsgSnapshot {
			n.inbound.add(*m, 0, 0, 0) // one at a time, and dropped it would have been sent in vain
			continue
		}
		size := 0
		for j := range m.Entries {
			size += m.Entries[j].EncodedSize()
		}
		n.inbound.add(*m, size, MaxInboundMessages, MaxInboundBytes)
	}
	n.hasten(false)
}

// Unreachable tells that messages to a peer were lost.
func (n *Node) Unreachable(id raft.NodeID) {
	n.requests.put(func() { n.core.Unreachable(id) }, 0, MaxInboundMessages, 0)
}

// LeaderGone tells that the process of a member has ended, so that its followers need not wait for a timeout. Call it
// only when that is certain: its port refused a connection, or another process answered.
func (n *Node) LeaderGone(id raft.NodeID) {
	n.requests.put(func() { n.core.LeaderGone(id) }, 0, MaxInboundMessages, 0)
}

// do runs f in the loop and returns when it has run. With an error f has not run and never will.
func (n *Node) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	var decided atomic.Bool // whether f runs
	ok := n.requests.put(func() {
		if decided.CompareAndSwap(false, true) {
			f()
			close(done)
		}
	}, 0, MaxInboundMessages, 0)
	if !ok {
		return ErrBusy
	}
	var err error
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-n.ctx.Done():
		err = ErrStopped
	}
	if decided.CompareAndSwap(false, true) {
		return err
	}
	<-done
	return nil
}

// Transfer hands leadership to a voter, zero for the one that is most caught up, and returns who leads then.
func (n *Node) Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error) {
	var err error
	if doErr := n.do(ctx, func() { err = n.core.Transfer(to) }); doErr != nil {
		return 0, doErr
	}
	if err != nil {
		return 0, err
	}
	for {
		news := n.changed.wait()
		// The core is asked, since the summary may be older than the transfer.
		var v raft.View
		if err := n.do(ctx, func() { v = n.core.View() }); err != nil {
			return 0, err
		}
		switch {
		case to == n.cfg.ID && v.Leader == to:
			return to, nil
		case v.Leader != 0 && v.Leader != n.cfg.ID:
			return v.Leader, nil
		case v.Role == raft.RoleLeader && !v.TransferPending:
			return 0, ErrTransferFailed
		}
		select {
		case <-news:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-n.ctx.Done():
			return 0, ErrStopped
		}
	}
}

// broadcast wakes everyone who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
