package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

const (
	// slowestLine is, in bytes a second, the slowest line that a request is given time to get over.
	slowestLine = 32 << 10
	// largeRequest is how many bytes make a request whose way is looked after. Even the slowest line takes a smaller one in half a second.
	largeRequest = slowestLine / 2
	// longestSilence is for how long a node that is well says nothing at most: it pings, and one ping may be late.
	longestSilence = 2 * rpc.DefaultPingInterval
	// looks is how often in the time of an attempt it is looked where its request is.
	looks = 8
)

// passage is the context of an attempt whose request may be long under way. The time of the attempt begins with its arrival: an attempt that were cut
// off before it would be followed by one whose request stands behind its own, and so on until no time is left. Until then the node has to
// show that it lives, and the line that it is not slower than the slowest.
type passage struct {
	context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration // the time of an attempt
	last   time.Time     // when whoever waits for it gives up
	late   atomic.Bool

	mu    sync.Mutex
	timer *time.Timer
	over  bool
	// until is when the attempt ends.
	until time.Time
	// line is the connection that the request goes over, and end how much was queued on it up to the request's end; nil while it waits for a
	// connection, or for room in its queue.
	line    *rpc.Client
	end     uint64
	arrived bool
	// heard is how much had come over the line when something last did.
	heard   uint64
	heardAt time.Time
}

// follow gives the context of an attempt with a large request. It ends at last at the latest.
func follow(ctx context.Context, limit time.Duration, last time.Time) (context.Context, context.CancelFunc) {
	now := time.Now()
	p := &passage{limit: limit, last: last, heardAt: now}
	p.Context, p.cancel = context.WithCancelCause(ctx)
	p.until = p.within(now, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(min(limit/looks, p.until.Sub(now)), p.look)
	return p, p.stop
}

// within is when an attempt ends that has so many bytes to go.
func (p *passage) within(now time.Time, bytes uint64) time.Time {
	end := now.Add(p.limit + time.Duration(bytes)*time.Second/slowestLine)
	if p.last.Before(end) {
		return p.last
	}
	return end
}

// Queued is told where the request is.
func (p *passage) Queued(line *rpc.Client, end uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.line, p.end, p.heard, p.heardAt = line, end, line.Received(), now
	p.until = p.within(now, end-min(line.Arrived(), end))
}

// look ends the attempt if its time is over, and looks again a little later if not.
func (p *passage) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	now := time.Now()
	p.note(now)
	if !now.Before(p.until) {
		p.over = true
		p.late.Store(true)
		p.cancel(context.DeadlineExceeded)
		return
	}
	p.timer.Reset(min(p.limit/looks, p.until.Sub(now)))
}

// note brings until up to date with what the line tells.
func (p *passage) note(now time.Time) {
	if p.line == nil || p.arrived {
		return
	}
	if heard := p.line.Received(); heard != p.heard {
		p.heard, p.heardAt = heard, now
	}
	end := p.until
	switch {
	case p.line.Arrived() >= p.end:
		p.arrived = true
		end = now.Add(p.limit)
	case now.Sub(p.heardAt) > longestSilence:
		end = p.heardAt.Add(max(p.limit, longestSilence))
	}
	if end.Before(p.until) {
		p.until = end
	}
}

func (p *passage) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
	p.cancel(nil)
}

// Deadline is when the attempt ends if nothing else ends it. It is asked for before the request is queued, so that a node is told the time of an
// attempt, which it counts from the arrival on.
func (p *passage) Deadline() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end, ok := p.Context.Deadline(); ok && end.Before(p.until) {
		return end, true
	}
	return p.until, true
}

// Err tells time that is over from a call that is given up.
func (p *passage) Err() error {
	if p.late.Load() {
		return context.DeadlineExceeded
	}
	return p.Context.Err()
}
