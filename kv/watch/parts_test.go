package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/kv"
)

// observed is a store that counts the versions that are read, none of which may be with the hub's mutex held.
type observed struct {
	Store
	t    *testing.T
	hub  *Hub
	gets int
	// then is done after each read.
	then func()
}

func (o *observed) Get(ctx context.Context, key []byte, revision uint64) (kv.GetResult, error) {
	if !o.hub.mu.TryLock() {
		o.t.Error("a version is read with the mutex of the hub held")
	} else {
		o.hub.mu.Unlock()
	}
	o.gets++
	r, err := o.Store.Get(ctx, key, revision)
	if o.then != nil {
		o.then()
	}
	return r, err
}

const (
	partBytes = 2500
	// prevBytes is such that two deletions fit into a part.
	prevBytes = 1000
)

// deletion is a world in which six keys with values are deleted by one transaction, which a watch is about to be told.
func deletion(t *testing.T, r Request) (*world, *observed, *played, *received) {
	w := newWorld(t, 1)
	w.hub.options = Options{QueueBytes: 1 << 20, PendingBytes: 1 << 20, PendingEvents: 100, HeldBytes: 1 << 20, ResponseBytes: partBytes, RevisionBytes: 1 << 20, MaxWatches: 10, RangeBytes: 1 << 10}
	store := &observed{Store: w.machine, t: t, hub: w.hub}
	w.hub.store = store
	for _, k := range "abcdef" {
		w.apply(kv.Put([]byte(string(k)), make([]byte, prevBytes)))
	}
	w.hub.handOut()
	s, err := w.hub.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	r.ID, r.Keys, r.PrevKV = 1, kv.All(), true
	if _, err := s.Watch(r); err != nil {
		t.Fatal(err)
	}
	if r.StartRevision == 0 {
		r.StartRevision = 8
	}
	x := &received{request: r}
	p := &played{stream: s.(*stream), watches: map[int64]*received{1: x}}
	for !x.created {
		w.pull(p)
	}
	w.apply(kv.DeleteRange(kv.All()))
	return w, store, p, x
}

// parts pulls all there is and gives the number of events of each response.
func (w *world) parts(p *played, x *received) []int {
	var out []int
	for {
		before := len(x.events)
		again := w.pull(p)
		if n := len(x.events) - before; n > 0 {
			out = append(out, n)
		}
		if !again {
			return out
		}
	}
}

// One deletion may have far more in the versions before than a response holds: they are read and delivered part by part.
func TestVersionsBeforeAreReadAsFarAsAPartGoes(t *testing.T) {
	for name, behind := range map[string]bool{"in step": false, "behind": true} {
		t.Run(name, func(t *testing.T) {
			w, store, p, x := deletion(t, Request{Fragment: true})
			if behind {
				w.hub.gap = true
			}
			w.apply(kv.Put([]byte("a"), make([]byte, prevBytes))) // a revision more, in the same batch
			w.hub.handOut()
			for len(x.events) < 7 {
				gets, before := store.gets, len(x.events)
				again := w.pull(p)
				size := 0
				for i := range x.events[before:] {
					size += responseSize(&x.events[before+i])
				}
				if n := len(x.events) - before; size > partBytes || store.gets-gets > n+1 {
					t.Fatalf("a part of %d events has %d bytes, and %d versions were read for it", n, size, store.gets-gets)
				}
				if last := len(x.events) == 7; x.half == last && len(x.events) > before {
					t.Fatalf("behind %d events: more follows: %t", len(x.events), x.half)
				}
				if !again {
					t.Fatalf("%d events came", len(x.events))
				}
			}
			w.check(x)
		})
	}
}

