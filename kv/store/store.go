package store

import (
	"errors"
	"slices"
)

// Bucket is an ordered map of its own. The values are part of the format.
type Bucket uint8

// Buckets is the number of buckets; a Bucket is below it.
const Buckets = 5

var (
	// ErrClosed is returned by a store, view or staging area that was closed or replaced, or has crashed.
	ErrClosed = errors.New("the store is closed")
	// ErrNotStaged is returned by Adopt when nothing is staged under that name.
	ErrNotStaged = errors.New("nothing is staged under that name")
)

// Disk is the place where stores live: one in force, and any number being prepared to replace it.
type Disk interface {
	// Open returns the store in force, a new empty one if there is none. What was being staged and not finished is removed.
	Open() (Store, error)
	// Stage begins a store that can be put in force later. What was staged under that name before is replaced when it is finished.
	Stage(name string) (Staging, error)
	// Staged returns the names that are finished and neither adopted nor removed, sorted.
	Staged() ([]string, error)
	// Adopt puts a finished store in force, durably and atomically, and returns it opened. The store that
	// was in force remains readable until it is closed; it must not be written to any more.
	Adopt(name string) (Store, error)
	// Discard removes what is staged under that name, if anything is.
	Discard(name string) error
}

// Store is an ordered store in force.
type Store interface {
	// View opens a consistent view of the last commit.
	View() (View, error)
	// Commit makes the batch durable, all of it or nothing. An error leaves open whether it did; the store must
	// then not be written to again.
	Commit(b *Batch) error
	// Stats tells the size of the store.
	Stats() Stats
	// Close waits for the views to be closed.
	Close() error
}

// Staging is a store that is not in force yet. It is not safe for concurrent use, but Sync may run beside Commit.
type Staging interface {
	// Commit adds a batch and keeps nothing of its slices. It need not be durable before Finish.
	Commit(b *Batch) error
	// Sync makes what was committed before it began durable, so that Finish has less to do.
	Sync() error
	// Finish makes the whole durable under the name that it was staged under.
	Finish() error
	// Abort throws it away. It does nothing after Finish.
	Abort() error
}

// View is a consistent state of the store. It is for one goroutine. The slices that it returns are valid until it is closed
// and must not be changed.
type View interface {
	// Get returns the value of a key, nil if there is none. Values are never empty.
	Get(bucket Bucket, key []byte) []byte
	// Iterate returns an iterator that is at no key yet.
	Iterate(bucket Bucket) Iterator
	Close() error
}

// Iterator walks a bucket. Each method returns the key and value that it moved to, or a nil key behind either end.
type Iterator interface {
	First() (key, value []byte)
	Last() (key, value []byte)
	// Seek moves to the first key at or behind key.
	Seek(key []byte) (k, v []byte)
	// Next and Prev move by one; they need a key to move from.
	Next() (key, value []byte)
	Prev() (key, value []byte)
}

// Stats tells the size of a store in bytes.
type Stats struct {
	// FileBytes is what the store takes.
	FileBytes int64
	// UsedBytes is what it would take without the space that is free for use again.
	UsedBytes int64
	// WrittenBytes and Commits count what was written since the store was opened.
	WrittenBytes, Commits int64
}

// Batch is a list of changes, in order. It keeps the slices that it is given.
type Batch struct {
	ops   []op
	bytes int
}

type op struct {
	bucket Bucket
	key    []byte
	value  []byte // nil deletes
}

// Grow makes room for n more changes.
func (b *Batch) Grow(n int) { b.ops = slices.Grow(b.ops, n) }

// Put sets a key to a value that is not empty.
func (b *Batch) Put(bucket Bucket, key, value []byte) {
	if len(key) == 0 || len(value) == 0 {
		panic("store: an empty key or value")
	}
	b.ops = append(b.ops, op{bucket, key, value})
	b.bytes += len(key) + len(value)
}

// Delete removes a key, if it is there.
func (b *Batch) Delete(bucket Bucket, key []byte) {
	b.ops = append(b.ops, op{bucket, key, nil})
	b.bytes += len(key)
}

// Len returns the number of changes.
func (b *Batch) Len() int { return len(b.ops) }

// Bytes returns the bytes of the keys and values.
func (b *Batch) Bytes() int { return b.bytes }

// Reset empties the batch, so that its memory can be used again.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.bytes = b.ops[:0], 0
}
