package store

import (
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// standing is a read transaction of bbolt that the views share which are opened between two commits. To begin and to end a transaction of their own they
// would need a lock that bbolt holds while it sorts the pages that a commit has freed and while it writes its meta page, which may
// wait for the disk. Reading with many cursors at a time is safe: a read transaction changes nothing but counters, which are atomic.
//
// The pages that the last commit has freed can be used again one commit later than without.
type standing struct {
	tx      *bbolt.Tx
	buckets [Buckets]*bbolt.Bucket
	views   int // guarded by the mu of sharing
}

// sharing hands the latest standing transaction out.
type sharing struct {
	mu sync.Mutex
	// latest is nil when views have to begin transactions of their own.
	latest *standing
	// unused are older ones without views, for the next commit to end, so that no reader has to.
	unused []*standing
	// waited says that somebody who has bbolt's locks waits for all transactions to end, closed that it is so for good.
	waited, closed bool
}

// take returns the latest one with one more view, nil for none.
func (s *sharing) take() *standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest != nil {
		s.latest.views++
	}
	return s.latest
}

// leave is the end of a view.
func (s *sharing) leave(x *standing) error {
	s.mu.Lock()
	x.views--
	over := x.views == 0 && x != s.latest
	if over && !s.waited {
		s.unused = append(s.unused, x)
		over = false
	}
	s.mu.Unlock()
	if !over {
		return nil
	}
	return x.end()
}

func (x *standing) end() error {
	if err := x.tx.Rollback(); err != nil {
		return fmt.Errorf("end a view: %w", err)
	}
	return nil
}

// replace makes another one the latest, and ends all that have no views. next is nil when there is to be none; waited is as in sharing.
func (s *sharing) replace(next *standing, waited bool) error {
	s.mu.Lock()
	if old := s.latest; old != nil && old.views == 0 {
		s.unused = append(s.unused, old)
	}
	if next != nil && s.closed {
		s.unused, next = append(s.unused, next), nil
	}
	s.latest, s.waited = next, waited || s.closed
	s.mu.Unlock()
	return s.sweep()
}

// close shares no more.
func (s *sharing) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.replace(nil, true)
}

// sweep ends those without views.
func (s *sharing) sweep() error {
	s.mu.Lock()
	over := s.unused
	s.unused = nil
	s.mu.Unlock()
	var err error
	for _, x := range over {
		err = errors.Join(err, x.end())
	}
	return err
}

// stand begins a transaction for the views to come.
func (s *boltStore) stand() error {
	tx, err := s.db.Begin(false)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return s.shared.close()
	}
	if err != nil {
		return fmt.Errorf("open a view of %s: %w", s.db.Path(), err)
	}
	x := &standing{tx: tx}
	for i := range x.buckets {
		x.buckets[i] = tx.Bucket(bucketName(Bucket(i)))
	}
	return s.shared.replace(x, false)
}

const (
	// mostDepth is how many pages one change may touch on its way from the root.
	mostDepth = 8
	// growthFactor is how much more a record may take than its key and value, as pages are not full, and changeBytes what it takes besides.
	growthFactor, changeBytes = 4, 64
	// freeListPart is the part of the file, as one in so many, that the list of its free pages may take.
	freeListPart = 128
)

// outgrows tells whether a commit may need a larger map, at the worst: bbolt makes one only when no transaction is open.
func outgrows(b *Batch, fileBytes, mappedBytes int64, pageBytes int) bool {
	changes := int64(len(b.ops))
	moved := min(changes*mostDepth*int64(pageBytes), fileBytes)
	added := growthFactor*int64(b.bytes) + changes*changeBytes + fileBytes/freeListPart + growBytes
	return fileBytes+moved+added > mappedBytes
}

// clear makes way for a commit: transactions that nobody reads in are ended, and if the file may outgrow its map, no new ones are shared.
func (s *boltStore) clear(b *Batch) error {
	// Only commits replace the latest, and there is one at a time.
	s.shared.mu.Lock()
	latest := s.shared.latest
	s.shared.mu.Unlock()
	if latest != nil && outgrows(b, latest.tx.Size(), s.mappedBytes, s.db.Info().PageSize) {
		return s.shared.replace(nil, true)
	}
	return s.shared.sweep()
}
