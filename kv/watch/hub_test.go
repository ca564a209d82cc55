package watch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// running is a hub with its goroutine, on a machine.
type running struct {
	hub     *Hub
	machine *kv.Machine
	index   raft.Index
	stop    func()
}

func run(t testing.TB) *running {
	t.Helper()
	h := NewHub(Options{})
	m, err := kv.Open(kv.Options{Disk: store.NewMemory(), Observer: h})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); h.Run(ctx, m, ready) }()
	<-ready
	x := &running{hub: h, machine: m, stop: func() { cancel(); <-done }}
	t.Cleanup(func() {
		x.stop()
		_ = m.Close()
	})
	return x
}

func (x *running) apply(t testing.TB, c kv.Command) {
	t.Helper()
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	if err != nil {
		t.Fatal(err)
	}
	x.index++
	if _, err := x.machine.Apply([]raft.Entry{{Term: 1, Index: x.index, Type: raft.EntryNormal, Data: data}}); err != nil {
		t.Fatal(err)
	}
}

func (x *running) stream(t testing.TB) Stream {
	t.Helper()
	s, err := x.hub.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handed waits until the hub has handed the events of a revision out.
func (x *running) handed(t testing.TB, revision uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		x.hub.mu.Lock()
		at := x.hub.handed
		x.hub.mu.Unlock()
		if at >= revision {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("revision %d is not handed out", revision)
		}
	}
}

func next(t testing.TB, s Stream) Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNextWaitsForWrites(t *testing.T) {
	x := run(t)
	s := x.stream(t)
	id, err := s.Watch(Request{ID: 7, Keys: kv.One([]byte("k"))})
	if err != nil || id != 7 {
		t.Fatal(id, err)
	}
	if r := next(t, s); !r.Created || r.ID != 7 || r.Revision != 1 {
		t.Fatalf("%+v", r)
	}
	if _, err := s.Watch(Request{ID: 7, Keys: kv.All()}); !errors.Is(err, ErrDuplicateID) {
		t.Fatal(err)
	}
	got := make(chan Response, 1)
	go func() { got <- next(t, s) }()
	x.apply(t, kv.Put([]byte("other"), nil))
	x.apply(t, kv.Put([]byte("k"), []byte("v")))
	if r := <-got; len(r.Events) != 1 || string(r.Events[0].KV.Value) != "v" || r.Events[0].KV.ModRevision != 3 {
		t.Fatalf("%+v", r)
	}
	if !s.Cancel(7) || s.Cancel(7) {
		t.Fatal("a watch is cancelled once")
	}
	if r := next(t, s); !r.Canceled || r.Err != nil {
		t.Fatalf("%+v", r)
	}
}

func TestNextEndsWithTheContextAndTheHub(t *testing.T) {
	x := run(t)
	s := x.stream(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := s.Next(context.Background()); ended <- err }()
	x.stop()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := x.hub.NewStream(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestWatchGoesOnBehindASnapshot: the state jumps, and the events in between come from the new history.
func TestWatchGoesOnBehindASnapshot(t *testing.T) {
	from, to := run(t), run(t)
	s := to.stream(t)
	if _, err := s.Watch(Request{ID: AutoID, Keys: kv.All()}); err != nil {
		t.Fatal(err)
	}
	if r := next(t, s); !r.Created {
		t.Fatalf("%+v", r)
	}
	for i := range 5 {
		from.apply(t, kv.Put([]byte("k"), fmt.Append(nil, i)))
	}
	snapshot, err := from.machine.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	stage, err := to.machine.Stage(snapshot.Meta())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.WriteTo(stage); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stage.Commit(), to.machine.Install(snapshot.Meta()), snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	to.index = 5
	to.apply(t, kv.Put([]byte("k"), []byte("behind")))
	var got []string
	for len(got) < 6 {
		for _, e := range next(t, s).Events {
			got = append(got, string(e.KV.Value))
		}
	}
	if fmt.Sprint(got) != "[0 1 2 3 4 behind]" {
		t.Fatal(got)
	}
}

// BenchmarkFanOut writes one key that a thousand streams watch, and reads all that they get.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 1000
	x := run(b)
	counts := make(chan int, watchers)
	for range watchers {
		s := x.stream(b)
		if _, err := s.Watch(Request{ID: AutoID, Keys: kv.One([]byte("k"))}); err != nil {
			b.Fatal(err)
		}
		if r, err := s.Next(context.Background()); err != nil || !r.Created {
			b.Fatal(r, err)
		}
		go func() {
			n := 0
			for n < b.N {
				r, err := s.Next(context.Background())
				if err != nil {
					break
				}
				n += len(r.Events)
			}
			counts <- n
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		x.apply(b, kv.Put([]byte("k"), make([]byte, 256)))
	}
	for range watchers {
		if n := <-counts; n != b.N {
			b.Fatalf("%d events, want %d", n, b.N)
		}
	}
	b.ReportMetric(float64(b.N)*watchers/b.Elapsed().Seconds(), "events/s")
}

// A member that is removed, or whose machine has failed, closes its machine before its hub. Clients make a watch anew when its stream ends, but take one
// that is cancelled for over.
func TestAMachineThatClosesEndsStreamsAndCancelsNoWatch(t *testing.T) {
	for _, prev := range []bool{false, true} {
		t.Run(fmt.Sprintf("prev=%v", prev), func(t *testing.T) {
			x := run(t)
			for range 5 {
				x.apply(t, kv.Put([]byte("k"), nil))
			}
			x.handed(t, 6) // so that a watch from an earlier revision is behind
			s := x.stream(t)
			at := uint64(2)
			if prev {
				at = 0 // it is told of the next write, and reads what was there before it
			}
			if _, err := s.Watch(Request{ID: AutoID, Keys: kv.All(), StartRevision: at, PrevKV: prev}); err != nil {
				t.Fatal(err)
			}
			if prev {
				if r := next(t, s); !r.Created {
					t.Fatalf("%+v", r)
				}
				x.apply(t, kv.Put([]byte("k"), nil))
			}
			if err := x.machine.Close(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for {
				r, err := s.Next(ctx)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if r.Canceled {
					t.Fatalf("the watch is cancelled for good: %v", r.Err)
				}
			}
		})
	}
}
