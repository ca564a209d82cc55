package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/kv/store"
)

// ErrDefragmenting is returned by Defragment while another one is under way.
var ErrDefragmenting = errors.New("the store is being defragmented already")

const (
	// defragmentName is what the new store is staged under.
	defragmentName = "defragment"
	// defragmentRest is how many records are left for the last step, during which nothing is flushed.
	defragmentRest = 4096
)

// Defragment gives space that is free inside of the store's file back to the file system. A bbolt file never shrinks, so
// everything is copied to a new one, which then takes its place. Reads and writes go on: records never change once they are
// written, and none is removed meanwhile, so that what was written during the copy is exactly the records of later revisions. Only flushes wait,
// and only for the last few records; Apply goes on into the overlay. The file system needs room for the copy. Errors:
// ErrDefragmenting, ErrClosed, the context's, and those of the disk, after which the store is as it was.
func (m *Machine) Defragment(ctx context.Context) (err error) {
	c, err := m.beginCopy()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.staging.Abort())
		}
		m.endCopy()
	}()
	if err := c.copyBucket(ctx, bucketIndex); err != nil {
		return err
	}
	if err := c.copyBucket(ctx, bucketRecords); err != nil {
		return err
	}
	for more := true; more; {
		if more, err = c.copyLater(ctx, defragmentRest); err != nil {
			return err
		}
	}
	if err := c.staging.Sync(); err != nil {
		return err
	}
	return m.switchTo(ctx, c)
}

// storeCopy is a store that is being copied.
type storeCopy struct {
	from    store.Store
	staging store.Staging
	batch   store.Batch
	// revision is the one up to which all records are there.
	revision uint64
}

func (m *Machine) beginCopy() (*storeCopy, error) {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	if m.copying {
		return nil, ErrDefragmenting
	}
	if _, err := m.flush(whenWorth); err != nil {
		return nil, err
	}
	staging, err := m.disk.Stage(defragmentName)
	if err != nil {
		return nil, err
	}
	m.copying = true
	return &storeCopy{from: m.published.Load().store, staging: staging, revision: m.header.logical.revision}, nil
}

// endCopy lets the removal of history go on.
func (m *Machine) endCopy() {
	m.maintenance.Lock()
	m.copying = false
	m.maintenance.Unlock()
	m.poke()
}

// copyBucket copies a bucket, in views that do not live long. What is added meanwhile may be copied or not.
func (c *storeCopy) copyBucket(ctx context.Context, bucket store.Bucket) error {
	from := []byte{}
	for from != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		view, err := c.from.View()
		if err != nil {
			return err
		}
		from, err = c.copyPart(view, bucket, from)
		if err := errors.Join(err, view.Close()); err != nil {
			return err
		}
	}
	return c.commit()
}

// copyPart copies some records and returns the key to go on from, nil at the end.
func (c *storeCopy) copyPart(view store.View, bucket store.Bucket, from []byte) ([]byte, error) {
	it := view.Iterate(bucket)
	n := 0
	for k, v := it.Seek(from); k != nil; k, v = it.Next() {
		if n++; n > keysPerView {
			return bytes.Clone(k), nil
		}
		if err := verify(bucket, k, v); err != nil {
			return nil, err
		}
		c.batch.Put(bucket, bytes.Clone(k), bytes.Clone(v))
		if c.batch.Bytes() >= stageBatchBytes {
			if err := c.commit(); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (c *storeCopy) commit() error {
	if err := c.staging.Commit(&c.batch); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	c.batch.Reset()
	return nil
}

// copyLater copies the records of later revisions than what is there, and tells whether there were more than few.
func (c *storeCopy) copyLater(ctx context.Context, few int) (more bool, err error) {
	view, err := c.from.View()
	if err != nil {
		return false, err
	}
	n := 0
	it := view.Iterate(bucketRecords)
	last := c.revision
	for k, v := it.Seek(appendRecordKey(nil, c.revision+1, 0)); k != nil; k, v = it.Next() {
		key, at, err := decodeRecord(k, v)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, errors.Join(err, view.Close())
		}
		c.batch.Put(bucketRecords, bytes.Clone(k), bytes.Clone(v))
		where := appendIndexKey(nil, key, at.mod)
		c.batch.Put(bucketIndex, where, appendIndex(nil, where, &at))
		last = at.mod
		n++
	}
	if err := errors.Join(view.Close(), c.commit()); err != nil {
		return false, err
	}
	c.revision = last
	return n > few, nil
}

// switchTo copies what is left and puts the copy in force.
func (m *Machine) switchTo(ctx context.Context, c *storeCopy) error {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	if m.published.Load().store != c.from {
		return fmt.Errorf("defragment: a snapshot took the store's place: %w", store.ErrClosed)
	}
	if _, err := m.flush(whenWorth); err != nil {
		return err
	}
	if _, err := c.copyLater(ctx, 0); err != nil {
		return err
	}
	for _, bucket := range []store.Bucket{bucketSessions, bucketLeases} {
		if err := c.copyBucket(ctx, bucket); err != nil {
			return err
		}
	}
	if err := m.header.put(&c.batch); err != nil {
		return err
	}
	if err := c.commit(); err != nil {
		return err
	}
	if err := c.staging.Finish(); err != nil {
		return err
	}
	before := c.from.Stats().FileBytes
	s, err := m.disk.Adopt(defragmentName)
	if err != nil {
		return m.fail(fmt.Errorf("put the defragmented store in force: %w", err))
	}
	m.mu.Lock()
	m.current.store = s
	m.publish()
	m.mu.Unlock()
	m.retire(c.from)
	m.log.Info("the store is defragmented", "bytesBefore", before, "bytesAfter", s.Stats().FileBytes)
	return nil
}
