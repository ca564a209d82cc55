package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// standing is a read transaction of bbolt that the views share which are opened between two commits. To begin and to end a transaction of their own they
// would need a lock that bbolt holds while it sorts the pages that a commit has freed and while it writes its meta page, which may
// wait for the disk. Reading with many buckets and cursors at a time is safe: a read transaction changes nothing but counters, which are atomic.
//
// The pages that the last commit has freed can be used again one commit later than without.
type standing struct {
	tx    *bbolt.Tx
	views int // guarded by the mu of sharing
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

// over tells whether the store is being closed.
func (s *sharing) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// sweep ends those without views. It does so side by side: while a commit waits for all of them, a view that waits for the commit holds the lock
// that each needs last.
func (s *sharing) sweep() error {
	s.mu.Lock()
	over := s.unused
	s.unused = nil
	s.mu.Unlock()
	errs := make([]error, len(over))
	var ending sync.WaitGroup
	for i, x := range over {
		ending.Go(func() { errs[i] = x.end() })
	}
	ending.Wait()
	return errors.Join(errs...)
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
	return s.shared.replace(&standing{tx: tx}, false)
}

const (
	// mostDepth is how many pages one change may add at most, one on each level of its bucket, beside those that it moves.
	mostDepth = 8
	// growthFactor is how much more a record may take than its key and value, as pages are not full, and changeBytes what it takes besides.
	growthFactor, changeBytes = 4, 64
	// freeListPart is the part of the file, as one in so many, that the list of its free pages may take.
	freeListPart = 128
	// waitLimit is how long a commit may take before what it could be waiting for is taken out of its way.
	waitLimit = time.Second
)

// outgrows tells whether a commit may need a larger map, at the worst: bbolt makes one only when no transaction is open. A commit writes each page
// that it changes anew, with the neighbours that it joins it with, and a page is as large as the records on it. So it may move all that the file
// holds, whatever it changes. When these are split, a page may be as good as empty, but of two neighbours one is half full.
func outgrows(b *Batch, fileBytes, mappedBytes int64, pageBytes int) bool {
	changes := int64(len(b.ops))
	moved := fileBytes + min(changes*mostDepth*int64(pageBytes), (growthFactor-1)*fileBytes)
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

// watched runs a commit. Should it need a larger map after all, it would wait for ever for the transaction that stands, which only the next
// commit ends. So after waitLimit nothing is shared any more, and what stands is ended, by the last of its views if it has any. Views
// that are opened from then on begin transactions of their own, behind the commit if it waits for its map.
func (s *boltStore) watched(commit func() error) (err error) {
	var late error
	over := make(chan struct{})
	watch := time.AfterFunc(waitLimit, func() {
		defer close(over)
		late = s.shared.replace(nil, true)
	})
	defer func() {
		// Whoever commits shares again behind it.
		if !watch.Stop() {
			<-over
			err = errors.Join(err, late)
		}
	}()
	return commit()
}
