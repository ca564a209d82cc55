package session

import (
	"cmp"
	"math/bits"
	"slices"
)

// Changes are what a store lacks of a table as it was when they were taken. Nothing of them changes any more, whatever becomes of the table.
type Changes struct {
	// heads are the sessions that were opened or used, and may have ended since.
	heads []*head
	// fresh are the chunks that got results.
	fresh []freshChunk
	// dropped is what the store has a record of and the table does not hold any more. What came and went meanwhile leaves no trace.
	dropped []place
}

// freshChunk is a chunk of a session; nil if its results have gone and it is of no use any more.
type freshChunk struct {
	session uint64
	chunk   *chunk
}

// Changes takes what has changed since the last call. Written in the order of the calls, their records make the table that Load reads. It takes no longer for
// much than for little: whoever applies entries waits for it. What it costs comes afterwards: Records, which may be made while the table goes on, and for each
// session and each chunkSequences results one small copy, when they are changed again for the first time.
func (t *Table) Changes() Changes {
	out := t.since
	t.since = Changes{}
	t.generation++
	return out
}

// Records returns the records of the changes, sorted by key.
func (c Changes) Records() []Record {
	items := make([]item, 0, len(c.dropped)+len(c.heads))
	for _, p := range c.dropped {
		items = append(items, item{place: p})
	}
	for _, h := range c.heads {
		if !h.closed {
			items = append(items, item{place{h.ID, 0}, encodeSession(h.Session)})
		}
	}
	for _, f := range c.fresh {
		if f.chunk == nil {
			continue
		}
		for rest := f.chunk.fresh; rest != 0; rest &= rest - 1 {
			at := bits.TrailingZeros64(rest)
			items = append(items, item{place{f.session, f.chunk.first + uint64(at)}, encodeResult(f.chunk.results[at])})
		}
	}
	return sorted(items)
}

// Records returns all that the table holds, sorted by key, whatever Changes has returned: a whole image that Load reads.
func (t *Table) Records() []Record {
	items := make([]item, 0, len(t.sessions)+t.results)
	for id, s := range t.sessions {
		items = append(items, item{place{id, 0}, encodeSession(s.Session)})
		for sequence, result := range s.results.from(s.Low) {
			items = append(items, item{place{id, sequence}, encodeResult(result)})
		}
	}
	return sorted(items)
}

// item is a record that has yet to be put in its order.
type item struct {
	place
	value []byte // nil where nothing is any more
}

func sorted(items []item) []Record {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(a.sequence, b.sequence))
	})
	out := make([]Record, len(items))
	for i, x := range items {
		out[i] = Record{Key: x.key(), Value: x.value}
	}
	return out
}

func encodeResult(result []byte) []byte {
	b := make([]byte, 0, 1+len(result))
	return append(append(b, recordFormat), result...)
}
