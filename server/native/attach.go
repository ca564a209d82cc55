package native

import (
	"context"
	"sync"

	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/rpc"
)

// attachments are what belongs to connections.
type attachments struct {
	mu      sync.Mutex
	all     map[context.Context]*attached
	clearer sync.WaitGroup
}

// attached is what belongs to one connection: its watches, and the snapshot that it reads.
type attached struct {
	mu      sync.Mutex
	ended   bool
	watches watch.Stream
	// store is that which watches come from.
	store Store
	// over is closed when the connection has ended, if it has watches.
	over chan struct{}
	// pulling says that a WatchNext waits.
	pulling bool
	// reached is what was told last of the stream as a whole; it belongs to who pulls.
	reached uint64
	// held is what the stream has told and the answer before had no room for; it belongs to who pulls.
	held     *watch.Response
	snapshot *outgoing
	nextID   uint64
}

// of gives what belongs to the connection that a call came over. It is given up when that ends.
func (a *attachments) of(ctx context.Context) *attached {
	info, _ := rpc.FromContext(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.all[info.Connection]; x != nil {
		return x
	}
	x := new(attached)
	if a.all == nil {
		a.all = map[context.Context]*attached{}
	}
	a.all[info.Connection] = x
	a.clearer.Add(1)
	context.AfterFunc(info.Connection, func() {
		defer a.clearer.Done()
		a.mu.Lock()
		delete(a.all, info.Connection)
		a.mu.Unlock()
		x.end()
	})
	return x
}

// wait returns when all connections have ended and been cleared up after.
func (a *attachments) wait() { a.clearer.Wait() }

func (x *attached) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	if x.watches != nil {
		close(x.over)
		x.watches.Close()
	}
	if x.snapshot != nil {
		x.snapshot.Close()
		x.snapshot = nil
	}
}
