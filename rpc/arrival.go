package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// maxMarks bounds the pings under way that are remembered; what further ones would tell is told by a later one.
const maxMarks = 64

// arrivals tells how much of what was queued on a connection the other side has read: what stood before a ping that it has answered. Neither a
// write that has returned nor an empty queue does, as the kernel, or a tunnel, takes megabytes long before they are anywhere.
type arrivals struct {
	bytes atomic.Uint64 // of those that were ever queued

	mu    sync.Mutex
	marks []mark // in the order of sending
}

// mark is a ping under way.
type mark struct {
	at  time.Duration // what it says
	end uint64        // bytes that were queued up to it and with it
}

// pinged notes a ping.
func (a *arrivals) pinged(at time.Duration, end uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.marks) < maxMarks {
		a.marks = append(a.marks, mark{at, end})
	}
}

// answered notes the answer to a ping, which is one to all before it too.
func (a *arrivals) answered(at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for n < len(a.marks) && a.marks[n].at <= at {
		n++
	}
	if n > 0 {
		a.bytes.Store(a.marks[n-1].end)
		a.marks = append(a.marks[:0], a.marks[n:]...)
	}
}

// Follower is a context that looks after the way of the request of a call that is made under it.
type Follower interface {
	context.Context
	// Queued tells that a request stands in the queue of a connection. It has arrived once the connection's Arrived is not below end. It
	// may be called again, for what a service's first call on a connection needs beforehand. It must not block.
	Queued(c *Client, end uint64)
}

// Arrived is how many of the bytes that were queued on the connection are known to have been read by the server, or not to be under way any more.
// It is known by the answers to pings, and so lags behind by a PingInterval and a round trip.
func (c *Client) Arrived() uint64 { return c.arrivals.bytes.Load() }
