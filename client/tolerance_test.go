package client

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// slowLine is a connection that lets 2 MiB a second in, at most.
type slowLine struct{ net.Conn }

func (s slowLine) Read(p []byte) (int, error) {
	time.Sleep(8 * time.Millisecond)
	return s.Conn.Read(p[:min(len(p), 16<<10)])
}

func (s slowLine) CloseWrite() error { return s.Conn.(*net.TCPConn).CloseWrite() }

// openSlowly opens a client over a slow line, with first attempts that are too short for half of a slowAnswer.
func openSlowly(t *testing.T, n *fakeNode) *Client {
	t.Helper()
	c, err := Open(Config{
		Endpoints: []string{n.address}, StaticEndpoints: true, AttemptTimeout: 100 * time.Millisecond, CallTimeout: patience,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return slowLine{conn}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// slowAnswer is how many bytes take a quarter of a second.
const slowAnswer = 512 << 10

// large answers each read with so many bytes.
func large(size int) func(*wire.ReadBatch) (*wire.Answer, error) {
	value := bytes.Repeat([]byte{1}, size)
	return func(b *wire.ReadBatch) (*wire.Answer, error) {
		a := ok(len(b.Items))
		for i := range a.Results {
			a.Results[i].Ops = []wire.OpResult{{Range: &wire.RangeResult{Items: []wire.KeyValue{{Value: value}}, Count: 1}}}
		}
		return a, nil
	}
}

// An answer that takes several times as long as an attempt is read in the end.
func TestALargeAnswerComesOverASlowLine(t *testing.T) {
	n := newFakeNode(t, 1)
	n.set(func(n *fakeNode) { n.read = large(slowAnswer) })
	c := openSlowly(t, n)
	for name, ctx := range map[string]context.Context{"with a deadline": soon(t), "without": context.Background()} {
		got, err := c.Get(ctx, "k")
		if err != nil || len(got.KV.Value) != slowAnswer {
			t.Errorf("%s: %d bytes, %v", name, len(got.KV.Value), err)
		}
	}
}

// Calls that go together come through, though the answer to all of them is cut off.
func TestManyLargeAnswersComeOverASlowLine(t *testing.T) {
	const calls = 16
	n := newFakeNode(t, 1)
	n.set(func(n *fakeNode) { n.read = large(2 * slowAnswer / calls) })
	c := openSlowly(t, n)
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			if got, err := c.Get(soon(t), "k"); err != nil || len(got.KV.Value) != 2*slowAnswer/calls {
				t.Errorf("a get among many: %d bytes, %v", len(got.KV.Value), err)
			}
		})
	}
	all.Wait()
}

// A call whose answers are told outside of lanes is as tolerant.
func TestALongListComesOverASlowLine(t *testing.T) {
	n := newFakeNode(t, 1)
	keys := make([][]byte, slowAnswer>>10)
	for i := range keys {
		keys[i] = bytes.Repeat([]byte{'k'}, 1<<10)
	}
	n.set(func(n *fakeNode) {
		n.lease = func(_ context.Context, _ string, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
			return &wire.LeaseReply{ID: r.ID, TTL: 1, Keys: keys}, nil
		}
	})
	c := openSlowly(t, n)
	got, err := c.TimeToLive(soon(t), 1, true)
	if err != nil || len(got.Keys) != len(keys) {
		t.Errorf("%d keys, %v", len(got.Keys), err)
	}
}

func TestOnlyACallThatWasCutOffIsGivenMore(t *testing.T) {
	p := allowance{}
	p.learn(&attemptError{err: rpc.Errorf(rpc.CodeDeadline, "silence")})
	if p.tolerance != (tolerance{}) || p.tolerance.of(time.Second) != time.Second || p.tolerance.most() != wire.MaxBatch {
		t.Errorf("after silence: %+v", p.tolerance)
	}
	for i, want := range []struct {
		lot   int
		limit time.Duration
	}{{5, 2 * time.Second}, {1, 4 * time.Second}, {1, 8 * time.Second}} {
		p.learn(&attemptError{cutOff: 40>>(3*i) | 1})
		if p.tolerance.most() != want.lot || p.tolerance.of(time.Second) != want.limit {
			t.Errorf("cut off %d times: %+v", i+1, p.tolerance)
		}
	}
	for range 100 {
		p.learn(&attemptError{cutOff: 1})
	}
	if p.tolerance.of(time.Second) != time.Second<<mostDoublings {
		t.Errorf("the time of an attempt has no bound: %+v", p.tolerance)
	}
	// Whatever is left of the call bounds the attempt.
	p.ctx, p.end = context.Background(), time.Now().Add(time.Minute)
	within, done := p.within(0)
	defer done()
	if end, ok := within.Deadline(); !ok || !end.Equal(p.end) {
		t.Errorf("an attempt may go on until %v, the call until %v", end, p.end)
	}
}

// What is put together waits together: a call that has learned nothing does not wait as long as one that has.
func TestABatchHoldsOneTolerance(t *testing.T) {
	var l lane
	for _, p := range []tolerance{{}, {}, {1, 2}, {1, 2}, {1, 2}, {2, 1}, {2, 1}, {}} {
		l.waiting = append(l.waiting, &call{ops: 1, tolerance: p})
	}
	for _, want := range []int{2, 2, 1, 1, 1, 1} {
		if got := len(l.take(nil)); got != want {
			t.Errorf("%d go together, want %d", got, want)
		}
	}
}
