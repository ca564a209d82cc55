package etcd

import (
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
)

var anEvent = &watch.Response{Events: make([]kv.Event, 1)}

// paceOf is that of a stream with so many watches.
func paceOf(t *testing.T, watches int, now time.Time) *pace {
	t.Helper()
	var p pace
	for range watches {
		if held := p.wait(&watch.Response{Created: true}, now); held != 0 {
			t.Fatalf("a watch that was made is told %v late", held)
		}
	}
	return &p
}

func (p *pace) unheld(t *testing.T, n int, now time.Time) {
	t.Helper()
	for i := range n {
		if held := p.wait(anEvent, now); held != 0 {
			t.Fatalf("response %d waits %v", i+1, held)
		}
	}
}

func TestAStreamOfManyWatchesRestsAfterARound(t *testing.T) {
	now := time.Unix(1, 0)
	p := paceOf(t, 100, now)
	p.unheld(t, 100, now)
	now = now.Add(paceRest / 4)
	held := p.wait(anEvent, now)
	if held != paceRest*3/4 {
		t.Fatalf("the round after a full one waits %v, not for the rest of %v", held, paceRest)
	}
	if held := p.wait(&watch.Response{Canceled: true}, now); held != 0 {
		t.Errorf("a watch that ends is told %v late", held)
	}
	now = now.Add(held)
	p.unheld(t, 98, now) // one was sent at the round's begin, and one watch is gone
	if held := p.wait(anEvent, now); held != paceRest {
		t.Errorf("after one response for each watch the next waits %v", held)
	}
}

func TestAStreamThatWasSilentIsNotHeldBack(t *testing.T) {
	now := time.Unix(1, 0)
	p := paceOf(t, 100, now)
	for range 3 {
		p.unheld(t, 100, now)
		now = now.Add(paceRest)
	}
}

func TestAStreamOfFewWatchesNeverRests(t *testing.T) {
	now := time.Unix(1, 0)
	p := paceOf(t, paceWatches-1, now)
	p.unheld(t, 10*paceWatches, now)
}
