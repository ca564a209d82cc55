package kv

import (
	"bytes"
	"errors"

	"github.com/raftkv/raftkv/kv/store"
)

// compactStepRecords is how many records one step of the removal looks at, so that a flush never waits long for it.
const compactStepRecords = 4096

// compactStep removes some of the versions that compaction gave up: below the compacted revision, every key keeps
// only its newest version, and not even that if it is a tombstone. It looks at the records in the order of their
// revisions and at each removes the version of the same key before it; the ones before that were removed when it was
// looked at. So the work follows the number of writes, not the number of keys. It goes by what is in the store, which the
// overlay is no part of. The caller holds maintenance.
func (m *Machine) compactStep() (more bool, err error) {
	m.mu.Lock()
	s, err := m.current.store, m.unusable()
	m.mu.Unlock()
	target := m.header.logical.compacted
	if err != nil || m.header.scrub.done >= target {
		return false, err
	}
	view, err := s.View()
	if err != nil {
		return false, m.fail(err)
	}
	c := compaction{target: target, next: m.header.scrub, index: view.Iterate(bucketIndex), records: view.Iterate(bucketRecords)}
	err = c.step()
	if err := errors.Join(err, view.Close()); err != nil {
		return false, m.fail(err)
	}
	c.batch.Put(bucketMeta, metaScrub, c.next.encode())
	if err := s.Commit(&c.batch); err != nil {
		return false, m.fail(err)
	}
	m.header.scrub = c.next
	if c.next.done >= target {
		m.log.Info("compacted history is removed", "compacted", target)
	}
	return c.next.done < target, nil
}

type compaction struct {
	target         uint64
	next           scrub
	index, records store.Iterator
	batch          store.Batch
}

func (c *compaction) step() error {
	k, data := c.records.Seek(appendRecordKey(nil, c.next.mod, c.next.sub))
	for range compactStepRecords {
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
		c.next = scrub{done: c.target, mod: c.target + 1}
	}
	return nil
}

// record removes the version before this one of the same key, and this one if it is a tombstone.
func (c *compaction) record(key []byte, v *version) error {
	own := appendIndexKey(nil, key, v.mod)
	k, _ := c.index.Seek(own)
	if !bytes.Equal(k, own) {
		return &CorruptError{What: "index record", Key: bytes.Clone(key), Revision: v.mod, Reason: "it is missing"}
	}
	if v.deleted {
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
	c.batch.Delete(bucketIndex, bytes.Clone(indexKey))
	c.batch.Delete(bucketRecords, appendRecordKey(nil, v.mod, v.sub))
}
