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

	mu       sync.Mutex
	inner    context.Context
	end      context.CancelFunc
	canceled bool
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
	if _, ok := key.(infoKey); ok {
		return c.info
	}
	return c.real().Value(key)
}
