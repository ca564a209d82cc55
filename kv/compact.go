package kv

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/kv/store"
)

// Removing history and flushing share the disk, so they share their commits: each costs two syncs, and most of the pages of the index that
// one of them changes are changed by the other too. What is removed when, removal.go says.
const (
	// compactFlushFactor is how many records a flush looks at, and removes at most, for each that it writes, so that removal catches up.
	compactFlushFactor = 2
	// compactLeastRecords and compactMostRecords bound the records that one step looks at, and those that it removes.
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

// compactStep removes some of the versions that compaction gave up, in a commit of its own, or looks for more of them. The caller holds maintenance.
func (m *Machine) compactStep(records int) (more bool, err error) {
	m.mu.Lock()
	s, err := m.current.store, m.unusable()
	m.mu.Unlock()
	if err != nil || !m.compactPending() {
		return false, err
	}
	var b store.Batch
	next, err := m.removeInto(s, &b, records, atOnce)
	if err == nil && (b.Len() > 0 || next != m.header.scrub) {
		b.Put(bucketMeta, metaScrub, next.encode())
		err = s.Commit(&b)
	}
	if err != nil {
		return false, m.fail(err)
	}
	m.compacted(next)
	return m.compactPending(), nil
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
	// Writes go on: one flush after the other would wait for what is found to be worth it.
	flushed, err := m.flush(atOnce)
	if err == nil && !flushed {
		_, err = m.compactStep(compactLeastRecords)
	}
	return false, m.copying, err
}
