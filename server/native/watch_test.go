package native_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/native"
)

// heavy is a store whose watches tell of writes of these sizes at once, half of which is the version before.
type heavy struct {
	instant
	sizes             []int
	streams, canceled atomic.Int64
	// reached is how far all watches are, latest the stream that was opened last.
	reached atomic.Uint64
	latest  atomic.Pointer[heavyStream]
}

func (h *heavy) Watch() (watch.Stream, error) {
	h.streams.Add(1)
	s := &heavyStream{of: h, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	h.latest.Store(s)
	return s, nil
}

type heavyStream struct {
	of    *heavy
	mu    sync.Mutex
	queue []watch.Response
	wake  chan struct{}
	ended chan struct{}
	once  sync.Once
}

func (s *heavyStream) Watch(r watch.Request) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, watch.Response{ID: r.ID, Created: true, Revision: 1})
	for i, size := range s.of.sizes {
		if mod := uint64(2 + i); mod >= r.StartRevision {
			half := make([]byte, size/2)
			e := kv.Event{KV: kv.KeyValue{Key: []byte("k"), Value: half, ModRevision: mod}, Prev: &kv.KeyValue{Key: []byte("k"), Value: half, ModRevision: mod - 1}}
			s.queue = append(s.queue, watch.Response{ID: r.ID, Revision: mod, Events: []kv.Event{e}})
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return r.ID, nil
}

func (s *heavyStream) Next(ctx context.Context) (watch.Response, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			r := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return r, nil
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-s.ended:
			return watch.Response{}, watch.ErrClosed
		case <-ctx.Done():
			return watch.Response{}, ctx.Err()
		}
	}
}

func (s *heavyStream) Cancel(int64) bool { s.of.canceled.Add(1); return true }

func (s *heavyStream) RequestProgress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, watch.Response{ID: watch.NoID, Revision: s.of.reached.Load()})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *heavyStream) Close() { s.once.Do(func() { close(s.ended) }) }

func watchHeavy(t *testing.T, sizes ...int) (context.Context, *client.Watcher, *heavy) {
	t.Helper()
	s := &heavy{sizes: sizes}
	c := serve(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w, err := c.Watch(ctx, client.Key("k"), client.WithRevision(2), client.WithPrevKV())
	if err != nil {
		t.Fatal(err)
	}
	return ctx, w, s
}

func TestAnAnswerToAWatchIsNeverMoreThanAMessageHolds(t *testing.T) {
	ctx, w, s := watchHeavy(t, 1<<20-4096, 15800<<10, 1)
	for _, want := range []uint64{2, 3, 4} {
		b, err := w.Next(ctx)
		if err != nil || b.Revision != want {
			t.Fatalf("revision %d: %+v, %v", want, b.Revision, err)
		}
	}
	if n := s.streams.Load(); n != 1 {
		t.Errorf("the watch was made %d times", n)
	}
}

// An event that no message can hold ends its watch in so many words. That would meet it again and again otherwise, and tell nothing more.
func TestAWatchThatMeetsAnEventLargerThanAMessageEndsAndSaysWhy(t *testing.T) {
	ctx, w, s := watchHeavy(t, 1, 16<<20, 1)
	if b, err := w.Next(ctx); err != nil || b.Revision != 2 {
		t.Fatalf("%+v, %v", b.Revision, err)
	}
	if _, err := w.Next(ctx); err == nil || !strings.Contains(err.Error(), "without the versions before") || ctx.Err() != nil {
		t.Fatal(err)
	}
	if n := s.canceled.Load(); n != 1 {
		t.Errorf("the node's watch was cancelled %d times", n)
	}
}

// cutOff is a store whose node may have lost its leader.
type cutOff struct {
	heavy
	lost atomic.Bool
}

func (s *cutOff) Leader() raft.NodeID {
	if s.lost.Load() {
		return 0
	}
	return 1
}

// A node without a leader may be cut off: its silence would be taken for that of the writers.
func TestANodeThatKnowsNoLeaderSendsWatchesElsewhere(t *testing.T) {
	store := new(cutOff)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := raw(t, serveWith(t, store, native.Options{ElectionTimeout: time.Millisecond}))
	if r, err := s.WatchCreate(ctx, &wire.WatchRequest{ID: 1, Key: []byte("k"), StartRevision: 9}); err != nil || r.Status != wire.StatusOK {
		t.Fatal(r, err)
	}
	if u, err := s.WatchNext(ctx, &wire.WatchPull{}); err != nil || !u.Updates[0].Created {
		t.Fatal(u, err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.WatchNext(ctx, &wire.WatchPull{})
		ended <- err
	}()
	store.lost.Store(true)
	if err := <-ended; rpc.CodeOf(err) != rpc.CodeUnavailable || !strings.Contains(err.Error(), "leader") {
		t.Errorf("who waits is told %v", err)
	}
	if r, err := s.WatchCreate(ctx, &wire.WatchRequest{ID: 2, Key: []byte("k"), StartRevision: 9}); err != nil || r.Status != wire.StatusUnavailable {
		t.Errorf("who comes is told %+v, %v", r, err)
	}
	if _, err := s.WatchNext(ctx, &wire.WatchPull{}); rpc.CodeOf(err) != rpc.CodeUnavailable {
		t.Errorf("who asks on is told %v", err)
	}
	store.lost.Store(false)
	if r, err := s.WatchCreate(ctx, &wire.WatchRequest{ID: 3, Key: []byte("k"), StartRevision: 9}); err != nil || r.Status != wire.StatusOK {
		t.Errorf("with a leader: %+v, %v", r, err)
	}
}

// How far all watches are is told once for each revision, behind all that was to be told of it, and once more for a watch that has come since.
func TestHowFarWatchesAreIsTold(t *testing.T) {
	store := &heavy{sizes: []int{1}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := raw(t, serve(t, store))
	create := func(id int64) {
		t.Helper()
		if r, err := s.WatchCreate(ctx, &wire.WatchRequest{ID: id, Key: []byte("k"), StartRevision: 2}); err != nil || r.Status != wire.StatusOK {
			t.Fatal(r, err)
		}
	}
	create(1)
	for _, reached := range []uint64{7, 7, 7, 9, 0, 9, 9, 10} {
		if reached == 0 {
			create(2)
			continue
		}
		store.reached.Store(reached)
		store.latest.Load().RequestProgress()
	}
	var told []string
	for len(told) == 0 || told[len(told)-1] != "-1:10" {
		u, err := s.WatchNext(ctx, &wire.WatchPull{})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range u.Updates {
			told = append(told, fmt.Sprintf("%d:%d", x.ID, x.Revision))
		}
	}
	if got := strings.Join(told, " "); got != "1:1 1:2 -1:7 -1:9 2:1 2:2 -1:9 -1:10" {
		t.Error(got)
	}
}
