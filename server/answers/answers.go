// Package answers bounds what the answers of a node's front ends take in memory, all together, until their clients have taken them. Each of them has a bound of its own; this one
// holds however many clients ask, and however slowly they read.
package answers

import (
	"container/list"
	"sync"
	"time"
)

const (
	// DefaultMaxBytes bounds the answers that were read and not taken yet.
	DefaultMaxBytes = 256 << 20
	// DefaultPatience is how long who takes an answer slowly keeps its place where there is no room for others.
	DefaultPatience = 30 * time.Second
	// SmallBytes is what an answer may have without being counted: what bounds the number of requests bounds such ones too.
	SmallBytes = 16 << 10
)

// Bound is that of one node.
type Bound struct {
	most     int64
	patience time.Duration

	mu   sync.Mutex
	held int64
	// endable are the answers that their front end can end, the oldest first.
	endable list.List // of *answer
}

type answer struct {
	bytes int64
	since time.Time
	end   func()
	// Guarded by Bound.mu.
	place    *list.Element // in endable
	released bool
}

// New makes a bound of so many bytes that nothing counts for yet.
func New(most int64, patience time.Duration) *Bound { return &Bound{most: most, patience: patience} }

// Hold counts an answer of so many bytes until release is called; further calls do nothing. ok is false if there is no room: it is to be dropped then. One that is larger than
// all may be together has room if there is no other.
//
// end, if not nil, is for an answer that its client may take as slowly as it likes: it is called, once at most, when another one needs the room and this one has had its
// time. The answer counts no more then. Where there is a deadline for taking answers nobody needs it.
func (b *Bound) Hold(size int, end func()) (release func(), ok bool) {
	if size < SmallBytes {
		return func() {}, true
	}
	a := &answer{bytes: min(int64(size), b.most), since: time.Now(), end: end}
	for {
		slowest, ok := b.take(a)
		if ok {
			return func() { b.release(a) }, true
		}
		if slowest == nil {
			return nil, false
		}
		slowest.end()
		b.release(slowest)
	}
}

// take counts an answer if there is room for it. Otherwise it returns one that is to be ended, if any has had its time.
func (b *Bound) take(a *answer) (slowest *answer, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+a.bytes <= b.most {
		b.held += a.bytes
		if a.end != nil {
			a.place = b.endable.PushBack(a)
		}
		return nil, true
	}
	oldest := b.endable.Front()
	if oldest == nil || time.Since(oldest.Value.(*answer).since) < b.patience {
		return nil, false
	}
	slowest = oldest.Value.(*answer)
	b.unlist(slowest)
	return slowest, false
}

func (b *Bound) release(a *answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.released {
		return
	}
	a.released = true
	b.held -= a.bytes
	b.unlist(a)
}

// unlist takes an answer out of endable. The caller holds mu.
func (b *Bound) unlist(a *answer) {
	if a.place != nil {
		b.endable.Remove(a.place)
		a.place = nil
	}
}
