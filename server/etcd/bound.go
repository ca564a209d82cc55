package etcd

import (
	"context"
	"sync"
	"time"
)

// sweepPause is how often the calls under way are looked at: by so much may one outlive its caller, or its time.
const sweepPause = 50 * time.Millisecond

// bounds end calls whose time is over or whose caller has gone. All of them share one timer: a timer and a child of the caller's context for
// each cost a twentieth of what a put costs the node that answers it.
type bounds struct {
	mu    sync.Mutex
	calls boundCall // the head of a ring
	timer *time.Timer
	armed bool
}

// boundCall is the context of one call.
type boundCall struct {
	context.Context // the caller's

	bounds   *bounds
	deadline time.Time
	// done is closed once err is set.
	done chan struct{}
	err  error
	// Guarded by bounds.mu. A call that is over is in no ring.
	next, prev *boundCall
}

func newBounds() *bounds {
	b := &bounds{}
	b.calls.next, b.calls.prev = &b.calls, &b.calls
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer, b.armed = time.AfterFunc(sweepPause, b.sweep), true
	return b
}

// enter gives a call no more time than from now on until limit is over. Whoever calls enter calls the returned function at the end.
func (b *bounds) enter(ctx context.Context, limit time.Duration) (bound context.Context, leave func()) {
	deadline := time.Now().Add(limit)
	if own, ok := ctx.Deadline(); ok && own.Before(deadline) {
		return ctx, func() {}
	}
	c := &boundCall{Context: ctx, bounds: b, deadline: deadline, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.next, c.prev = &b.calls, b.calls.prev
	c.prev.next, c.next.prev = c, c
	if !b.armed {
		b.armed = true
		b.timer.Reset(sweepPause)
	}
	return c, c.leave
}

// leave ends the context, as cancelling any other does.
func (c *boundCall) leave() {
	c.bounds.mu.Lock()
	defer c.bounds.mu.Unlock()
	if c.next != nil {
		c.end(context.Canceled)
	}
}

// end is called once, by who holds bounds.mu.
func (c *boundCall) end(err error) {
	c.next.prev, c.prev.next = c.prev, c.next
	c.next, c.prev = nil, nil
	c.err = err
	close(c.done)
}

// sweep ends what is to be ended, and comes again as long as there are calls.
func (b *bounds) sweep() {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := b.calls.next; c != &b.calls; {
		next := c.next
		if err := c.Context.Err(); err != nil {
			c.end(err)
		} else if !now.Before(c.deadline) {
			c.end(context.DeadlineExceeded)
		}
		c = next
	}
	if b.armed = b.calls.next != &b.calls; b.armed {
		b.timer.Reset(sweepPause)
	}
}

// Deadline is that of context.Context.
func (c *boundCall) Deadline() (time.Time, bool) { return c.deadline, true }

// Done is that of context.Context.
func (c *boundCall) Done() <-chan struct{} { return c.done }

// Err is that of context.Context.
func (c *boundCall) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}
