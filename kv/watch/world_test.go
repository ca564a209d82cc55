package watch

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// world is a hub on a real machine whose goroutine is the test: events are handed out, and streams pulled, when it says so. The machine follows another one,
// whose snapshots it is sent when it has lagged.
type world struct {
	*rand.Rand
	t               *testing.T
	hub             *Hub
	leader, machine *kv.Machine
	next            raft.Index
	lags            bool
	history         []kv.Event // all there ever was
	streams         []*played
	seen            map[string]int
	// meddles says that others act while a step reads, which busy says is so now.
	meddles, busy bool
}

// played is a stream with what came of its watches.
type played struct {
	stream  *stream
	watches map[int64]*received
}

type received struct {
	request  Request
	created  bool
	asked    bool // to be cancelled
	canceled *Response
	events   []kv.Event
	// half says that the last response was a fragment that others follow.
	half bool
	// told is the revision of the last response without events.
	told uint64
}

// Applied and Replaced let the world keep what happens.
func (w *world) Applied(c kv.Changes) { w.history = append(w.history, c.Events...) }

func (w *world) Replaced(_, _ uint64, _ []kv.Lease) {}

func newWorld(t *testing.T, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 7))
	return worldOf(t, random, Options{
		QueueBytes: 1 + random.IntN(6000), PendingBytes: 1 + random.IntN(3000), PendingEvents: 1 + random.IntN(20), ResponseBytes: 200 + random.IntN(1000),
		HeldBytes: 1 + random.IntN(20_000),
	})
}

func worldOf(t *testing.T, random *rand.Rand, o Options) *world {
	t.Helper()
	w := &world{Rand: random, t: t, hub: NewHub(o), next: 1, seen: map[string]int{}}
	w.leader, w.machine = w.open(w), w.open(w.hub)
	w.hub.store = meddled{w.machine, w}
	w.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 2}) // from which on there are leases
	w.hub.handOut()
	return w
}

func (w *world) open(o kv.Observer) *kv.Machine {
	w.t.Helper()
	m, err := kv.Open(kv.Options{Disk: store.NewMemory(), Synchronous: true, Observer: o})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = m.Close() })
	return m
}

func (w *world) entry(kind raft.EntryType, data []byte) {
	w.t.Helper()
	e := []raft.Entry{{Term: 1, Index: w.next, Type: kind, Data: data}}
	w.next++
	if _, err := w.leader.Apply(e); err != nil {
		w.t.Fatal(err)
	}
	if w.lags {
		return
	}
	if _, err := w.machine.Apply(e); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(c kv.Command) {
	w.t.Helper()
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.entry(raft.EntryNormal, data)
}

// install ends the lag of the machine with a snapshot of the other one.
func (w *world) install() {
	w.t.Helper()
	snapshot, err := w.leader.Snapshot(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	stage, err := w.machine.Stage(snapshot.Meta())
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = snapshot.WriteTo(stage)
	if err := errors.Join(err, stage.Commit(), w.machine.Install(snapshot.Meta()), snapshot.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.lags = false
	w.seen["installed"]++
}

// succeed makes the state that of a new cluster.
func (w *world) succeed() {
	w.t.Helper()
	o := kv.RestoreOptions{BumpRevision: w.Uint64N(20), MarkCompacted: w.IntN(2) == 0}
	for _, m := range []*kv.Machine{w.leader, w.machine} {
		if _, err := m.Succeed(o); err != nil {
			w.t.Fatal(err)
		}
	}
	w.seen["succeeded"]++
}

// meddled is a store that others use before and behind each read of a step.
type meddled struct {
	Store
	world *world
}

func (m meddled) Events(ctx context.Context, r kv.EventsRequest) (events []kv.Event, next uint64, err error) {
	m.world.meddle()
	defer m.world.meddle()
	return m.Store.Events(ctx, r)
}

func (m meddled) Get(ctx context.Context, key []byte, revision uint64) (kv.GetResult, error) {
	m.world.meddle()
	defer m.world.meddle()
	return m.Store.Get(ctx, key, revision)
}

func (w *world) meddle() {
	if !w.meddles || w.busy {
		return
	}
	w.busy = true
	for w.IntN(3) == 0 {
		w.act()
	}
	w.busy = false
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
	switch w.IntN(9) {
	case 6:
		w.apply(kv.GrantLease(1, 10))
	case 7:
		w.apply(kv.Transaction(kv.Txn{Success: []kv.Op{{Kind: kv.OpPut, Keys: kv.One(w.key()), Value: make([]byte, w.IntN(100)), Lease: 1}}}))
	case 8:
		w.apply(kv.RevokeLease(1))
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
		if got.Type != e.Type || !sameKV(&got.KV, &e.KV) {
			w.t.Fatalf("%+v: event %d is %+v, want %+v", x.request, i, got, e)
		}
		switch {
		case got.Prev == nil && e.Prev != nil && e.KV.ModRevision <= compacted: // it may have been given up before it was read
		case (got.Prev == nil) != (e.Prev == nil), got.Prev != nil && !sameKV(got.Prev, e.Prev):
			w.t.Fatalf("%+v: event %d has the previous version %+v, want %+v", x.request, i, got.Prev, e.Prev)
		}
	}
}

func sameKV(a, b *kv.KeyValue) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision && a.ModRevision == b.ModRevision &&
		a.Version == b.Version && a.Lease == b.Lease
}

// checkReason looks at why a watch has ended: it was asked for, or what it was to see next was given up, and it is told from where on there is more.
func (w *world) checkReason(x *received) {
	w.t.Helper()
	r := x.canceled
	if r == nil {
		return
	}
	has := x.request.StartRevision - 1
	if n := len(x.events); n > 0 {
		has = max(has, x.events[n-1].KV.ModRevision)
	}
	_, compacted := w.machine.Revision()
	asked := x.asked && r.Err == nil && r.CompactRevision == 0
	lost := !x.asked && errors.Is(r.Err, kv.ErrCompacted) && has+1 < r.CompactRevision && r.CompactRevision <= compacted
	if !asked && !lost {
		w.t.Fatalf("%+v, which has all up to %d, was cancelled (asked for: %t): %+v", x.request, has, x.asked, r)
	}
}

// act is something that happens beside the consumers.
func (w *world) act() {
	w.t.Helper()
	s := w.streams[w.IntN(len(w.streams))]
	switch n := w.IntN(30); {
	case n < 16:
		w.write()
	case n < 22:
		w.handOut()
	case n < 24:
		w.watch(s)
	case n == 24:
		for id := range int64(len(s.watches)) {
			if w.IntN(len(s.watches)) == 0 {
				s.watches[id].asked = s.stream.Cancel(id) || s.watches[id].asked
				break
			}
		}
	case n == 25 && w.IntN(4) == 0:
		revision, compacted := w.machine.Revision()
		w.apply(kv.Compact(compacted + w.Uint64N(revision-compacted+1)))
		_, compacted = w.machine.Revision()
		if err := w.machine.Scrub(context.Background(), compacted); err != nil {
			w.t.Fatal(err)
		}
	case n == 26:
		w.hub.Progress()
	case n == 27:
		s.stream.RequestProgress()
	case n == 28 && w.lags:
		w.install()
	case n == 28:
		w.lags = w.IntN(4) == 0
	case n == 29 && !w.lags && w.IntN(20) == 0:
		w.succeed()
	}
}
