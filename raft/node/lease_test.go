package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// stoppable is a clock that a test can stop and set forward. Its ticks go on unless they are halted.
type stoppable struct {
	haltable
	stopped atomic.Int64 // the time that it shows while it is stopped, zero while it goes
	ahead   atomic.Int64
}

func (c *stoppable) Elapsed() time.Duration {
	if at := c.stopped.Load(); at != 0 {
		return time.Duration(at)
	}
	return c.machineClock.Elapsed() + time.Duration(c.ahead.Load())
}

func (c *stoppable) stop()                   { c.stopped.Store(int64(c.Elapsed())) }
func (c *stoppable) run(ahead time.Duration) { c.ahead.Add(int64(ahead)); c.stopped.Store(0) }

func TestALeaseAnswersReadsWithoutAnyoneAndNotAfterItsTime(t *testing.T) {
	clock := &stoppable{}
	c := startCluster(t, 3, func(cfg *Config) { cfg.Clock, cfg.LeaseReads = clock, true })
	l := c.leader()
	c.waitFor("lease", func(*Node) bool {
		clock.stop()
		if s, err := l.Status(soon(t)); err == nil && s.Role == raft.RoleLeader && s.LeaseTicks > 0 {
			return true
		}
		clock.run(0)
		return false
	})
	clock.halt(c, l) // or a leader that nobody hears steps down while a busy machine is elsewhere
	for _, n := range c.nodes {
		c.setCut(n.cfg.ID, true)
	}
	if err := l.ReadBarrier(soon(t)); err != nil {
		t.Fatalf("a read under the lease: %v", err)
	}
	clock.run(time.Minute)
	clock.halted.Store(false)
	poke(l.wake)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := l.ReadBarrier(ctx); err == nil {
		t.Fatal("a read was answered by a leader that nobody hears, after its lease")
	}
}

// A lease is counted in ticks and promised in microseconds.
func TestATickIsAsLongAsTheCoreIsTold(t *testing.T) {
	c := startCluster(t, 1, func(cfg *Config) { cfg.HeartbeatInterval = 5 * (4*time.Millisecond + 999*time.Nanosecond) })
	if tick := c.nodes[1].Tick(); tick != 4*time.Millisecond {
		t.Fatalf("a tick is %s, and the core counts whole microseconds", tick)
	}
}
