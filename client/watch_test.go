package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

func eventsAt(revisions ...uint64) []Event {
	out := make([]Event, len(revisions))
	for i, r := range revisions {
		out[i].KV.ModRevision = r
	}
	return out
}

func TestThePlaceOfAWatchSkipsWhatWasTold(t *testing.T) {
	type step struct {
		again  bool // the watch is made anew before the update
		update wire.WatchUpdate
		want   []uint64
		next   uint64
	}
	for name, steps := range map[string][]step{
		"from now on": {
			{update: wire.WatchUpdate{Created: true, Revision: 9}, next: 10},
			{update: wire.WatchUpdate{Revision: 12, Events: eventsAt(10, 10, 12)}, want: []uint64{10, 10, 12}, next: 13},
			{again: true, update: wire.WatchUpdate{Created: true, Revision: 11}, next: 13},
			{update: wire.WatchUpdate{Revision: 14, Events: eventsAt(14)}, want: []uint64{14}, next: 15},
		},
		"made anew in the middle of a revision": {
			{update: wire.WatchUpdate{Created: true, Revision: 9}, next: 10},
			{update: wire.WatchUpdate{Fragment: true, Events: eventsAt(10, 11, 11)}, want: []uint64{10, 11, 11}, next: 11},
			{again: true, update: wire.WatchUpdate{Fragment: true, Events: eventsAt(11)}, next: 11},
			{update: wire.WatchUpdate{Fragment: true, Events: eventsAt(11, 11)}, want: []uint64{11}, next: 11},
			{again: true, update: wire.WatchUpdate{Fragment: true, Events: eventsAt(11, 11, 11, 11)}, want: []uint64{11}, next: 11},
			{update: wire.WatchUpdate{Events: eventsAt(11, 12)}, want: []uint64{11, 12}, next: 13},
		},
		"progress": {
			{update: wire.WatchUpdate{Created: true, Revision: 9}, next: 10},
			{update: wire.WatchUpdate{Revision: 20}, next: 21},
			{again: true, update: wire.WatchUpdate{Revision: 15}, next: 21},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p watchPlace
			for i, s := range steps {
				if s.again {
					p.begin()
				}
				var got []uint64
				for _, e := range p.take(&s.update) {
					got = append(got, e.KV.ModRevision)
				}
				if !slices.Equal(got, s.want) || p.next != s.next {
					t.Errorf("step %d: told %v, want %v; next is %d, want %d", i, got, s.want, p.next, s.next)
				}
			}
		})
	}
}

func TestAWatchGoesOnWhereItsNodeLeftIt(t *testing.T) {
	a, b := newFakeNode(t, 1), newFakeNode(t, 2)
	c := openTo(t, a, b)
	made := make(chan *Watcher)
	go func() {
		w, err := c.Watch(soon(t), Prefix("k"), WithPrevKV())
		if err != nil {
			t.Error(err)
		}
		made <- w
	}()
	var first, second *fakeNode
	var r *wire.WatchRequest
	select {
	case r = <-a.creates:
		first, second = a, b
	case r = <-b.creates:
		first, second = b, a
	}
	if r.StartRevision != 0 || !r.PrevKV || string(r.Key) != "k" || string(r.End) != "l" {
		t.Errorf("%+v", r)
	}
	first.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 4}, {ID: r.ID, Revision: 6, Events: eventsAt(5, 6)}}}
	w := <-made
	batch, err := w.Next(soon(t))
	if err != nil || len(batch.Events) != 2 || w.Revision() != 6 {
		t.Fatalf("%+v, %v", batch, err)
	}
	// Its last word is lost with the node.
	_ = first.server.Close()
	r = <-second.creates
	if r.StartRevision != 7 {
		t.Errorf("made anew from revision %d", r.StartRevision)
	}
	second.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 3}, {ID: r.ID, Revision: 7, Events: eventsAt(7)}}}
	if batch, err = w.Next(soon(t)); err != nil || batch.Events[0].KV.ModRevision != 7 {
		t.Fatalf("%+v, %v", batch, err)
	}
	// A node that ends its watches is left for another, or asked again.
	second.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Canceled: true, Status: wire.StatusUnavailable}}}
	if r = <-second.creates; r.StartRevision != 8 {
		t.Errorf("made again from revision %d", r.StartRevision)
	}
	second.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true}, {ID: r.ID, Canceled: true, Status: wire.StatusCompacted, CompactRevision: 20}}}
	var compacted *CompactedError
	if _, err := w.Next(soon(t)); !errors.As(err, &compacted) || compacted.Revision != 20 {
		t.Errorf("%v", err)
	}
	w.Close()
	w.Close()
}

