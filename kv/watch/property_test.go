package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// world is a hub on a real machine whose goroutine is the test: events are handed out, and streams pulled, when it says so.
type world struct {
	*rand.Rand
	t       *testing.T
	hub     *Hub
	machine *kv.Machine
	next    raft.Index
	history []kv.Event // all there ever was
	streams []*played
	seen    map[string]int
}

// played is a stream with what came of its watches.
type played struct {
	stream  *stream
	watches map[int64]*received
}

type received struct {
	request  Request
	created  bool
	canceled *Response
	events   []kv.Event
	// half says that the last response was a fragment that others follow.
	half bool
	// told is the revision of the last response without events.
	told uint64
}

// Applied and Replaced let the world keep what the hub is told.
func (w *world) Applied(c kv.Changes) {
	w.history = append(w.history, c.Events...)
	w.hub.Applied(c)
}

func (w *world) Replaced(revision, compacted uint64, leases []kv.Lease) {
	w.hub.Replaced(revision, compacted, leases)
}

func newWorld(t *testing.T, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 7))
	w := &world{Rand: random, t: t, next: 1, seen: map[string]int{}}
	w.hub = NewHub(Options{
		QueueBytes: 1 + random.IntN(6000), PendingBytes: 1 + random.IntN(3000), PendingEvents: 1 + random.IntN(20), ResponseBytes: 200 + random.IntN(1000),
		HeldBytes: 1 + random.IntN(20_000),
	})
	var err error
	w.machine, err = kv.Open(kv.Options{Disk: store.NewMemory(), Synchronous: true, Observer: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.machine.Close() })
	w.hub.store = w.machine
	w.hub.handOut()
	return w
}

func (w *world) apply(c kv.Command) {
	w.t.Helper()
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.machine.Apply([]raft.Entry{{Term: 1, Index: w.next, Type: raft.EntryNormal, Data: data}}); err != nil {
		w.t.Fatal(err)
	}
	w.next++
}

func (w *world) key() []byte { return []byte{"abcdef"[w.IntN(6)]} }

func (w *world) keys() kv.KeyRange {
	switch w.IntN(4) {
	case 0:
		return kv.All()
	case 1:
		return kv.Span([]byte("b"), []byte("e"))
	case 2:
		return kv.Span(w.key(), []byte{0})
	}
	return kv.One(w.key())
}

func (w *world) write() {
	switch w.IntN(6) {
	case 0:
		w.apply(kv.Delete(w.key()))
	case 1:
		w.apply(kv.DeleteRange(w.keys()))
	case 2, 3:
		var t kv.Txn
		for i := range 1 + w.IntN(6) {
			t.Success = append(t.Success, kv.PutOp([]byte{"abcdef"[i]}, make([]byte, w.IntN(100))))
		}
		w.apply(kv.Transaction(t))
	default:
		w.apply(kv.Put(w.key(), make([]byte, w.IntN(100))))
	}
}

func (w *world) watch(s *played) {
	revision, _ := w.machine.Revision()
	r := Request{ID: AutoID, Keys: w.keys(), PrevKV: w.IntN(3) == 0, NoPut: w.IntN(6) == 0, NoDelete: w.IntN(6) == 0,
		Fragment: w.IntN(3) == 0, ProgressNotify: w.IntN(2) == 0}
	if w.IntN(2) == 0 {
		r.StartRevision = 1 + w.Uint64N(revision+3)
	}
	id, err := s.stream.Watch(r)
	if errors.Is(err, ErrEmptyRange) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if r.StartRevision == 0 {
		r.StartRevision = revision + 1
	}
	if s.watches[id] != nil {
		w.t.Fatalf("the ID %d is given out twice", id)
	}
	s.watches[id] = &received{request: r}
}

