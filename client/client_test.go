package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"no endpoints":         {},
		"an endpoint of noise": {Endpoints: []string{"nonsense"}},
		"no port by TLS":       {Endpoints: []string{"https://a"}},
		"a timeout below zero": {Endpoints: []string{"a:1"}, CallTimeout: -1},
		"too many connections": {Endpoints: []string{"a:1"}, ConnectionsPerMember: 1000},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	c, err := Open(Config{Endpoints: []string{"http://127.0.0.1:1/", "127.0.0.1:1"}})
	if err != nil || len(c.Endpoints()) != 1 {
		t.Fatalf("%v, %v", c.Endpoints(), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "k", nil); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write where nobody listens: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(context.Background(), "k"); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
	if _, err := c.Watch(context.Background(), All()); !errors.Is(err, ErrClosed) {
		t.Errorf("a watch after Close: %v", err)
	}
}

// An answer that is lost is asked for again under the same number, elsewhere if need be.
func TestALostAnswerIsAskedForAgainUnderItsNumber(t *testing.T) {
	a, b := newFakeNode(t, 1), newFakeNode(t, 2)
	type asked struct {
		node, sequence, session uint64
	}
	var mu sync.Mutex
	var all []asked
	for _, n := range []*fakeNode{a, b} {
		n.set(func(n *fakeNode) {
			n.leader = 1
			n.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, asked{n.member, w.Items[0].Sequence, w.Session})
				if len(all) == 1 {
					return nil, rpc.Errorf(rpc.CodeUnavailable, "lost")
				}
				return &wire.Answer{Results: []wire.Result{{Revision: 7, Repeated: true}}}, nil
			}
		})
	}
	c := openTo(t, a, b)
	r, err := c.Put(soon(t), "k", nil)
	if err != nil || r.Revision != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(all) != 2 || all[0].sequence != all[1].sequence || all[0].session != all[1].session || all[0].node == all[1].node {
		t.Errorf("asked: %+v", all)
	}
	if _, err := c.Put(soon(t), "k", nil, WithPrevKV()); !errors.Is(err, ErrResultLost) {
		t.Errorf("a repeat does not tell the version before: %v", err)
	}
	if all[2].sequence == all[1].sequence {
		t.Error("a number was used twice")
	}
}

func TestWhatIsKnownOfAWriteIsSaid(t *testing.T) {
	// statuses says one after the other, and the last from then on; enough is called when that is said again.
	statuses := func(list []wire.Status, enough func()) func(*wire.WriteBatch) (*wire.Answer, error) {
		var said atomic.Int64
		return func(w *wire.WriteBatch) (*wire.Answer, error) {
			n := int(said.Add(1))
			if n > len(list) {
				enough()
			}
			s := list[min(n, len(list))-1]
			return &wire.Answer{Results: []wire.Result{{Status: s, Message: "said so"}}}, nil
		}
	}
	for _, x := range []struct {
		name string
		said []wire.Status
		want error
	}{
		{"unknown once, then surely not applied", []wire.Status{wire.StatusUnknown, wire.StatusUnavailable}, ErrUnknown},
		{"expired after unknown", []wire.Status{wire.StatusUnknown, wire.StatusExpired}, ErrUnknown},
		{"expired at once: another session", []wire.Status{wire.StatusExpired, wire.StatusOK}, nil},
		{"busy, then done", []wire.Status{wire.StatusBusy, wire.StatusOK}, nil},
		{"refused", []wire.Status{wire.StatusKeyNotFound}, ErrKeyNotFound},
		{"refused in the end", []wire.Status{wire.StatusUnknown, wire.StatusKeyNotFound}, ErrKeyNotFound},
		{"full", []wire.Status{wire.StatusNoSpace}, ErrNoSpace},
		{"full after unknown, which tells nothing of that", []wire.Status{wire.StatusUnknown, wire.StatusNoSpace}, ErrUnknown},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := newFakeNode(t, 1)
			ctx, cancel := context.WithCancel(soon(t))
			defer cancel()
			n.set(func(n *fakeNode) { n.write = statuses(x.said, cancel) })
			_, err := openTo(t, n).Put(ctx, "k", nil)
			if x.want == nil && err != nil || x.want != nil && !errors.Is(err, x.want) {
				t.Errorf("%v, want %v", err, x.want)
			}
		})
	}
	t.Run("surely not applied, to the end", func(t *testing.T) {
		n := newFakeNode(t, 1)
		n.set(func(n *fakeNode) { n.write = statuses([]wire.Status{wire.StatusUnavailable}, func() {}) })
		c := openTo(t, n)
		// Of an attempt that is under way when the time is over nothing is known; hardly ever is one.
		for all := soon(t); ; {
			ctx, cancel := context.WithTimeout(all, 300*time.Millisecond)
			_, err := c.Put(ctx, "k", nil)
			cancel()
			if errors.Is(err, ErrUnavailable) {
				return
			}
			if all.Err() != nil || !errors.Is(err, ErrUnknown) {
				t.Fatalf("%v, want %v", err, ErrUnavailable)
			}
		}
	})
}

func TestAWriteThatIsGivenUpOnItsWayIsUnknown(t *testing.T) {
	n := newFakeNode(t, 1)
	came, release := make(chan struct{}), make(chan struct{})
	n.set(func(n *fakeNode) {
		n.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
			close(came)
			<-release
			return ok(len(w.Items)), nil
		}
	})
	c := openTo(t, n)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-came
		cancel()
	}()
	if _, err := c.Put(ctx, "k", nil); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(release)
}

