package kv

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/raftkv/raftkv/kv/store"
)

// The versions that a compaction gives up are spread over all records of their time. Removing them in the order in which they were
// replaced would change most pages of the store for every flush, each for one record or two. So they are only noted at first, as places of
// a few bytes; once they are a good part of the store they go in the order of their places, page by page, a part of them with every flush.
const (
	// removalShare is the part of the store, as one in so many, that may be given up before it is removed.
	removalShare = 4
	// removalMost bounds the places that are noted, and those that are being removed.
	removalMost = 512 << 10
	// quotaPressure is the part of the quota, in percent, above which nothing is left for later.
	quotaPressure = 75
)

// place is that of a record.
type place struct {
	mod uint64
	sub uint32
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.mod, o.mod), cmp.Compare(p.sub, o.sub))
}

// removal is what one process knows of the removal of history. A crash forgets it: then the records behind header.scrub
// are looked at again, and what is gone already is not missed. That is why versions of one key go in the order of their revisions.
type removal struct {
	// next is how far the records were looked at, for target, found what is to go since going was begun, with the bytes of as many records.
	next   scrub
	target uint64
	found  []place
	bytes  int64
	// going is what is being removed, in order. When all of it is gone, what is removed is as far as after says.
	going []place
	after scrub
}

// urgency says whether what is found may wait until it is worth the pages.
type urgency bool

const (
	whenWorth urgency = false
	atOnce    urgency = true
)

// due decides whether it is time to remove what was found. usedBytes is the size of the store, quotaBytes the one that it is meant to stay
// below, zero for none; complete says that nothing more is to be found now.
func (r *removal) due(u urgency, usedBytes, quotaBytes int64, complete bool) bool {
	switch {
	case len(r.going) > 0:
		return false
	case len(r.found) >= removalMost || len(r.found) == 0:
		// Where nothing is to be removed, only the progress is written down.
		return true
	case u == atOnce || quotaBytes > 0 && usedBytes > quotaBytes/100*quotaPressure:
		return complete
	}
	return r.bytes >= usedBytes/removalShare
}

// begin makes what was found what is going.
func (r *removal) begin() {
	slices.SortFunc(r.found, place.compare)
	// A tombstone that was replaced since was found twice.
	r.going, r.after = slices.Compact(r.found), r.next
	if r.after.mod == r.target {
		r.after.sub = 0 // As look does, should another process go on with a later target.
	}
	r.found, r.bytes = nil, 0
}

// take removes the first of what is going from it.
func (r *removal) take(most int) []place {
	n := min(most, len(r.going))
	out := r.going[:n]
	r.going = r.going[n:]
	return out
}

// progress is how far removal has come, which was stored as before.
func (r *removal) progress(before scrub) scrub {
	if len(r.going) > 0 || r.after == (scrub{}) {
		return before
	}
	return r.after
}

// look goes on looking at records, in the order of their revisions, up to target: below the compacted revision, every key keeps
// only its newest version, and not even that if it is a tombstone that is older: one of the compacted revision itself is an event
// that can still be watched. Of each record it finds the version of the same key before it; the ones before that were found when that one was
// looked at. So the work follows the number of writes, not the number of keys.
func (r *removal) look(v store.View, target uint64, records int) error {
	if r.next.done >= target {
		return nil
	}
	if r.target != target && r.next.mod == r.target {
		r.next.sub = 0 // The tombstones of that revision were left, as it was the target.
	}
	r.target = target
	l := looker{removal: r, target: target, index: v.Iterate(bucketIndex)}
	it := v.Iterate(bucketRecords)
	k, data := it.Seek(appendRecordKey(nil, r.next.mod, r.next.sub))
	for ; records > 0 && k != nil && len(r.found) < removalMost; records-- {
		key, at, err := decodeRecord(k, data)
		if err != nil {
			return err
		}
		if at.mod > target {
			break
		}
		if err := l.record(key, &at, len(k)+len(data)); err != nil {
			return err
		}
		r.next.mod, r.next.sub = at.mod, at.sub+1
		k, data = it.Next()
	}
	if k == nil || bytes.Compare(k, appendRecordKey(nil, target+1, 0)) >= 0 {
		// The next time begins with the tombstones that were left.
		r.next = scrub{done: target, mod: target}
	}
	return nil
}

type looker struct {
	*removal
	target  uint64
	index   store.Iterator
	scratch []byte
}

// record finds the version before this one of the same key, and this one if it is a tombstone.
func (l *looker) record(key []byte, v *version, size int) error {
	own := appendIndexKey(l.scratch[:0], key, v.mod)
	l.scratch = own
	k, _ := l.index.Seek(own)
	if !bytes.Equal(k, own) {
		return &CorruptError{What: "index record", Key: bytes.Clone(key), Revision: v.mod, Reason: "it is missing"}
	}
	if v.deleted && v.mod < l.target {
		l.find(v, size)
	}
	prefix := own[:len(own)-revisionBytes]
	k, data := l.index.Next()
	if k == nil || len(k) != len(own) || !bytes.HasPrefix(k, prefix) {
		return nil
	}
	_, older, err := decodeIndex(k, data)
	if err != nil {
		return err
	}
	l.find(&older, size)
	return nil
}

func (l *looker) find(v *version, size int) {
	l.found = append(l.found, place{v.mod, v.sub})
	l.bytes += int64(size)
}

// remove adds the removal of records, in the order of their places, to a batch.
func remove(v store.View, b *store.Batch, places []place) error {
	it := v.Iterate(bucketRecords)
	b.Grow(2 * len(places))
	var a arena
	index := make([][]byte, 0, len(places))
	for _, p := range places {
		where := appendRecordKey(a.room(recordKeyBytes), p.mod, p.sub)
		k, data := it.Seek(where)
		if !bytes.Equal(k, where) {
			continue // It went before a crash, or another way.
		}
		key, at, err := decodeRecord(k, data)
		if err != nil {
			return err
		}
		b.Delete(bucketRecords, a.done(where))
		index = append(index, a.done(appendIndexKey(a.room(2*len(key)+2+revisionBytes), key, at.mod)))
	}
	slices.SortFunc(index, bytes.Compare)
	for _, k := range index {
		b.Delete(bucketIndex, k)
	}
	return nil
}

// removeInto adds the next step of the removal to a batch, of about so many records, and returns how far removal has come once that is
// committed. It goes by what is in the store, which the overlay is no part of. The caller holds maintenance.
func (m *Machine) removeInto(s store.Store, b *store.Batch, records int, u urgency) (scrub, error) {
	if !m.compactPending() {
		return m.header.scrub, nil
	}
	used := s.Stats().UsedBytes
	view, err := s.View()
	if err != nil {
		return scrub{}, err
	}
	r := &m.removal
	target := m.header.logical.compacted
	records = min(max(records, compactLeastRecords), m.options.compactMost)
	err = r.look(view, target, records)
	if err == nil && r.due(u, used, m.options.QuotaBytes, r.next.done >= target) {
		r.begin()
	}
	if err == nil {
		err = remove(view, b, r.take(records))
	}
	if err := errors.Join(err, view.Close()); err != nil {
		return scrub{}, err
	}
	return r.progress(m.header.scrub), nil
}