// pull takes one step of a stream, and tells whether there may be more.
func (w *world) pull(s *played) bool {
	r, again, err := s.stream.step(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if r == nil {
		return again
	}
	for id, x := range s.watches {
		if x.half && s.stream.watchers[id] != nil && (id != r.ID || len(r.Events) == 0 && !r.Canceled) {
			w.t.Fatalf("between fragments of watch %d: %+v", id, r)
		}
	}
	if r.ID == NoID {
		w.seen["own progress"]++
		for _, x := range s.watches {
			w.progress(x, r.Revision)
		}
		return true
	}
	x := s.watches[r.ID]
	switch {
	case x == nil || x.canceled != nil:
		w.t.Fatalf("a response for a watch that is not there: %+v", r)
	case x.created == r.Created:
		w.t.Fatalf("a watch is created first and once: %+v", r)
	case r.Canceled:
		x.canceled = r
		if r.CompactRevision > 0 {
			w.seen["compacted"]++
		}
		return true
	case len(r.Events) == 0:
		if x.created {
			w.seen["progress"]++
			w.progress(x, r.Revision)
		}
		x.created = true
		return true
	}
	first, last := r.Events[0].KV.ModRevision, r.Events[len(r.Events)-1].KV.ModRevision
	if n := len(x.events); n > 0 && !x.half && x.events[n-1].KV.ModRevision >= first {
		w.t.Fatalf("revision %d is split or comes again", first)
	}
	if first <= x.told {
		w.t.Fatalf("an event of revision %d after progress up to %d", first, x.told)
	}
	if r.Fragment {
		w.seen["fragment"]++
		if !x.request.Fragment {
			w.t.Fatal("a fragment that was not asked for")
		}
	}
	if r.Revision < last {
		w.t.Fatalf("events of revision %d in a response of revision %d", last, r.Revision)
	}
	x.half = r.Fragment
	x.events = append(x.events, r.Events...)
	return true
}

// handOut hands out, and looks at what the watches hold afterwards.
func (w *world) handOut() {
	w.t.Helper()
	before := w.hub.held
	w.hub.handOut()
	if w.hub.held < before {
		w.seen["shed"]++
	}
	held, found := 0, map[*shared]int{}
	for s := range w.hub.streams {
		for _, x := range s.watchers {
			for _, c := range x.pending {
				if found[c.shared]++; found[c.shared] == 1 {
					held += c.shared.bytes
				}
			}
		}
	}
	for c, holders := range found {
		if c.holders != holders {
			w.t.Fatalf("a chunk has %d holders, and knows of %d", holders, c.holders)
		}
	}
	if held != w.hub.held || held > w.hub.options.HeldBytes {
		w.t.Fatalf("the watches hold %d bytes, count %d, and are to hold %d at most", held, w.hub.held, w.hub.options.HeldBytes)
	}
}

// progress is told to a watch. A client goes on behind it when the connection breaks, so it is not before what the watch has had, nor before where it begins.
func (w *world) progress(x *received, revision uint64) {
	w.t.Helper()
	if x.canceled != nil {
		return
	}
	has := x.request.StartRevision - 1
	if n := len(x.events); n > 0 {
		has = max(has, x.events[n-1].KV.ModRevision)
	}
	if revision < has {
		w.t.Fatalf("progress up to %d, when the watch has all up to %d", revision, has)
	}
	x.told = max(x.told, revision)
}

// expected is what a watch has to see of the history.
func (w *world) expected(r Request) []kv.Event {
	var out []kv.Event
	before := map[string]kv.KeyValue{}
	for _, e := range w.history {
		k := string(e.KV.Key)
		prev, exists := before[k]
		if e.Type == kv.EventPut {
			before[k] = e.KV
		} else {
			delete(before, k)
		}
		if e.KV.ModRevision < r.StartRevision || !r.Keys.Contains(e.KV.Key) || e.Type == kv.EventPut && r.NoPut || e.Type == kv.EventDelete && r.NoDelete {
			continue
		}
		if r.PrevKV && exists {
			e.Prev = &prev
		}
		out = append(out, e)
	}
	return out
}

func (w *world) check(x *received) {
	w.t.Helper()
	want := w.expected(x.request)
	switch {
	case len(x.events) > len(want):
		w.t.Fatalf("%+v: %d events, want %d", x.request, len(x.events), len(want))
	case len(x.events) < len(want) && x.canceled == nil:
		w.t.Fatalf("%+v: %d events, want %d; the first that is missing: %+v", x.request, len(x.events), len(want), want[len(x.events)])
	}
	_, compacted := w.machine.Revision()
	for i, got := range x.events {
		e := want[i]
		if got.Type != e.Type || !bytes.Equal(got.KV.Key, e.KV.Key) || got.KV.ModRevision != e.KV.ModRevision || !bytes.Equal(got.KV.Value, e.KV.Value) {
			w.t.Fatalf("%+v: event %d is %+v, want %+v", x.request, i, got, e)
		}
		switch {
		case got.Prev == nil && e.Prev != nil && e.KV.ModRevision <= compacted: // it may have been given up before it was read
		case (got.Prev == nil) != (e.Prev == nil), got.Prev != nil && got.Prev.ModRevision != e.Prev.ModRevision:
			w.t.Fatalf("%+v: event %d has the previous version %+v, want %+v", x.request, i, got.Prev, e.Prev)
		}
	}
}

// TestWatchesAgainstHistory: whatever the bounds, the pace of the consumers, compaction and progress, a watch sees the history, in
// order, without a gap or a repeat, and revisions as a whole.
func TestWatchesAgainstHistory(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 3 {
				s, err := w.hub.NewStream()
				if err != nil {
					t.Fatal(err)
				}
				w.streams = append(w.streams, &played{stream: s.(*stream), watches: map[int64]*received{}})
			}
			for range 600 {
				s := w.streams[w.IntN(len(w.streams))]
				switch n := w.IntN(40); {
				case n < 16:
					w.write()
				case n < 22:
					w.handOut()
				case n < 34:
					w.pull(s)
				case n < 36:
					w.watch(s)
				case n == 36:
					for id := range int64(len(s.watches)) {
						if w.IntN(len(s.watches)) == 0 {
							s.stream.Cancel(id)
							break
						}
					}
				case n == 37 && w.IntN(4) == 0:
					revision, compacted := w.machine.Revision()
					w.apply(kv.Compact(compacted + w.Uint64N(revision-compacted+1)))
					if err := w.machine.FlushNow(); err != nil {
						t.Fatal(err)
					}
				case n == 38:
					w.hub.Progress()
				case n == 39:
					s.stream.RequestProgress()
				}
			}
			w.handOut()
			for _, s := range w.streams {
				for w.pull(s) {
				}
				for _, x := range s.watches {
					w.check(x)
				}
			}
			if st := w.hub.Stats(); st.Behind != 0 || w.hub.held != 0 {
				t.Errorf("%+v and %d bytes held after everything was pulled", st, w.hub.held)
			}
			for k, n := range w.seen {
				seen[k] += n
			}
		})
	}
	for _, what := range []string{"own progress", "progress", "fragment", "compacted", "shed"} {
		if seen[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

// TestIntervalsAgainstAList inserts and removes ranges and looks keys up.
func TestIntervalsAgainstAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	tree := newIntervals()
	list := map[span]*group{}
	text := func() []byte { return fmt.Appendf(nil, "%02d", random.IntN(40)) }
	for range 5000 {
		s := spanOf(kv.Span(text(), text()))
		if random.IntN(10) == 0 {
			s = spanOf(kv.Span(text(), []byte{0}))
		}
		if list[s] == nil {
			list[s] = &group{}
			tree.insert(s, list[s])
		} else {
			delete(list, s)
			tree.remove(s)
		}
		key := string(text())
		found := map[*group]bool{}
		tree.find(key, func(g *group) { found[g] = true })
		for s, g := range list {
			if want := s.start <= key && s.endsBehind(key); found[g] != want {
				t.Fatalf("%+v holds %q: %t, want %t", s, key, found[g], want)
			}
			delete(found, g)
		}
		if len(found) > 0 {
			t.Fatal("a range that was removed is found")
		}
	}
}