// Calls that wait at the same time share messages, and no message holds what is not of one session.
func TestCallsThatWaitTogetherTravelTogether(t *testing.T) {
	n := newFakeNode(t, 1)
	const callers = 500
	gate := make(chan struct{})
	var mu sync.Mutex
	batches, items, largest := 0, 0, 0
	n.set(func(n *fakeNode) {
		n.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
			mu.Lock()
			batches, items, largest = batches+1, items+len(w.Items), max(largest, len(w.Items))
			mu.Unlock()
			for _, x := range w.Items {
				if x.Sequence < w.Low {
					t.Errorf("sequence %d is below %d", x.Sequence, w.Low)
				}
			}
			<-gate
			return ok(len(w.Items)), nil
		}
	})
	c := openTo(t, n)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			if _, err := c.Put(soon(t), fmt.Sprint(i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	l := &(*c.nodes.Load())[0].conns[0].writes
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		waiting, running := len(l.waiting), l.running
		l.mu.Unlock()
		mu.Lock()
		there := items
		mu.Unlock()
		if waiting+there == callers {
			break
		}
		if time.Now().After(deadline) {
			close(gate)
			t.Fatalf("%d wait, %d batches run, %d came", waiting, running, there)
		}
	}
	close(gate)
	all.Wait()
	if items != callers || batches > callers/4 || largest < 32 {
		t.Errorf("%d calls in %d batches, the largest of %d", items, batches, largest)
	}
}

func TestTheLeaderIsFollowedAndReadsAreSpread(t *testing.T) {
	nodes := []*fakeNode{newFakeNode(t, 1), newFakeNode(t, 2), newFakeNode(t, 3)}
	var members []wire.Member
	for _, n := range nodes {
		members = append(members, wire.Member{ID: n.member, ClientAddress: n.address})
	}
	var mu sync.Mutex
	written, read := map[uint64]int{}, map[uint64]int{}
	lead := func(leader uint64) {
		for _, n := range nodes {
			n.set(func(n *fakeNode) {
				plain := n.read
				n.leader, n.members = leader, members
				n.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
					mu.Lock()
					defer mu.Unlock()
					written[n.member]++
					return ok(len(w.Items)), nil
				}
				n.read = func(r *wire.ReadBatch) (*wire.Answer, error) {
					mu.Lock()
					if r.Serializable {
						read[n.member]++
					}
					mu.Unlock()
					return plain(r)
				}
			})
		}
	}
	lead(2)
	c := openTo(t, nodes[0])
	for deadline := time.Now().Add(patience); len(c.Endpoints()) != 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the client knows %v", c.Endpoints())
		}
	}
	put := func(times int) {
		t.Helper()
		for range times {
			if _, err := c.Put(soon(t), "k", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range *c.nodes.Load() {
		if _, err := n.conns[0].peer.Connected(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	// follows tells who leads by one write, and then looks where 20 go.
	follows := func(leader uint64, mostAstray int) {
		t.Helper()
		lead(leader)
		put(1)
		mu.Lock()
		clear(written)
		mu.Unlock()
		put(20)
		mu.Lock()
		defer mu.Unlock()
		if written[leader] < 20-mostAstray {
			t.Errorf("%d leads, writes go to %v", leader, written)
		}
	}
	follows(2, 0)
	// The answer to one question about the members may still be on its way, which tells who led when it was asked.
	follows(3, 1)
	for range 30 {
		if _, err := c.Get(soon(t), "k", WithSerializable()); err != nil {
			t.Fatal(err)
		}
	}
	if len(read) != 3 {
		t.Errorf("serializable reads went to %v", read)
	}
}

func TestTheWindowOfASessionIsBounded(t *testing.T) {
	s := &session{id: 1, next: 1, low: 1}
	for i := range uint64(sessionWindow) {
		if n, err := s.take(context.Background()); err != nil || n != i+1 {
			t.Fatalf("%d, %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("past the window: %v", err)
	}
	s.giveBack(2)
	if _, err := s.take(ctx); err == nil || s.lowest() != 1 {
		t.Error("the window moved though its lowest number is held")
	}
	taken := make(chan uint64)
	go func() {
		n, _ := s.take(soon(t))
		taken <- n
	}()
	s.giveBack(1)
	if n := <-taken; n != sessionWindow+1 || s.lowest() != 3 {
		t.Errorf("number %d, lowest %d", n, s.lowest())
	}
}

// A transaction that no node could decode is refused before it can take others with it.
func TestWhatCannotBeSentIsRefusedAtOnce(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	deep := OpPut("k", nil)
	for range wire.MaxDepth {
		deep = OpTxn(nil, []Op{deep}, nil)
	}
	if _, err := c.Txn().Then(deep).Commit(soon(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("nested too deep: %v", err)
	}
	many := make([]Op, wire.MaxOps)
	for i := range many {
		many[i] = OpPut(fmt.Sprint(i), nil)
	}
	if _, err := c.Txn().Then(many...).Commit(soon(t)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many operations: %v", err)
	}
	var l lane
	l.init(c, nil, writes)
	for range 3 {
		x := &call{ops: wire.MaxOps / 2}
		l.waiting = append(l.waiting, x)
	}
	if batch := l.take(nil); len(batch) != 2 {
		t.Errorf("a batch of %d calls has more operations than a message may", len(batch))
	}
}
