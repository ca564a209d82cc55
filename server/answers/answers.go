// Package answers bounds what the answers of a front end take in memory, all together, until their clients have taken them. Each of them has a bound of its own; this one
// holds however many clients ask, and however slowly they read.
package answers

import "golang.org/x/sync/semaphore"

const (
	// DefaultMaxBytes bounds the answers that were read and not taken yet.
	DefaultMaxBytes = 256 << 20
	// smallBytes is what an answer may have without being counted: what bounds the number of requests bounds such ones too.
	smallBytes = 16 << 10
)

// Bound is that of one front end.
type Bound struct {
	most int64
	held *semaphore.Weighted
}

// New makes a bound of so many bytes that nothing counts for yet.
func New(most int64) *Bound { return &Bound{most, semaphore.NewWeighted(most)} }

// Hold counts an answer of so many bytes until release is called. ok is false if there is no room: it is to be dropped then. One that is larger than all may be together
// has room if there is no other.
func (b *Bound) Hold(size int) (release func(), ok bool) {
	if size < smallBytes {
		return func() {}, true
	}
	n := min(int64(size), b.most)
	if !b.held.TryAcquire(n) {
		return nil, false
	}
	return func() { b.held.Release(n) }, true
}
