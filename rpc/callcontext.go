package rpc

import (
	"context"
	"sync"
	"time"
)

// infoContext carries Info without the cost of a context.WithValue chain.
type infoContext struct {
	context.Context
	info *Info
}

func (c *infoContext) Value(key any) any {
	if _, ok := key.(infoKey); ok {
		return c.info
	}
	return c.Context.Value(key)
}

// callContext is a handler's. It ends with its connection, its deadline or its caller's wish. A handler that never asks pays for no
// timer, channel or entry in its parent's table: the context behind it is made when it is first needed.
type callContext struct {
	conn     context.Context
	info     *Info
	deadline time.Time // zero: none

	// answered belongs to the goroutine of the call.
	answered func()

	mu       sync.Mutex
	inner    context.Context
	end      context.CancelFunc
	canceled bool
}

type callKey struct{}

// OnAnswered has f called once the answer to a call stands in the queue of its connection, which bounds what it holds, or that has ended: a handler's answer is in memory
// until then, and its client may take its time. ctx is the handler's, which calls this from its own goroutine, once at most. False: f is never called, since
// nobody waits for the answer.
func OnAnswered(ctx context.Context, f func()) bool {
	c, ok := ctx.Value(callKey{}).(*callContext)
	if ok {
		c.answered = f
	}
	return ok
}

func newCallContext(conn context.Context, info *Info, timeout time.Duration) *callContext {
	c := &callContext{conn: conn, info: info}
	if timeout > 0 {
		c.deadline = time.Now().Add(timeout)
	}
	return c
}

func (c *callContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		if c.deadline.IsZero() {
			c.inner, c.end = context.WithCancel(c.conn)
		} else {
			c.inner, c.end = context.WithDeadline(c.conn, c.deadline)
		}
		if c.canceled {
			c.end()
		}
	}
	return c.inner
}

// cancel ends the context; it may be called twice.
func (c *callContext) cancel() {
	c.mu.Lock()
	c.canceled = true
	end := c.end
	c.mu.Unlock()
	if end != nil {
		end()
	}
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) {
	if c.deadline.IsZero() {
		return c.conn.Deadline()
	}
	return c.deadline, true
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.real().Done() }

// Err implements context.Context.
func (c *callContext) Err() error { return c.real().Err() }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case infoKey:
		return c.info
	case callKey:
		return c
	}
	return c.real().Value(key)
}