// What a consumer does not read is not kept without bound: the watch is left, and made again when there is room.
func TestASlowConsumersWatchIsLeftAndMadeAgain(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	made := make(chan *Watcher)
	go func() {
		w, err := c.Watch(soon(t), Key("k"), WithRevision(5))
		if err != nil {
			t.Error(err)
		}
		made <- w
	}()
	r := <-n.creates
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 4}}}
	w := <-made
	large := func(revision uint64) []Event {
		e := eventsAt(revision)
		e[0].KV.Value = make([]byte, watchBuffer/4)
		return e
	}
	var updates []wire.WatchUpdate
	for revision := uint64(5); revision < 15; revision++ {
		updates = append(updates, wire.WatchUpdate{ID: r.ID, Revision: revision, Events: large(revision)})
	}
	for _, u := range updates {
		n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{u}}
	}
	paused := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.paused
	}
	for deadline := time.Now().Add(patience); !paused(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watch is not left")
		}
	}
	next := uint64(5)
	for paused() {
		batch, err := w.Next(soon(t))
		if err != nil || batch.Events[0].KV.ModRevision != next {
			t.Fatalf("%+v, %v", batch, err)
		}
		next++
	}
	again := <-n.creates
	if again.ID == r.ID || again.StartRevision < next || again.StartRevision > 10 {
		t.Errorf("made again as %+v, with %d read", again, next)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes > 2*watchBuffer {
		t.Errorf("%d bytes are kept", w.bytes)
	}
}

// A watch that is wanted twice, by its consumer who has read on and because the connection was lost, is made once: what the node tells under the
// first ID is not taken for news, and the node is told to forget it.
func TestAWatchThatIsWantedTwiceIsOne(t *testing.T) {
	h := newWatchHub(&Client{})
	w := &Watcher{hub: h, news: make(chan struct{}, 1), made: make(chan struct{})}
	w.place.next = 5
	if err := h.add(w); err != nil {
		t.Fatal(err)
	}
	h.again(w)
	wanted, _ := h.takeWork()
	var ids []int64
	for _, x := range wanted {
		ids = append(ids, h.prepare(x).ID)
	}
	if len(ids) != 2 || len(h.made) != 1 || h.made[ids[1]] != w {
		t.Fatalf("prepared as %v, made are %v", ids, h.made)
	}
	if _, unwanted := h.takeWork(); len(unwanted) != 1 || unwanted[0] != ids[0] {
		t.Errorf("the node is told to forget %v", unwanted)
	}
	part := wire.WatchUpdate{Revision: 5, Fragment: true, Events: []wire.Event{{KV: wire.KeyValue{Key: []byte("k"), ModRevision: 5}}}}
	for _, id := range ids { // the first was on its way already
		part.ID = id
		h.deliver(w, &part)
	}
	if len(w.queue) != 1 {
		t.Errorf("an event is told %d times", len(w.queue))
	}
}

// watchOn makes a watch on a node that tells no more of it than that.
func watchOn(t *testing.T, c *Client, n *fakeNode, key string) (*Watcher, *wire.WatchRequest) {
	t.Helper()
	made := make(chan *Watcher, 1)
	go func() {
		w, err := c.Watch(soon(t), Key(key))
		if err != nil {
			t.Error(err)
		}
		made <- w
	}()
	r := <-n.creates
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 4}}}
	return <-made, r
}

// refuse has a node answer the next times that a key is to be watched so, and make all other watches.
func (n *fakeNode) refuse(key string, answers ...wire.Status) {
	n.set(func(n *fakeNode) {
		n.refusal = func(r *wire.WatchRequest) wire.Status {
			if string(r.Key) != key || len(answers) == 0 {
				return wire.StatusOK
			}
			now := answers[0]
			answers = answers[1:]
			return now
		}
	})
}

// A node may have no room for another watch. Those that it has go on, under the IDs that they were made with.
func TestAWatchThatIsRefusedEndsNoOther(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	a, made := watchOn(t, c, n, "a")
	n.refuse("b", wire.StatusTooMany)
	if _, err := c.Watch(soon(t), Key("b")); !errors.Is(err, ErrTooMany) {
		t.Fatal(err)
	}
	if r := <-n.creates; string(r.Key) != "b" {
		t.Errorf("%q is asked for", r.Key)
	}
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: made.ID, Revision: 6, Events: eventsAt(6)}}}
	if b, err := a.Next(soon(t)); err != nil || b.Revision != 6 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, r := watchOn(t, c, n, "c"); string(r.Key) != "c" {
		t.Errorf("%q is asked for again", r.Key)
	}
}

