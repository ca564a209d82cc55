package kv

import (
	"time"

	"github.com/raftkv/raftkv/kv/store"
)

// Flush asks that all that was applied becomes durable soon. It does not wait. A synchronous machine does it in
// the next FlushNow.
func (m *Machine) Flush() {
	m.flushWanted.Store(true)
	m.poke()
}

// poke wakes the goroutine that flushes and compacts.
func (m *Machine) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// FlushNow makes all that was applied durable before it returns, and takes one step of the removal of compacted history.
func (m *Machine) FlushNow() error {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	flushed, err := m.flush(whenWorth)
	if err != nil || flushed {
		return err
	}
	_, err = m.compactStep(compactMostRecords)
	return err
}

// maintain is the goroutine that flushes and compacts.
func (m *Machine) maintain() {
	defer close(m.stopped)
	patience := time.NewTimer(0)
	defer patience.Stop()
	for waits := true; ; {
		rested := false
		select {
		case <-m.stop:
			return
		case <-m.wake:
		case <-patience.C:
			rested, waits = true, false
		}
		wait, err := m.maintainStep(rested, waits)
		if err != nil {
			return // every later call is told.
		}
		if wait > 0 {
			patience.Reset(wait)
			waits = true
		}
	}
}

// maintainStep flushes, if that was asked for or a compaction has waited for it long enough, or else takes a step of compaction. rested says that
// nobody has asked for anything meanwhile, waits that it comes again in any case. It returns when to come again if nobody asks for a flush before,
// zero for never or as was said.
func (m *Machine) maintainStep(rested, waits bool) (again time.Duration, err error) {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	// What is given up is removed once the store knows of it. Without writes no flush would come to tell it.
	compacted := m.published.Load().compacted > m.header.logical.compacted
	switch {
	case m.flushWanted.Swap(false), compacted && rested:
		_, err = m.flush(whenWorth)
		again = compactPatience
	case compacted && waits:
		return 0, nil
	case compacted:
		return compactPatience, nil
	default:
		began := time.Now()
		_, err = m.compactStep(compactLeastRecords)
		again = max(compactRest*time.Since(began), time.Millisecond)
	}
	if err != nil || !m.compactPending() {
		return 0, err
	}
	return again, nil
}

// flush moves the overlay into the store, in one transaction with the applied index and the sessions (rule: the
// applied index never says more or less than what is there). A step of compaction goes with it, as urgent as u says. It tells whether
// there was anything to flush. The caller holds maintenance.
func (m *Machine) flush(u urgency) (flushed bool, err error) {
	m.mu.Lock()
	if err := m.unusable(); err != nil {
		m.mu.Unlock()
		return false, err
	}
	if m.current.meta.Index == m.header.logical.meta.Index {
		m.mu.Unlock()
		return false, nil
	}
	h := m.header
	h.logical = m.current.logical
	changes, leases := m.sessions.Changes(), m.leases.changes()
	frozen, s := m.current.active, m.current.store
	m.current.frozen, m.current.active = &frozen, newLayer(len(frozen.latest), len(frozen.order))
	m.publish()
	m.overlayMoved.Broadcast()
	m.mu.Unlock()

	var b store.Batch
	frozen.flushTo(&b)
	for _, r := range changes.Records() {
		if r.Value == nil {
			b.Delete(bucketSessions, r.Key)
		} else {
			b.Put(bucketSessions, r.Key, seal(r.Key, r.Value))
		}
	}
	putLeases(&b, leases)
	// What goes is given up by the state that is in the store, so it is in the store.
	next, err := m.removeInto(s, &b, compactFlushFactor*len(frozen.order), u)
	if err == nil {
		h.scrub = next
		err = h.put(&b)
	}
	if err == nil {
		err = s.Commit(&b)
	}
	if err != nil {
		return false, m.fail(err)
	}
	m.compacted(next)
	m.header = h

	m.mu.Lock()
	m.current.frozen = nil
	m.publish()
	m.durable.Store(uint64(h.logical.meta.Index))
	m.mu.Unlock()
	if m.staged.Load() {
		if err := m.discardStaged(); err != nil {
			m.log.Warn("a snapshot that is of no use any more is still on the disk; it is removed with the next flush", "error", err)
		}
	}
	return true, nil
}

// flushTo adds the layer to a batch, each bucket in the order of its keys, which the store takes best.
func (l *layer) flushTo(b *store.Batch) {
	l.settle()
	b.Grow(2 * len(l.order))
	var a arena
	for n := l.head.next[0].Load(); n != nil; n = n.next[0].Load() {
		// Escaping at most doubles a key.
		k := a.done(appendIndexKey(a.room(2*len(n.key)+2+revisionBytes), n.key, n.mod))
		b.Put(bucketIndex, k, a.done(appendIndex(a.room(versionBytes), k, &n.version)))
	}
	for _, n := range l.order {
		k := a.done(appendRecordKey(a.room(recordKeyBytes), n.mod, n.sub))
		v := appendRecord(a.room(versionBytes+len(n.key)+len(n.value)), k, n.key, &n.version)
		b.Put(bucketRecords, k, a.done(v))
	}
}

// arenaBytes is what an arena allocates at once.
const arenaBytes = 256 << 10

// arena makes many small byte strings with few allocations.
type arena struct{ free []byte }

// room returns an empty slice with room for n bytes.
func (a *arena) room(n int) []byte {
	if len(a.free) < n {
		a.free = make([]byte, max(n, arenaBytes))
	}
	return a.free[:0:n]
}

// done takes the string that was made in the last room.
func (a *arena) done(b []byte) []byte {
	a.free = a.free[len(b):]
	return b[:len(b):len(b)]
}
