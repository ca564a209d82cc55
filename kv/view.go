package kv

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/raftkv/raftkv/kv/store"
)

// view reads the keys as they are at one revision, merged from the overlays and a view of the store. It is for
// one goroutine. The store's view is opened when it is first needed.
type view struct {
	state    *state
	revision uint64
	// writer is set for the view of the writer, which is at the newest revision of all.
	writer bool
	stored store.View
	// index and records are used for one seek after the other, which costs less than an iterator for each.
	index, records store.Iterator
	scratch        []byte
	// earliest is the lowest revision that at was asked for, zero for none.
	earliest uint64
	// published is the machine's, and gone the revision up to which history may be missing from the store's view: what was compacted when it was opened.
	// What is compacted later is still there.
	published *atomic.Pointer[state]
	gone      uint64
}

// at is a view at another revision in the same view of the store, and is not closed: whoever holds one of the store's views must not open a second, which may
// have to wait for whoever waits for the first.
func (v *view) at(revision uint64) (*view, error) {
	if err := v.open(); err != nil {
		return nil, err
	}
	if v.earliest == 0 || revision < v.earliest {
		v.earliest = revision
	}
	return &view{
		state: v.state, revision: revision, stored: v.stored, index: v.stored.Iterate(bucketIndex), records: v.stored.Iterate(bucketRecords),
	}, nil
}

func (v *view) close() error {
	if v.stored == nil {
		return nil
	}
	s := v.stored
	v.stored = nil
	return s.Close()
}

func (v *view) open() error {
	if v.stored != nil {
		return nil
	}
	stored, err := v.state.store.View()
	if err != nil {
		return err
	}
	v.stored = stored
	if v.published != nil {
		v.gone = v.published.Load().compacted
	}
	v.index, v.records = stored.Iterate(bucketIndex), stored.Iterate(bucketRecords)
	return nil
}

// overlays returns the overlays with all that the state holds in order, the newer first.
func (v *view) overlays() []*overlay {
	layers := []*layer{&v.state.active, v.state.frozen}
	if v.state.frozen == nil {
		layers = layers[:1]
	}
	out := make([]*overlay, len(layers))
	for i, l := range layers {
		l.settle()
		out[i] = l.overlay
	}
	return out
}

// get returns the key's version at the view's revision, which may be a tombstone, or one with mod zero if there is
// none. The value is there only if it is asked for, and may belong to the store's view.
func (v *view) get(key []byte, withValue bool) (version, error) {
	if found, ok := v.getOverlay(&v.state.active, key); ok {
		return found, nil
	}
	if v.state.frozen != nil {
		if found, ok := v.getOverlay(v.state.frozen, key); ok {
			return found, nil
		}
	}
	if err := v.open(); err != nil {
		return version{}, err
	}
	v.scratch = appendIndexKey(v.scratch[:0], key, v.revision)
	k, data := v.index.Seek(v.scratch)
	if k == nil || !bytes.HasPrefix(k, v.scratch[:len(v.scratch)-revisionBytes]) || len(k) != len(v.scratch) {
		return version{}, nil
	}
	_, found, err := decodeIndex(k, data)
	if err != nil || !withValue || found.deleted {
		return found, err
	}
	return found, v.fetch(key, &found)
}

func (v *view) getOverlay(l *layer, key []byte) (version, bool) {
	if !v.writer {
		l.settle()
		return l.get(key, v.revision)
	}
	if n, ok := l.latest[string(key)]; ok {
		return n.version, true
	}
	return version{}, false
}

// fetch reads the value of a version that the index told of.
func (v *view) fetch(key []byte, at *version) error {
	v.scratch = appendRecordKey(v.scratch[:0], at.mod, at.sub)
	corrupt := func(reason string) error {
		return &CorruptError{What: "record", Key: bytes.Clone(key), Revision: at.mod, Reason: reason}
	}
	where, data := v.records.Seek(v.scratch)
	if !bytes.Equal(where, v.scratch) {
		return corrupt("the index names a record that is missing")
	}
	k, full, err := decodeRecord(v.scratch, data)
	var damage *CorruptError
	switch {
	case errors.As(err, &damage):
		return corrupt(damage.Reason)
	case err != nil:
		return err
	case !bytes.Equal(k, key) || full.create != at.create || full.count != at.count || full.deleted:
		return corrupt("the record is not the one that the index names")
	}
	at.value = full.value
	return nil
}

// cursor walks keys that have a version at or before a revision, in their order.
type cursor interface {
	seek(key []byte) error
	next() error
	// key is nil behind the last one.
	key() []byte
	// version is the newest one that is visible.
	version() *version
}

// storeCursor walks the index of the store.
type storeCursor struct {
	index    store.Iterator
	revision uint64
	scratch  []byte
	escaped  []byte
	userKey  []byte
	at       version
}

