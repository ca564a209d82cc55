package session

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Record is one piece of a table as it is kept on disk: an open session, or one of its results.
// Records have a byte-string key, so that any ordered store can hold them.
type Record struct {
	Key []byte
	// Value is nil when the record is to be deleted; it is never empty otherwise.
	Value []byte
}

var errRecord = errors.New("session record")

const recordFormat = 1

// Load makes a table of all the records that Changes has left in the store. next returns them in any order and
// a nil key at the end.
func Load(next func() (Record, error)) (*Table, error) {
	t := NewTable()
	results := map[place][]byte{}
	var open []Session
	for {
		r, err := next()
		if err != nil {
			return nil, err
		}
		if r.Key == nil {
			break
		}
		if len(r.Key) != placeBytes || len(r.Value) == 0 {
			return nil, fmt.Errorf("%w: a key of %d and a value of %d bytes", errRecord, len(r.Key), len(r.Value))
		}
		if r.Value[0] != recordFormat {
			return nil, fmt.Errorf("%w: format %d, this build reads format %d", errRecord, r.Value[0], recordFormat)
		}
		p := place{binary.BigEndian.Uint64(r.Key), binary.BigEndian.Uint64(r.Key[8:])}
		if p.sequence != 0 {
			results[p] = append([]byte(nil), r.Value[1:]...)
			continue
		}
		s, err := decodeSession(p.session, r.Value[1:])
		if err != nil {
			return nil, err
		}
		open = append(open, s)
	}
	// As the running table orders them.
	slices.SortFunc(open, func(a, b Session) int { return cmp.Or(cmp.Compare(a.Used, b.Used), cmp.Compare(a.ID, b.ID)) })
	for _, s := range open {
		t.insert(s, 0)
	}
	for p, result := range results {
		s, ok := t.sessions[p.session]
		if !ok {
			return nil, fmt.Errorf("%w: a result of session %d, which is not open", errRecord, p.session)
		}
		if p.sequence < s.Low || p.sequence-s.Low >= uint64(t.bounds.window) {
			return nil, fmt.Errorf("%w: a result of sequence %d in session %d, whose low mark is %d", errRecord, p.sequence, p.session, s.Low)
		}
		s.results.put(p.sequence, result, 0).stored |= bitOf(p.sequence)
		t.results++
		t.digest += digestResult(p.session, p.sequence, result)
	}
	return t, nil
}

const placeBytes = 16

func (p place) key() []byte {
	b := make([]byte, 0, placeBytes)
	b = binary.BigEndian.AppendUint64(b, p.session)
	return binary.BigEndian.AppendUint64(b, p.sequence)
}

func encodeSession(s Session) []byte {
	b := []byte{recordFormat}
	for _, v := range []uint64{uint64(s.Incarnation), s.Nonce, s.Low, s.Used} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeSession(id uint64, b []byte) (Session, error) {
	var v [4]uint64
	for i := range v {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return Session{}, fmt.Errorf("%w: session %d: %w", errRecord, id, errTruncated)
		}
		v[i], b = x, b[n:]
	}
	if len(b) != 0 {
		return Session{}, fmt.Errorf("%w: session %d: %d bytes too many", errRecord, id, len(b))
	}
	return Session{ID: id, Incarnation: raft.Incarnation(v[0]), Nonce: v[1], Low: v[2], Used: v[3]}, nil
}

// The table's digest is the sum of its records' digests, so that it can be kept as records come and go.

func digestSession(s Session) uint64 {
	h := mix(mix(mix(0, s.ID), uint64(s.Incarnation)), s.Nonce)
	return mix(mix(h, s.Low), s.Used)
}

func digestResult(session, sequence uint64, result []byte) uint64 {
	h := mix(mix(mix(1, session), sequence), uint64(len(result)))
	for len(result) >= 8 {
		h, result = mix(h, binary.LittleEndian.Uint64(result)), result[8:]
	}
	for _, x := range result {
		h = mix(h, uint64(x))
	}
	return h
}

// mix is one step of a multiply-and-shift hash. It guards against mistakes, not against malice.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}