// A watch that has existed is not given up when it cannot be made again at once.
func TestAWatchThatExistedIsAskedForUntilItIsMade(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	a, first := watchOn(t, c, n, "a")
	other, second := watchOn(t, c, n, "other")
	n.refuse("a", wire.StatusTooMany, wire.StatusFailed)
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: first.ID, Canceled: true, Status: wire.StatusUnavailable}}}
	var r *wire.WatchRequest
	for i := range 3 {
		if r = <-n.creates; string(r.Key) != "a" || r.StartRevision != 5 {
			t.Fatalf("attempt %d: %q from revision %d", i, r.Key, r.StartRevision)
		}
	}
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{
		{ID: r.ID, Created: true, Revision: 5}, {ID: r.ID, Revision: 6, Events: eventsAt(6)}, {ID: second.ID, Revision: 7, Events: eventsAt(7)},
	}}
	for revision, w := range map[uint64]*Watcher{6: a, 7: other} {
		if b, err := w.Next(soon(t)); err != nil || b.Revision != revision {
			t.Errorf("%+v, %v", b, err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pause != 0 {
		t.Errorf("the pause goes on from %v", a.pause)
	}
}

// What the connection, or the node as a whole, came to is a reason to go to another node.
func TestWhatIsSaidOfOneWatch(t *testing.T) {
	for status, own := range map[wire.Status]bool{
		wire.StatusUnavailable: false, wire.StatusBusy: false, wire.StatusUnknown: false,
		wire.StatusTooMany: true, wire.StatusInvalid: true, wire.StatusFailed: true, wire.StatusRefused: true, wire.Status(200): true,
	} {
		if got := ofTheWatch(refusal(status, "")); got != own {
			t.Errorf("status %d: %t", status, got)
		}
	}
	for code, own := range map[rpc.Code]bool{rpc.CodeUnauthenticated: false, rpc.CodeNotFound: false, rpc.CodeUnavailable: false, rpc.CodeTooLarge: true} {
		var err error = rpc.Errorf(code, "no")
		if refused := final(err); refused != nil {
			err = refused
		}
		if got := ofTheWatch(err); got != own {
			t.Errorf("code %v: %t", code, got)
		}
	}
}

// A watch in which nothing happens goes on behind what its node has told that it had, and not behind its last event, since when history may have been compacted.
func TestAnIdleWatchGoesOnBehindWhatItHad(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	made := make(chan *Watcher, 2)
	begin := func(o ...WatchOption) *wire.WatchRequest {
		go func() {
			w, err := c.Watch(soon(t), Key("k"), o...)
			if err != nil {
				t.Error(err)
			}
			made <- w
		}()
		return <-n.creates
	}
	idle := begin()
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: idle.ID, Created: true, Revision: 4}}}
	<-made
	// Of this one the node has told nothing yet: what it says of all is not about it.
	behind := begin(WithRevision(2))
	n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: wire.AllWatches, Revision: 50}, {ID: behind.ID, Created: true, Revision: 50}}}
	<-made
	n.failures <- rpc.Errorf(rpc.CodeUnavailable, "the node ends")
	from := map[uint64]bool{(<-n.creates).StartRevision: true, (<-n.creates).StartRevision: true}
	if !from[51] || !from[2] {
		t.Errorf("the watches go on from %v, which should be 51 and 2", from)
	}
}

// TestProgressThatNobodyReadsIsOneBatch: an idle watch that wants to hear of it costs no more the longer nobody does.
func TestProgressThatNobodyReadsIsOneBatch(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	made := make(chan *Watcher)
	go func() {
		w, err := c.Watch(soon(t), Prefix("k"), WithProgress())
		if err != nil {
			t.Error(err)
		}
		made <- w
	}()
	r := <-n.creates
	told := []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 4}}
	for revision := uint64(5); revision < 1000; revision++ {
		told = append(told, wire.WatchUpdate{ID: r.ID, Revision: revision})
	}
	told = append(told, wire.WatchUpdate{ID: r.ID, Revision: 1000, Events: eventsAt(1000)}, wire.WatchUpdate{ID: r.ID, Revision: 1001}, wire.WatchUpdate{ID: r.ID, Revision: 1002})
	n.updates <- &wire.WatchUpdates{Updates: told}
	w := <-made
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		next := w.place.next
		w.mu.Unlock()
		if next == 1003 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the watch has come to %d", next)
		}
	}
	for _, want := range []struct {
		revision uint64
		events   int
	}{{999, 0}, {1000, 1}, {1002, 0}} {
		b, err := w.Next(soon(t))
		if err != nil || b.Revision != want.revision || len(b.Events) != want.events {
			t.Errorf("%+v, %v, want %+v", b, err, want)
		}
	}
}
