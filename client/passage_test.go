package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

// Time is virtual in these tests.

const (
	// mega is the size of a large write, which takes twelve seconds over a megabit a second.
	mega    = 1_500_000
	megabit = 1_000_000 / 8
	way     = mega * time.Second / megabit
)

// tolls counts the writes that arrive, by session and sequence.
type tolls struct {
	mu   sync.Mutex
	seen map[[2]uint64]int
	all  int
}

func (x *tolls) count(b *wire.WriteBatch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seen == nil {
		x.seen = map[[2]uint64]int{}
	}
	for _, i := range b.Items {
		x.seen[[2]uint64{b.Session, i.Sequence}]++
		x.all++
	}
}

// pipes gives a client to nodes behind lines that are made by line, and which are all there is between them.
func pipes(t *testing.T, config Config, line func(*fakeNode, net.Conn) net.Conn, nodes ...*fakeNode) *Client {
	t.Helper()
	config.StaticEndpoints = true
	for _, n := range nodes {
		n.address = "node-" + MemberID(n.member).String() + ":2379"
		config.Endpoints = append(config.Endpoints, n.address)
	}
	config.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		for _, n := range nodes {
			if n.address == address {
				ours, theirs := net.Pipe()
				go func() { _ = n.server.ServeConn(theirs) }()
				return line(n, ours), nil
			}
		}
		return nil, errors.New("there is no such node")
	}
	c, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func slow(_ *fakeNode, c net.Conn) net.Conn { return rpctest.Uplink(c, megabit) }

// leading is a node that leads, and counts what it is to write.
func leading(t *testing.T, x *tolls) *fakeNode {
	n := newUnlistedNode(t, 1)
	n.leader = 1
	n.write = func(b *wire.WriteBatch) (*wire.Answer, error) {
		x.count(b)
		return ok(len(b.Items)), nil
	}
	return n
}

func TestALargeWriteIsSentOnce(t *testing.T) {
	for name, x := range map[string]struct {
		call    time.Duration // of the context; zero is none
		timeout time.Duration // of the configuration
	}{
		"with a deadline":            {call: time.Minute, timeout: time.Second},
		"within the time of a call":  {timeout: time.Minute},
		"when it is only just there": {call: way + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var arrived tolls
				c := pipes(t, Config{CallTimeout: x.timeout}, slow, leading(t, &arrived))
				ctx := t.Context()
				if x.call != 0 {
					limited, cancel := context.WithTimeout(ctx, x.call)
					defer cancel()
					ctx = limited
				}
				began := time.Now()
				_, err := c.Put(ctx, "k", make([]byte, mega))
				if took := time.Since(began); err != nil || arrived.all != 1 || took < way || took > way+2*time.Second {
					t.Errorf("after %v, %d attempts have arrived: %v", took, arrived.all, err)
				}
			})
		})
	}
}

