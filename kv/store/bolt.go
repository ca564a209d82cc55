package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

type boltStore struct {
	db      *bbolt.DB
	appends []Bucket
	commits atomic.Int64
	// shared is for the views, and mappedBytes what the file may grow to without a larger map.
	shared      sharing
	mappedBytes int64
}

func (s *boltStore) View() (View, error) {
	if x := s.shared.take(); x != nil {
		return &sharedView{boltView: boltView{tx: x.tx}, standing: x, from: &s.shared}, nil
	}
	if s.shared.over() {
		return nil, ErrClosed // bbolt would have us wait for all other views to close
	}
	tx, err := s.db.Begin(false)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("open a view of %s: %w", s.db.Path(), err)
	}
	return &boltView{tx: tx}, nil
}

func (s *boltStore) Commit(b *Batch) error {
	if err := s.clear(b); err != nil {
		return err
	}
	if err := s.watched(func() error { return s.update(b) }); err != nil {
		return err
	}
	s.commits.Add(1)
	return s.stand()
}

func (s *boltStore) update(b *Batch) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		var buckets [Buckets]*bbolt.Bucket
		for i := range buckets {
			buckets[i] = tx.Bucket(bucketName(Bucket(i)))
			if buckets[i] != nil && slices.Contains(s.appends, Bucket(i)) {
				buckets[i].FillPercent = appendFillPercent
			}
		}
		for i := range b.ops {
			o := &b.ops[i]
			var err error
			if buckets[o.bucket] == nil {
				if o.value == nil {
					continue
				}
				if buckets[o.bucket], err = tx.CreateBucket(bucketName(o.bucket)); err != nil {
					return err
				}
			}
			if o.value == nil {
				err = buckets[o.bucket].Delete(o.key)
			} else {
				err = buckets[o.bucket].Put(o.key, o.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if noRoom(err) {
		return noRoomError(s.db.Path(), err)
	}
	if err != nil {
		return fmt.Errorf("commit to %s: %w", s.db.Path(), err)
	}
	return nil
}

func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func noRoomError(path string, err error) error {
	return fmt.Errorf("no room for %s: %w. %s", path, err, makeRoom)
}

func (s *boltStore) Stats() Stats {
	var out Stats
	_ = s.db.View(func(tx *bbolt.Tx) error {
		out.FileBytes = tx.Size()
		// Inside of the transaction, since the file may be closed right after it.
		stats := s.db.Stats()
		// Pages that the last commit freed are free from the next one on.
		out.UsedBytes = out.FileBytes - int64(stats.FreePageN+stats.PendingPageN)*int64(s.db.Info().PageSize)
		out.WrittenBytes, out.Commits = stats.TxStats.GetPageAlloc(), s.commits.Load()
		return nil
	})
	return out
}

func (s *boltStore) Close() error {
	return errors.Join(s.shared.close(), s.db.Close())
}

// sharedView reads in a transaction that others read in too. It looks for its buckets anew: bbolt copies a small one when it opens it, so that what has rotted
// in the file since would not be seen.
type sharedView struct {
	boltView
	standing *standing
	from     *sharing
}

// Close may be called again.
func (v *sharedView) Close() error {
	x := v.standing
	if x == nil {
		return nil
	}
	v.standing = nil
	return v.from.leave(x)
}

type boltView struct {
	tx      *bbolt.Tx
	buckets [Buckets]*bbolt.Bucket
}

func (v *boltView) bucket(b Bucket) *bbolt.Bucket {
	if v.buckets[b] == nil {
		v.buckets[b] = v.tx.Bucket(bucketName(b))
	}
	return v.buckets[b]
}

func (v *boltView) Get(bucket Bucket, key []byte) []byte {
	b := v.bucket(bucket)
	if b == nil {
		return nil
	}
	return b.Get(key)
}

// Iterate returns a bbolt cursor, whose methods are those of Iterator.
func (v *boltView) Iterate(bucket Bucket) Iterator {
	b := v.bucket(bucket)
	if b == nil {
		return nothing{}
	}
	return b.Cursor()
}

// nothing iterates over a bucket that was never written to.
type nothing struct{}

func (nothing) First() (key, value []byte) { return nil, nil }
func (nothing) Last() (key, value []byte)  { return nil, nil }
func (nothing) Seek([]byte) (k, v []byte)  { return nil, nil }
func (nothing) Next() (key, value []byte)  { return nil, nil }
func (nothing) Prev() (key, value []byte)  { return nil, nil }

func (v *boltView) Close() error {
	err := v.tx.Rollback()
	if errors.Is(err, bolterrors.ErrTxClosed) {
		return nil
	}
	return err
}

type boltStaging struct {
	boltStore
	dir  *Directory
	name string
	done bool
}

// Commit shares no transaction with views, since nobody reads what is staged, and its file may outgrow its map at any time.
func (s *boltStaging) Commit(b *Batch) error { return s.update(b) }

func (s *boltStaging) Sync() error {
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.db.Path(), err)
	}
	return nil
}

func (s *boltStaging) Finish() error {
	if s.done {
		return ErrClosed
	}
	s.done = true
	if err := errors.Join(s.db.Sync(), s.db.Close()); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", s.path(), err), os.Remove(s.path()))
	}
	if err := os.Rename(s.path(), filepath.Join(s.dir.dir, s.name+stagedSuffix)); err != nil {
		return errors.Join(fmt.Errorf("finish a snapshot: %w", err), os.Remove(s.path()))
	}
	return s.dir.sync()
}

// path is the unfinished file's. A store that is closed does not tell it.
func (s *boltStaging) path() string { return filepath.Join(s.dir.dir, s.name+stagingSuffix) }

func (s *boltStaging) Abort() error {
	if s.done {
		return nil
	}
	s.done = true
	return errors.Join(s.db.Close(), os.Remove(s.path()))
}
