package native_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/backend"
)

// large is a store whose every answer is large.
type large struct {
	instant
	bytes int
}

func (s *large) value() kv.KeyValue {
	return kv.KeyValue{Key: []byte("k"), Value: make([]byte, s.bytes)}
}

func (s *large) Range(context.Context, backend.RangeRequest) (kv.RangeResult, error) {
	return kv.RangeResult{Items: []kv.KeyValue{s.value()}, Revision: 1}, nil
}

func (s *large) WriteAll(ctx context.Context, batch []backend.Write) {
	s.instant.WriteAll(ctx, batch)
	for i := range batch {
		batch[i].Result.Ops = []kv.OpResult{{Prev: []kv.KeyValue{s.value()}}}
	}
}

// raw binds the service to a connection of a client's node.
func raw(t *testing.T, c *client.Client) *wire.Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := rpc.Dial(ctx, c.Endpoints()[0], rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := new(wire.Service)
	if err := rpc.Bind(conn, wire.ServiceName, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// What does not fit into an answer any more is not read, and asked for again.
func TestAnAnswerIsFilledUpToItsBound(t *testing.T) {
	c := serve(t, &large{bytes: 1 << 20})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	batch := &wire.ReadBatch{}
	for range 10 {
		batch.Items = append(batch.Items, wire.Item{Body: wire.AppendRange(nil, "k", "", &wire.Range{})})
	}
	a, err := raw(t, c).Read(ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	const fit = wire.MaxAnswerBytes >> 20
	for i, r := range a.Results {
		if want := i >= fit; (r.Status == wire.StatusLater) != want || !want && len(r.Ops[0].Range.Items[0].Value) != 1<<20 {
			t.Errorf("item %d: status %d", i, r.Status)
		}
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if got, err := c.Get(ctx, fmt.Sprint(i)); err != nil || len(got.KV.Value) != 1<<20 {
				t.Errorf("a get among many: %d bytes, %v", len(got.KV.Value), err)
			}
		})
	}
	all.Wait()
}

// A write whose answer is too large is told as what it is: done. The others of its batch are none the worse.
func TestAWriteIsToldThoughItsResultDoesNotFit(t *testing.T) {
	c := serve(t, &large{bytes: 4 << 20})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	batch := &wire.WriteBatch{}
	for i := range 6 {
		batch.Items = append(batch.Items, wire.Item{Body: wire.AppendPut(nil, "k", &wire.Op{PrevKV: i != 5})})
	}
	a, err := raw(t, c).Write(ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []wire.Status{wire.StatusOK, wire.StatusOK, wire.StatusOK, wire.StatusResultLost, wire.StatusResultLost, wire.StatusOK} {
		if a.Results[i].Status != want {
			t.Errorf("item %d: status %d, want %d", i, a.Results[i].Status, want)
		}
	}
}

// ledger is a store that opens the session of one index, and notes which one each write came in.
type ledger struct {
	instant
	cluster raft.ClusterID

	mu    sync.Mutex
	marks []session.Header
}

func (s *ledger) Header() backend.Header {
	return backend.Header{ClusterID: s.cluster, MemberID: 1, Term: 1}
}

func (*ledger) OpenSession(context.Context, raft.Incarnation, uint64) (uint64, error) { return 7, nil }

func (s *ledger) WriteAll(ctx context.Context, batch []backend.Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		s.marks = append(s.marks, batch[i].Mark)
	}
	s.instant.WriteAll(ctx, batch)
}

// A cluster that was restored, or rebuilt, gives out the indexes that the old one gave out: a client of the old one must not write into the
// session of another client, or of a node, which would be answered with what that has done.
func TestASessionIsOfOneCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	old, restored := &ledger{cluster: 1}, &ledger{cluster: 2}
	opened, err := raw(t, serve(t, old)).OpenSession(ctx, &wire.SessionRequest{Origin: 1, Nonce: 1})
	if err != nil || opened.Status != wire.StatusOK {
		t.Fatal(opened, err)
	}
	for _, s := range []*ledger{old, restored} {
		batch := &wire.WriteBatch{Session: opened.Session, Low: 2, Items: []wire.Item{{Sequence: 3, Body: wire.AppendPut(nil, "k", &wire.Op{})}}}
		if _, err := raw(t, serve(t, s)).Write(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	if want := (session.Header{Session: 7, Sequence: 3, Low: 2}); old.marks[0] != want {
		t.Errorf("the cluster that opened the session takes its write as %+v, want %+v", old.marks[0], want)
	}
	if got := restored.marks[0].Session; got < 1<<40 {
		t.Errorf("another cluster takes the write for one in its own session %d", got)
	}
}

// listed is a store that tells what it is asked for.
type listed struct {
	instant
	asked chan kv.RangeRequest
}

func (s *listed) Range(_ context.Context, r backend.RangeRequest) (kv.RangeResult, error) {
	s.asked <- r.RangeRequest
	return kv.RangeResult{Revision: 1}, nil
}

// An answer has a bounded number of keys, where the client can ask for more behind them.
func TestAnAnswerHasABoundedNumberOfKeys(t *testing.T) {
	store := &listed{asked: make(chan kv.RangeRequest, 1)}
	service := raw(t, serve(t, store))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, x := range []struct {
		asked wire.Range
		want  int
	}{
		{wire.Range{}, 100_000}, {wire.Range{Limit: 7}, 7}, {wire.Range{Limit: 1 << 40}, 100_000},
		{wire.Range{Sort: 1}, 1<<31 - 1}, {wire.Range{Sort: 1, Limit: 1 << 20}, 1 << 20}, {wire.Range{Target: 1}, 1<<31 - 1},
	} {
		item := wire.Item{Body: wire.AppendRange(nil, "k", "l", &x.asked)}
		if a, err := service.Read(ctx, &wire.ReadBatch{Serializable: true, Items: []wire.Item{item}}); err != nil || a.Results[0].Status != wire.StatusOK {
			t.Fatal(a, err)
		}
		if r := <-store.asked; r.Limit != x.want || r.MaxBytes != wire.MaxAnswerBytes {
			t.Errorf("%+v: up to %d keys, want %d", x.asked, r.Limit, x.want)
		}
	}
}