// Many at once stand in each other's way, and all arrive, once.
func TestManyLargeWritesAreSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var arrived tolls
		c := pipes(t, Config{}, slow, leading(t, &arrived))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		const writes = 40
		var all sync.WaitGroup
		for range writes {
			all.Go(func() {
				if _, err := c.Put(ctx, "k", make([]byte, 3*mega/writes)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if arrived.all != writes || len(arrived.seen) != writes {
			t.Errorf("%d attempts of %d writes have arrived", arrived.all, len(arrived.seen))
		}
	})
}

// The time of the call bounds the passage, and what became of a write that is under way then is not known.
func TestALargeWriteEndsWithItsCall(t *testing.T) {
	for name, deadline := range map[string]bool{"with a deadline": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit = 5 * time.Second
				var arrived tolls
				c := pipes(t, Config{CallTimeout: limit}, slow, leading(t, &arrived))
				ctx := t.Context()
				if deadline {
					limited, cancel := context.WithTimeout(ctx, limit)
					defer cancel()
					ctx = limited
				}
				began := time.Now()
				_, err := c.Put(ctx, "k", make([]byte, mega))
				if took := time.Since(began); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) || took > limit+time.Second {
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

// A node that has what it was sent and does not answer is left as soon as always; the other is told the same number.
func TestALargeWriteLeavesANodeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second tolls
		hung := make(chan struct{})
		defer close(hung)
		a, b := leading(t, &first), leading(t, &second)
		b.member, b.leader = 2, 0
		a.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
			first.count(w)
			<-hung
			return nil, rpc.Errorf(rpc.CodeUnavailable, "ended")
		}
		c := pipes(t, Config{}, slow, a, b)
		time.Sleep(time.Second) // until it knows the leader
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.Put(ctx, "k", make([]byte, mega))
		if took := time.Since(began); err != nil || took > 2*way+DefaultAttemptTimeout+3*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		first.mu.Lock()
		defer first.mu.Unlock()
		for mark := range first.seen {
			if first.all != 1 || second.all != 1 || second.seen[mark] != 1 {
				t.Errorf("the one that hangs was told %v, the other %v", first.seen, second.seen)
			}
		}
	})
}

// stuck is a line on which nothing moves any more after so many bytes were sent.
type stuck struct {
	net.Conn
	left   atomic.Int64
	closed chan struct{}
	once   sync.Once
}

func stuckAfter(conn net.Conn, bytes int64) net.Conn {
	s := &stuck{Conn: conn, closed: make(chan struct{})}
	s.left.Store(bytes)
	return s
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.left.Add(-int64(len(p))) < 0 {
		<-s.closed
		return 0, net.ErrClosed
	}
	return s.Conn.Write(p)
}

func (s *stuck) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.left.Load() < 0 {
		<-s.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// A node from which nothing comes any more is left although the request is under way.
func TestALargeWriteLeavesANodeThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, arrived tolls
		a, b := leading(t, &lost), leading(t, &arrived)
		b.member, b.leader = 2, 0
		c := pipes(t, Config{}, func(n *fakeNode, conn net.Conn) net.Conn {
			if n == a {
				return stuckAfter(conn, mega/3)
			}
			return conn
		}, a, b)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.Put(ctx, "k", make([]byte, mega))
		if took := time.Since(began); err != nil || lost.all != 0 || arrived.all != 1 || took > DefaultAttemptTimeout+time.Second/2 {
			t.Errorf("after %v, %d and %d have arrived: %v", took, lost.all, arrived.all, err)
		}
	})
}

// A line that is slower than the slowest is left in the end, and so is a node that reads nothing but pings as if nothing were wrong.
func TestALargeWriteLeavesALineThatIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, arrived tolls
		a, b := leading(t, &lost), leading(t, &arrived)
		b.member, b.leader = 2, 0
		c := pipes(t, Config{}, func(n *fakeNode, conn net.Conn) net.Conn {
			if n == a {
				return rpctest.Uplink(conn, slowestLine/8)
			}
			return conn
		}, a, b)
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.Put(ctx, "k", make([]byte, mega))
		most := DefaultAttemptTimeout + mega*time.Second/slowestLine
		if took := time.Since(began); err != nil || arrived.all != 1 || took < most || took > most+5*time.Second {
			t.Errorf("after %v, %d have arrived: %v", took, arrived.all, err)
		}
	})
}

func TestAPassageEndsWithWhoeverWaitsForIt(t *testing.T) {
	now := time.Now()
	p := passage{limit: time.Second, last: now.Add(time.Minute)}
	for _, x := range []struct {
		bytes uint64
		want  time.Duration
	}{{0, time.Second}, {slowestLine, 2 * time.Second}, {slowestLine * 58, 59 * time.Second}, {slowestLine * 100, time.Minute}} {
		if got := p.within(now, x.bytes).Sub(now); got != x.want {
			t.Errorf("with %d bytes to go it ends after %v, want %v", x.bytes, got, x.want)
		}
	}
}
