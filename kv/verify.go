package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/raftkv/raftkv/kv/store"
)

// verifyPerView bounds the records that are checked under one view of the store, since an old view keeps pages from being used again.
const verifyPerView = 1000

// Verified counts what a pass over the store has read.
type Verified struct{ Records, Keys int }

// Verify reads every record of the store and finds what only such a pass can: records that nobody reads any more and that have rotted,
// and ways to a record that lead elsewhere, as after a flip in one of bbolt's branch pages, which have no checksum. Each record must be found
// from the root by its index record, and each index record by its record. pause comes between bounded steps and ends the pass
// with an error. Damage fails the machine, as it does when Apply comes across it. Errors: *CorruptError, ErrClosed, or pause's.
func (m *Machine) Verify(ctx context.Context, pause func(context.Context) error) (Verified, error) {
	var out Verified
	for _, p := range []verification{
		{bucket: bucketRecords, count: &out.Records, check: checkRecord},
		{bucket: bucketIndex, count: &out.Keys, check: checkIndexed},
	} {
		for done := false; !done; {
			var err error
			if done, err = m.verifyStep(&p); err != nil {
				return out, err
			}
			if err := pause(ctx); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// verification is a pass over one bucket.
type verification struct {
	bucket store.Bucket
	count  *int
	// check looks for the other half of what stands at a place.
	check func(other store.Iterator, where, data []byte) error
	// last is the place that was read last.
	last []byte
}

func (m *Machine) verifyStep(p *verification) (done bool, err error) {
	m.mu.Lock()
	s, origin, err := m.current.store, m.current.origin, m.unusable()
	m.mu.Unlock()
	if err != nil {
		return false, err
	}
	v, err := s.View()
	if errors.Is(err, store.ErrClosed) {
		return false, nil // another store is in force now
	}
	if err != nil {
		return false, err
	}
	done, err = p.step(v)
	err = errors.Join(err, v.Close())
	stale, err := m.noteDamage(origin, err)
	if stale {
		return false, nil // it goes on in the store that is in force now
	}
	if failure := m.Failure(); failure != nil {
		return false, failure
	}
	return done, err
}

// step reads on from the last place.
func (p *verification) step(v store.View) (done bool, err error) {
	// bbolt panics on a page that is another than the one asked for, and what lies behind the file's end cannot be read.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if x := recover(); x != nil {
			err = &CorruptError{What: "page", Key: bytes.Clone(p.last), Reason: fmt.Sprint(x)}
		}
	}()
	other := bucketIndex
	if p.bucket == bucketIndex {
		other = bucketRecords
	}
	it, counterpart := v.Iterate(p.bucket), v.Iterate(other)
	where, data := it.First()
	if p.last != nil {
		if where, data = it.Seek(p.last); bytes.Equal(where, p.last) {
			where, data = it.Next()
		}
	}
	for range verifyPerView {
		if where == nil {
			return true, nil
		}
		if bytes.Compare(where, p.last) <= 0 {
			return false, &CorruptError{What: "order of records", Key: bytes.Clone(where), Reason: "it does not come behind the one before it"}
		}
		if err := p.check(counterpart, where, data); err != nil {
			return false, err
		}
		p.last = append(p.last[:0], where...)
		*p.count++
		where, data = it.Next()
	}
	return false, nil
}

// checkRecord finds the index record of a record.
func checkRecord(index store.Iterator, where, data []byte) error {
	key, at, err := decodeRecord(where, data)
	if err != nil {
		return err
	}
	want := appendIndexKey(nil, key, at.mod)
	found, value := index.Seek(want)
	if !bytes.Equal(found, want) {
		return &CorruptError{What: "index record", Key: bytes.Clone(key), Revision: at.mod, Reason: "it is missing, or the way to it is damaged"}
	}
	_, named, err := decodeIndex(found, value)
	if err != nil {
		return err
	}
	if named.sub != at.sub || named.deleted != at.deleted || named.create != at.create || named.count != at.count || named.lease != at.lease {
		return &CorruptError{What: "index record", Key: bytes.Clone(key), Revision: at.mod, Reason: "it is not that of the record"}
	}
	return nil
}

// checkIndexed finds the record of an index record; that they agree is what checkRecord has found.
func checkIndexed(records store.Iterator, where, data []byte) error {
	escaped, at, err := decodeIndex(where, data)
	if err != nil {
		return err
	}
	want := appendRecordKey(nil, at.mod, at.sub)
	found, value := records.Seek(want)
	if !bytes.Equal(found, want) {
		return &CorruptError{What: "record", Key: bytes.Clone(unescape(escaped)), Revision: at.mod, Reason: "it is missing, or the way to it is damaged"}
	}
	_, _, err = decodeRecord(found, value)
	return err
}
