package client

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// laneBatches is how many batches of one lane are under way; what comes meanwhile waits and goes together.
	laneBatches = 4
	// laneQueue bounds the calls that wait in one lane. Callers past it wait for room.
	laneQueue = 64 << 10
)

// States of a call in a lane.
const (
	callWaits = iota
	callSent
	callGivenUp
)

// call is one operation on its way to a node.
type call struct {
	body []byte
	// ops is how many operations and compares the body holds.
	ops int
	// session and sequence are those of a write.
	session  *session
	sequence uint64
	// tolerance is that of its caller, and until is when that gives up; zero if that is not known.
	tolerance tolerance
	until     time.Time

	state atomic.Uint32
	// done has room for one word: result, or failure, is there.
	done    chan struct{}
	result  wire.Result
	failure *attemptError
}

// lane gathers calls of one purpose on one connection into batches: as long as laneBatches are under way, what comes waits.
type lane struct {
	client  *Client
	conn    *conn
	purpose purpose

	mu      sync.Mutex
	waiting []*call
	// running are the batches under way, or about to be.
	running int
}

func (l *lane) init(c *Client, cn *conn, p purpose) { l.client, l.conn, l.purpose = c, cn, p }

// fate is what is known of a call that a lane was given.
type fate int

const (
	answered fate = iota // result or failure tells
	neverSent
	lost // it was sent, and its answer is not waited for
)

// do has the call carried out once, on this connection. Unless it was answered, the lane may still hold the call: it must not be used again.
func (l *lane) do(ctx context.Context, x *call) fate {
	x.state.Store(callWaits)
	x.result, x.failure = wire.Result{}, nil
	x.until, _ = ctx.Deadline()
	l.mu.Lock()
	if len(l.waiting) >= laneQueue {
		l.mu.Unlock()
		x.failure = &attemptError{surelyNot: true, err: ErrBusy}
		return answered
	}
	if l.running == 0 && len(l.waiting) == 0 {
		// Nobody is there to share a message with, and no switch to another goroutine is paid.
		l.running++
		l.mu.Unlock()
		x.state.Store(callSent)
		one := [1]*call{x}
		l.send(ctx, one[:])
		<-x.done
		l.next()
		return answered
	}
	l.waiting = append(l.waiting, x)
	if l.running < laneBatches {
		l.running++
		go l.run()
	}
	l.mu.Unlock()
	select {
	case <-x.done:
		return answered
	case <-ctx.Done():
	}
	if x.state.CompareAndSwap(callWaits, callGivenUp) {
		return neverSent
	}
	return lost
}

// next hands a place among the running on, or gives it back.
func (l *lane) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		go l.run()
		return
	}
	l.running--
}

// run sends batches until nothing waits.
func (l *lane) run() {
	var batch []*call
	for {
		// Those who were just answered, or are about to call, go along.
		runtime.Gosched()
		batch = l.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		l.send(l.client.ctx, batch)
		clear(batch)
	}
}

// take takes a batch of what waits: calls of one session and tolerance, so that nobody waits as long as another would, up to the bounds of a batch. When nothing waits, the place among the running is given back.
func (l *lane) take(batch []*call) []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, ops, taken := 0, 0, 0
	for _, x := range l.waiting {
		if len(batch) == x.tolerance.most() || len(batch) > 0 && (size+len(x.body) > wire.MaxBatchBytes || ops+x.ops > wire.MaxOps || !x.matches(batch[0])) {
			break
		}
		taken++
		if x.state.CompareAndSwap(callWaits, callSent) {
			batch = append(batch, x)
			size, ops = size+len(x.body), ops+x.ops
		}
	}
	rest := copy(l.waiting, l.waiting[taken:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	if len(batch) == 0 {
		l.running--
	}
	return batch
}

// matches tells whether two calls may share a message.
func (x *call) matches(other *call) bool {
	return x.session == other.session && x.tolerance == other.tolerance
}

// bound gives a batch the time of an attempt, but, where that may be long, no more than its last caller has.
func (l *lane) bound(ctx context.Context, batch []*call) (context.Context, context.CancelFunc) {
	limit := batch[0].tolerance.of(l.client.config.AttemptTimeout)
	size, last := 0, batch[0].until
	for _, x := range batch {
		size += len(x.body)
		if x.until.IsZero() || !last.IsZero() && x.until.After(last) {
			last = x.until
		}
	}
	if batch[0].tolerance != (tolerance{}) && !last.IsZero() {
		limit = min(limit, time.Until(last))
	}
	if size < largeRequest {
		return context.WithTimeout(ctx, limit)
	}
	if last.IsZero() {
		last = time.Now().Add(max(limit, l.client.config.CallTimeout))
	}
	return follow(ctx, limit, last)
}

// send carries a batch to the node and answers its calls.
func (l *lane) send(ctx context.Context, batch []*call) {
	limited, cancel := l.bound(ctx, batch)
	defer cancel()
	before := l.conn.flow()
	items := make([]wire.Item, len(batch))
	for i, x := range batch {
		items[i] = wire.Item{Sequence: x.sequence, Body: x.body}
	}
	var answer *wire.Answer
	var err error
	if l.purpose == writes {
		request := &wire.WriteBatch{Items: items}
		if s := batch[0].session; s != nil {
			request.Session, request.Low = s.id, s.lowest()
		}
		answer, err = l.conn.service.Write(limited, request)
	} else {
		answer, err = l.conn.service.Read(limited, &wire.ReadBatch{Serializable: l.purpose == staleReads, Items: items})
	}
	if err == nil && len(answer.Results) != len(batch) {
		err = rpc.Errorf(rpc.CodeInternal, "%d results for a batch of %d", len(answer.Results), len(batch))
	}
	if err != nil {
		failure := attemptFailed(err)
		if cutOff(ctx, err) && l.conn.flowedSince(before) {
			failure.cutOff = len(batch)
		}
		if ctx.Err() == nil && final(err) == nil {
			l.client.failed(l.conn.node)
		}
		for _, x := range batch {
			x.failure = failure
			x.done <- struct{}{}
		}
		return
	}
	l.client.heard(l.conn.node, answer.Member, answer.Leader)
	for i, x := range batch {
		x.result = answer.Results[i]
		x.done <- struct{}{}
	}
}