func (c *storeCursor) seek(key []byte) error {
	c.scratch = appendIndexKey(c.scratch[:0], key, c.revision)
	return c.settle(c.index.Seek(c.scratch))
}

// settle takes the version that the iterator is at, or moves on to one that is visible.
func (c *storeCursor) settle(k, data []byte) error {
	for k != nil {
		escaped, mod, ok := splitIndexKey(k)
		if ok && mod > c.revision {
			c.scratch = append(c.scratch[:0], k...)
			c.scratch = appendRevision(c.scratch[:len(escaped)], c.revision)
			k, data = c.index.Seek(c.scratch)
			continue
		}
		var err error
		c.escaped, c.at, err = decodeIndex(k, data)
		if err != nil {
			return err
		}
		c.userKey = unescape(c.escaped)
		return nil
	}
	c.userKey, c.escaped = nil, nil
	return nil
}

func appendRevision(b []byte, mod uint64) []byte {
	u := ^mod
	return append(b, byte(u>>56), byte(u>>48), byte(u>>40), byte(u>>32), byte(u>>24), byte(u>>16), byte(u>>8), byte(u))
}

func (c *storeCursor) next() error {
	for range stepsBeforeSeek {
		k, data := c.index.Next()
		if k == nil || len(k) != len(c.escaped)+revisionBytes || !bytes.HasPrefix(k, c.escaped) {
			return c.settle(k, data)
		}
	}
	// Behind all versions of the key: its end is 0x00 0x01.
	c.scratch = append(c.scratch[:0], c.escaped...)
	c.scratch[len(c.scratch)-1]++
	return c.settle(c.index.Seek(c.scratch))
}

func (c *storeCursor) key() []byte       { return c.userKey }
func (c *storeCursor) version() *version { return &c.at }

// merged walks the keys that exist at the view's revision.
type merged struct {
	view    *view
	keys    KeyRange
	cursors []cursor // the newer first; the last is the store's
	current int
}

// scan returns the keys of the range, starting at from.
func (v *view) scan(keys KeyRange, from []byte) (*merged, error) {
	if err := v.open(); err != nil {
		return nil, err
	}
	m := &merged{view: v, keys: keys}
	for _, o := range v.overlays() {
		m.cursors = append(m.cursors, &overlayCursor{overlay: o, revision: v.revision})
	}
	m.cursors = append(m.cursors, &storeCursor{index: v.stored.Iterate(bucketIndex), revision: v.revision})
	for _, c := range m.cursors {
		if err := c.seek(from); err != nil {
			return nil, err
		}
	}
	return m, m.settle()
}

// settle chooses the smallest key; of those that tell it, the newest. Tombstones are passed over.
func (m *merged) settle() error {
	for {
		m.current = -1
		for i, c := range m.cursors {
			k := c.key()
			if k != nil && (m.current < 0 || bytes.Compare(k, m.cursors[m.current].key()) < 0) {
				m.current = i
			}
		}
		switch {
		case m.current < 0:
			return nil
		case !m.keys.Contains(m.cursors[m.current].key()):
			m.current = -1
			return nil
		case !m.cursors[m.current].version().deleted:
			return nil
		}
		if err := m.advance(); err != nil {
			return err
		}
	}
}

// advance moves all cursors that are at the current key.
func (m *merged) advance() error {
	key := m.cursors[m.current].key()
	// Backwards, so that the key's owner, which comes first, moves last.
	for i := len(m.cursors) - 1; i >= m.current; i-- {
		if k := m.cursors[i].key(); k == nil || !bytes.Equal(k, key) {
			continue
		}
		if err := m.cursors[i].next(); err != nil {
			return err
		}
	}
	return nil
}

func (m *merged) valid() bool       { return m.current >= 0 }
func (m *merged) key() []byte       { return m.cursors[m.current].key() }
func (m *merged) version() *version { return m.cursors[m.current].version() }

// stored tells whether the current key comes from the store's view, so that it must be copied.
func (m *merged) stored() bool { return m.current == len(m.cursors)-1 }

func (m *merged) next() error {
	if err := m.advance(); err != nil {
		return err
	}
	return m.settle()
}

// load returns the current key with its value, if that is asked for, in memory that outlives the view.
func (m *merged) load(withValue bool) (KeyValue, error) {
	key, v := m.key(), *m.version()
	if !withValue {
		v.value = nil
	} else if m.stored() {
		if err := m.view.fetch(key, &v); err != nil {
			return KeyValue{}, err
		}
	}
	if m.stored() {
		both := make([]byte, 0, len(key)+len(v.value))
		both = append(append(both, key...), v.value...)
		key, v.value = both[:len(key):len(key)], both[len(key):]
	}
	return v.keyValue(key), nil
}
