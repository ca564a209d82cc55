// Package leaderless tells whoever goes on for as long as a client likes that its node has known no leader for too long. Such a node may be cut off from
// the others: it hears of nothing that is written, and its silence is no sign that nothing is. All front ends share the rule, which is etcd's.
package leaderless

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Patience is for how many election timeouts a leader may be unknown before who requires one is turned away.
const Patience = 3

// What ends who has entered.
var (
	// ErrLost: no leader is known. Another node may know one.
	ErrLost = errors.New("this node has known no leader for a while and may be cut off from the others")
	// ErrStopped: Close was called.
	ErrStopped = errors.New("this node is stopping")
)

// Watch ends what requires a leader when none is known for a while, and everything at Close. It looks once each election timeout, for all together.
type Watch struct {
	known  func() bool
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	missed  int // looks in a row that found no leader
	closed  bool
	next    uint64
	entered map[uint64]entered
}

type entered struct {
	end      context.CancelCauseFunc
	requires bool
}

// New looks every period, which is an election timeout, whether a leader is known; never if it is zero.
func New(known func() bool, period time.Duration) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{known: known, cancel: cancel, done: make(chan struct{}), entered: map[uint64]entered{}}
	if period <= 0 {
		close(w.done)
		return w
	}
	go func() {
		defer close(w.done)
		w.run(ctx, period)
	}()
	return w
}

func (w *Watch) run(ctx context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.note(w.known())
		}
	}
}

// note takes one look into account.
func (w *Watch) note(known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known {
		w.missed = 0
		return
	}
	if w.missed++; w.missed < Patience {
		return
	}
	w.missed = Patience
	for _, e := range w.entered {
		if e.requires {
			e.end(ErrLost)
		}
	}
}

// Lost tells whether who requires a leader is to be turned away. A leader that has just become known counts at once.
func (w *Watch) Lost() bool {
	w.mu.Lock()
	missed := w.missed
	w.mu.Unlock()
	if missed < Patience {
		return false
	}
	known := w.known()
	w.note(known)
	return !known
}

// Enter notes who goes on until leave is called; end is told ErrLost, if it requires a leader, or ErrStopped. ok is false after Close.
func (w *Watch) Enter(end context.CancelCauseFunc, requires bool) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, false
	}
	id := w.next
	w.next++
	w.entered[id] = entered{end, requires}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.entered, id)
	}, true
}

// Close ends all who have entered. It may be called twice.
func (w *Watch) Close() {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, e := range w.entered {
		e.end(ErrStopped)
	}
}
