package kv

import (
	"bytes"
	"context"
	"sort"

	"github.com/raftkv/raftkv/kv/store"
)

// EventsRequest says which part of the history to read.
type EventsRequest struct {
	// From is the first revision.
	From uint64
	// Match chooses keys; it must not keep what it is given.
	Match func(key []byte) bool
	// MostEvents and MostBytes say when to stop. A revision is never split, so that one of them may be passed.
	MostEvents, MostBytes int
}

// Events reads writes in their order, without Prev, and returns the revision to go on from: later than the store's when all was
// read. It reads a bounded part of the history at a time, so it may return nothing and still have to be asked again. From may
// be at the compacted revision and later. Errors: ErrCompacted, *CorruptError, or the context's.
func (m *Machine) Events(ctx context.Context, r EventsRequest) (events []Event, next uint64, err error) {
	if revision, compacted := m.Revision(); r.From > revision {
		return nil, r.From, nil
	} else if r.From < compacted {
		return nil, 0, ErrCompacted
	}
	err = m.read(ctx, r.From, func(v *view) error {
		h := history{request: r}
		if err := h.read(v); err != nil {
			return err
		}
		events, next = h.events, h.next
		return nil
	})
	return events, next, err
}

// history gathers events.
type history struct {
	request EventsRequest
	events  []Event
	bytes   int
	seen    int
	// at is the revision that is being read, next the one to go on from.
	at, next uint64
}

func (h *history) read(v *view) error {
	if err := v.open(); err != nil {
		return err
	}
	stored, err := rereadHeader(v.stored)
	if err != nil {
		return err
	}
	latest := v.state.revision
	h.next = latest + 1
	it := v.stored.Iterate(bucketRecords)
	done, err := h.readStored(it, min(stored.logical.revision, latest))
	if done || err != nil {
		return err
	}
	// What the store's view has too was read there.
	from := max(h.request.From, stored.logical.revision+1)
	written := [][]*overlayNode{v.state.active.order}
	if f := v.state.frozen; f != nil {
		written = [][]*overlayNode{f.order, v.state.active.order}
	}
	for _, order := range written {
		i := sort.Search(len(order), func(i int) bool { return order[i].mod >= from })
		for _, n := range order[i:] {
			if n.mod > latest {
				break
			}
			if h.full(n.mod) {
				return nil
			}
			h.take(n.key, &n.version, false)
		}
	}
	return nil
}

func (h *history) readStored(it store.Iterator, last uint64) (done bool, err error) {
	for k, data := it.Seek(appendRecordKey(nil, h.request.From, 0)); k != nil; k, data = it.Next() {
		key, v, err := decodeRecord(k, data)
		if err != nil {
			return true, err
		}
		if v.mod > last {
			break
		}
		if h.full(v.mod) {
			return true, nil
		}
		h.take(key, &v, true)
	}
	return false, nil
}

// full tells whether a revision must be left for the next time.
func (h *history) full(mod uint64) bool {
	h.seen++
	if mod == h.at {
		return false
	}
	h.at = mod
	if h.seen <= keysPerView && len(h.events) < h.request.MostEvents && h.bytes < h.request.MostBytes {
		return false
	}
	h.next = mod
	return true
}

func (h *history) take(key []byte, v *version, stored bool) {
	if !h.request.Match(key) {
		return
	}
	if stored {
		key = bytes.Clone(key)
		value := *v
		value.value = bytes.Clone(v.value)
		v = &value
	}
	h.events = append(h.events, v.event(key))
	h.bytes += len(key) + len(v.value)
}

// event returns the write that made a version.
func (v *version) event(key []byte) Event {
	if v.deleted {
		return Event{Type: EventDelete, KV: KeyValue{Key: key, ModRevision: v.mod}}
	}
	return Event{KV: v.keyValue(key)}
}
