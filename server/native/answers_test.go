package native_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/native"
)

const (
	// largeAnswers is how many answers of 1 MiB a client asks for at most that takes none: far more than the kernel and the queue of its connection hold, and as many as may be counted.
	largeAnswers = 128
	roomBytes    = 8 << 20
)

// tap is a connection whose client reads nothing while it is closed.
type tap struct {
	net.Conn
	mu   sync.Mutex
	open chan struct{} // closed while it is open
	over chan struct{}
	end  sync.Once
}

func (c *tap) Read(b []byte) (int, error) {
	c.mu.Lock()
	open := c.open
	c.mu.Unlock()
	select {
	case <-open:
		return c.Conn.Read(b)
	case <-c.over:
		return 0, net.ErrClosed
	}
}

func (c *tap) Close() error {
	c.end.Do(func() { close(c.over) })
	return c.Conn.Close()
}

// shut closes the tap, and returns what opens it again.
func (c *tap) shut() (open func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = make(chan struct{})
	return sync.OnceFunc(func() { close(c.open) })
}

// tapped binds the service over a connection with a tap, which is open.
func tapped(ctx context.Context, t *testing.T, c *client.Client) (*wire.Service, *tap) {
	t.Helper()
	x := &tap{open: make(chan struct{}), over: make(chan struct{})}
	close(x.open)
	conn, err := rpc.Dial(ctx, c.Endpoints()[0], rpc.ClientOptions{IdleTimeout: time.Hour, Dial: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
		x.Conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return x, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := new(wire.Service)
	if err := rpc.BindContext(ctx, conn, wire.ServiceName, s); err != nil {
		t.Fatal(err)
	}
	return s, x
}

// ask reads a large value once.
func ask(ctx context.Context, s *wire.Service) (wire.Status, error) {
	a, err := s.Read(ctx, &wire.ReadBatch{Items: []wire.Item{{Body: wire.AppendRange(nil, "k", "", &wire.Range{})}}})
	if err != nil {
		return 0, err
	}
	return a.Results[0].Status, nil
}

func TestAnswersThatAreNotTakenAreBounded(t *testing.T) {
	for name, patience := range map[string]time.Duration{"who takes nothing is waited for": time.Hour, "who takes nothing gives way": 0} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			bound := answers.New(roomBytes, patience)
			c := serveWith(t, &large{bytes: 1 << 20}, native.Options{Name: "a", MaxRequestBytes: 1 << 20, Answers: bound})
			slow, x := tapped(ctx, t, c)
			open := x.shut()
			defer open()
			outcomes, asked := make(chan error, largeAnswers), 0
			statuses := make(chan wire.Status, largeAnswers)
			askSlowly := func() {
				asked++
				go func() {
					status, err := ask(ctx, slow)
					statuses <- status
					outcomes <- err
				}()
			}
			if patience == 0 {
				for range largeAnswers {
					askSlowly()
				}
				// The connection ends as soon as there is no more room.
				if err := <-outcomes; err == nil {
					t.Error("an answer came through a tap that is shut")
				}
				if status, err := ask(ctx, raw(t, c)); err != nil || status != wire.StatusOK {
					t.Errorf("who takes its answer is told %d, %v", status, err)
				}
				return
			}
			other := raw(t, c)
			// The kernel and the queue take answers for a while, so that there may be room again after there was none.
			put := wire.Op{Key: []byte("k"), PrevKV: true}
			for refused, lost := false, false; !refused || !lost; {
				if asked < largeAnswers {
					askSlowly()
				}
				status, err := ask(ctx, other)
				if err != nil {
					t.Fatalf("a read beside %d that are not taken: %v", asked, err)
				}
				refused = refused || status == wire.StatusBusy
				w, err := other.Write(ctx, &wire.WriteBatch{Items: []wire.Item{{Body: wire.AppendPut(nil, "k", &put)}}})
				if err != nil || w.Results[0].Status != wire.StatusOK && w.Results[0].Status != wire.StatusResultLost {
					t.Fatalf("a write beside %d that are not taken: %v", asked, err)
				}
				lost = lost || w.Results[0].Status == wire.StatusResultLost
			}
			open()
			done := 0
			for range asked {
				if err := <-outcomes; err != nil {
					t.Error(err)
				}
				if <-statuses == wire.StatusOK {
					done++
				}
			}
			if done < roomBytes>>20 {
				t.Errorf("%d answers of %d came", done, asked)
			}
			for { // the last of them may count for a moment
				release, ok := bound.Hold(roomBytes, nil)
				if ok {
					release()
					break
				}
				if ctx.Err() != nil {
					t.Fatal("answers that were taken count")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}
