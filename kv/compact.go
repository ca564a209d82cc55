package kv

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/raftkv/raftkv/kv/store"
)

// Removing history and flushing share the disk, so they share their commits: each costs two syncs, and most of the pages that
// one of them changes are changed by the other too. The steps are large, since the versions that one step removes are
// spread over the records: the more of them go at once, the more whole pages go, and the fewer are written anew.
const (
	// compactFlushFactor is how many records a flush looks at for each that it writes, so that removal catches up.
	compactFlushFactor = 2
	// compactLeastRecords and compactMostRecords bound the records that one step looks at.
	compactLeastRecords, compactMostRecords = 8 << 10, 128 << 10
	// compactPatience is how long removal waits for a flush to go with, and compactRest the part of the time, as one in
	// so many, that it takes when none comes.
	compactPatience = 5 * time.Second
	compactRest     = 4
	// scrubPause is the pause before somebody who waits for the removal looks again.
	scrubPause = 20 * time.Millisecond
)

// compactPending tells whether there is history to remove. The caller holds maintenance.
func (m *Machine) compactPending() bool {
	return !m.copying && m.header.scrub.done < m.header.logical.compacted
}

// compactStep removes some of the versions that compaction gave up, in a commit of its own. The caller holds maintenance.
func (m *Machine) compactStep(records int) (more bool, err error) {
	m.mu.Lock()
	s, err := m.current.store, m.unusable()
	m.mu.Unlock()
	if err != nil || !m.compactPending() {
		return false, err
	}
	var b store.Batch
	next, err := m.compactInto(s, &b, records)
	if err == nil {
		b.Put(bucketMeta, metaScrub, next.encode())
		err = s.Commit(&b)
	}
	if err != nil {
		return false, m.fail(err)
	}
	m.compacted(next)
	return m.compactPending(), nil
}

// compactInto adds the next step of the removal to a batch: below the compacted revision, every key keeps
// only its newest version, and not even that if it is a tombstone that is older: one of the compacted revision itself is an event
// that can still be watched. It looks at the records in the order of their
// revisions and at each removes the version of the same key before it; the ones before that were removed when it was
// looked at. So the work follows the number of writes, not the number of keys. It goes by what is in the store, which the
// overlay is no part of. The caller holds maintenance.
func (m *Machine) compactInto(s store.Store, b *store.Batch, records int) (scrub, error) {
	if !m.compactPending() {
		return m.header.scrub, nil
	}
	view, err := s.View()
	if err != nil {
		return scrub{}, err
	}
	c := compaction{
		target: m.header.logical.compacted, next: m.header.scrub, batch: b,
		index: view.Iterate(bucketIndex), records: view.Iterate(bucketRecords),
	}
	records = min(max(records, compactLeastRecords), m.options.compactMost)
	if err := errors.Join(c.step(records), view.Close()); err != nil {
		return scrub{}, err
	}
	return c.next, nil
}

// compacted notes how far a step that was committed came.
func (m *Machine) compacted(next scrub) {
	if next.done != m.header.scrub.done {
		m.log.Info("compacted history is removed", "compacted", next.done)
	}
	m.header.scrub = next
}

// Scrub removes the history before a compacted revision from this member's store before it returns, whatever else goes on.
// It waits for a defragmentation. ErrFutureRevision says that the revision is not compacted.
func (m *Machine) Scrub(ctx context.Context, revision uint64) error {
	if _, compacted := m.Revision(); revision > compacted {
		return ErrFutureRevision
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, waiting, err := m.scrubStep(revision)
		if done || err != nil {
			return err
		}
		if waiting {
			select {
			case <-ctx.Done():
			case <-time.After(scrubPause):
			}
		}
	}
}

func (m *Machine) scrubStep(revision uint64) (done, waiting bool, err error) {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	if m.header.scrub.done >= revision {
		return true, false, nil
	}
	flushed, err := m.flush()
	if err == nil && !flushed {
		_, err = m.compactStep(compactLeastRecords)
	}
	return false, m.copying, err
}

type compaction struct {
	target         uint64
	next           scrub
	index, records store.Iterator
	batch          *store.Batch
	keys           arena
	scratch        []byte
}

func (c *compaction) step(records int) error {
	k, data := c.records.Seek(appendRecordKey(nil, c.next.mod, c.next.sub))
	for range records {
		if k == nil {
			break
		}
		key, v, err := decodeRecord(k, data)
		if err != nil {
			return err
		}
		if v.mod > c.target {
			break
		}
		if err := c.record(key, &v); err != nil {
			return err
		}
		c.next.mod, c.next.sub = v.mod, v.sub+1
		k, data = c.records.Next()
	}
	if k == nil || bytes.Compare(k, appendRecordKey(nil, c.target+1, 0)) >= 0 {
		// The next time begins with the tombstones that were left.
		c.next = scrub{done: c.target, mod: c.target}
	}
	return nil
}

// record removes the version before this one of the same key, and this one if it is a tombstone.
func (c *compaction) record(key []byte, v *version) error {
	own := appendIndexKey(c.scratch[:0], key, v.mod)
	c.scratch = own
	k, _ := c.index.Seek(own)
	if !bytes.Equal(k, own) {
		return &CorruptError{What: "index record", Key: bytes.Clone(key), Revision: v.mod, Reason: "it is missing"}
	}
	if v.deleted && v.mod < c.target {
		c.remove(k, v)
	}
	prefix := own[:len(own)-revisionBytes]
	k, data := c.index.Next()
	if k == nil || len(k) != len(own) || !bytes.HasPrefix(k, prefix) {
		return nil
	}
	_, older, err := decodeIndex(k, data)
	if err != nil {
		return err
	}
	c.remove(k, &older)
	return nil
}

func (c *compaction) remove(indexKey []byte, v *version) {
	// The batch outlives the view that the key belongs to.
	c.batch.Delete(bucketIndex, c.keys.done(append(c.keys.room(len(indexKey)), indexKey...)))
	c.batch.Delete(bucketRecords, c.keys.done(appendRecordKey(c.keys.room(recordKeyBytes), v.mod, v.sub)))
}