// A watch that takes no fragments is told a revision as a whole, however large, and no more than that at a time.
func TestVersionsBeforeOfOneRevisionAreHeldAtATime(t *testing.T) {
	w, store, p, x := deletion(t, Request{})
	for range 3 {
		w.apply(kv.Put([]byte("a"), make([]byte, prevBytes)))
	}
	w.apply(kv.Put([]byte("b"), nil))
	w.hub.handOut()
	// The third put of a and that of b are small enough to come together.
	if got := fmt.Sprint(w.parts(p, x)); got != "[6 1 1 2]" {
		t.Errorf("the events came in responses of %s", got)
	}
	if store.gets > 6+2+2 {
		t.Errorf("%d versions were read", store.gets)
	}
	w.check(x)
}

// A revision with more in the versions before than may be held ends a watch that wants it as a whole, once all before it was told, and no other watch.
func TestARevisionPastTheBoundEndsItsWatch(t *testing.T) {
	const six = 6 * (eventBytes + 2 + prevBytes)
	for bound, canceled := range map[int]bool{six - 1: true, six: false} {
		t.Run(fmt.Sprint(canceled), func(t *testing.T) {
			w, store, p, x := deletion(t, Request{})
			w.hub.options.RevisionBytes = bound
			w.hub.handOut()
			other := Request{ID: 2, Keys: kv.All(), PrevKV: true, Fragment: true, StartRevision: 8}
			if _, err := p.stream.Watch(other); err != nil {
				t.Fatal(err)
			}
			p.watches[2] = &received{request: other}
			w.parts(p, x)
			w.check(p.watches[2])
			if !canceled {
				w.check(x)
			}
			if (x.canceled != nil) != canceled || canceled && (!errors.Is(x.canceled.Err, ErrRevisionTooLarge) || len(x.events) > 0) {
				t.Errorf("%d events, cancelled %+v", len(x.events), x.canceled)
			}
			if store.gets > 6+8 { // one more for each part than is told in it
				t.Errorf("%d versions were read", store.gets)
			}
		})
	}
	// Revisions before it, in the same batch, are told first.
	w, _, p, x := deletion(t, Request{StartRevision: 2})
	w.hub.options.ResponseBytes, w.hub.options.RevisionBytes = 2*six, six+3*prevBytes
	w.hub.handOut()
	if got := w.parts(p, x); !slices.Equal(got, []int{6, 6}) {
		t.Errorf("the events came in responses of %v", got)
	}
	w, _, p, x = deletion(t, Request{StartRevision: 2})
	w.hub.options.ResponseBytes, w.hub.options.RevisionBytes = 2*six, six-1
	w.hub.handOut()
	if got := w.parts(p, x); !slices.Equal(got, []int{6}) || x.canceled == nil || !errors.Is(x.canceled.Err, ErrRevisionTooLarge) {
		t.Errorf("the events came in responses of %v, cancelled %+v", got, x.canceled)
	}
}

// What is compacted between the parts of a response is left out of those that follow; their events are not.
func TestCompactionBetweenParts(t *testing.T) {
	w, _, p, x := deletion(t, Request{Fragment: true})
	w.hub.handOut()
	w.pull(p)
	w.apply(kv.Compact(8))
	if err := w.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	w.parts(p, x)
	w.check(x)
	if len(x.events) != 6 || x.canceled != nil || x.half {
		t.Fatalf("%d events, cancelled %v, more to come: %t", len(x.events), x.canceled, x.half)
	}
}

// A stream or a watch that ends while a part is read, or between two, tells nothing more.
func TestTheEndBetweenParts(t *testing.T) {
	w, _, p, x := deletion(t, Request{Fragment: true})
	w.hub.handOut()
	w.pull(p)
	p.stream.Cancel(1)
	if w.parts(p, x); len(x.events) != 2 || x.canceled == nil {
		t.Errorf("behind a cancelled watch: %d events, %v", len(x.events), x.canceled)
	}
	w, store, p, _ := deletion(t, Request{Fragment: true})
	w.hub.handOut()
	store.then = p.stream.Close
	if r, _, err := p.stream.step(context.Background()); r != nil || err != nil {
		t.Errorf("a stream that was closed tells %+v, %v", r, err)
	}
	if _, _, err := p.stream.step(context.Background()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
