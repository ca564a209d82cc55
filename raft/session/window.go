package session

import (
	"iter"
	"math/bits"
)

// chunkSequences is how many neighbouring sequences share a piece of memory: one for each bit of a mask.
const chunkSequences = 64

// window holds the results of a session, which lie less than MaxWindow sequences apart. It is a ring of chunks that exist only where
// there are results, so that a table's memory follows its results even when their sequences lie far apart.
type window struct {
	chunks []*chunk // by sequence / chunkSequences modulo its length, a power of two
	count  int
	// top is the highest sequence that ever had a result.
	top uint64
	// spare is a chunk that became empty and waits to be used again.
	spare *chunk
}

// chunk holds the results of chunkSequences neighbours. Once a later generation than its own has begun, one that is listed belongs to the Changes of its own, and
// is copied before it is changed.
type chunk struct {
	// first is the sequence of results[0].
	first uint64
	// generation is that of the table when the chunk was changed last; listed says that it is at place at of the table's list of fresh chunks since then.
	generation uint64
	listed     bool
	at         int
	// there says which results there are, stored where the store has a record, fresh where that is not the present one. Bit n is of results[n].
	there, stored, fresh uint64
	results              [chunkSequences][]byte
}

func newWindow(sequences int) window {
	length := 1
	for length*chunkSequences < sequences+chunkSequences {
		length *= 2
	}
	return window{chunks: make([]*chunk, length)}
}

func (w *window) chunk(sequence uint64) **chunk {
	return &w.chunks[sequence/chunkSequences%uint64(len(w.chunks))]
}

func bitOf(sequence uint64) uint64 { return 1 << (sequence % chunkSequences) }

// get returns the result of a sequence, if there is one. The sequence must be less than a window away from all others.
func (w *window) get(sequence uint64) (result []byte, there bool) {
	c := *w.chunk(sequence)
	if c == nil || sequence > w.top || c.there&bitOf(sequence) == 0 {
		return nil, false
	}
	return c.results[sequence%chunkSequences], true
}

// own returns the chunk as it may be changed in a generation: itself, or a copy if Changes have it.
func (c *chunk) own(generation uint64) *chunk {
	if c.generation == generation {
		return c
	}
	if c.listed {
		copied := *c
		c = &copied
	}
	c.generation, c.listed = generation, false
	c.stored, c.fresh = c.stored|c.fresh, 0
	return c
}

// put keeps the result of a sequence, and returns its chunk, which says nothing yet of what the store has.
func (w *window) put(sequence uint64, result []byte, generation uint64) *chunk {
	at := w.chunk(sequence)
	c := *at
	if c == nil {
		if c, w.spare = w.spare, nil; c == nil {
			c = new(chunk)
		}
	}
	c = c.own(generation)
	c.first = sequence - sequence%chunkSequences
	if c.there&bitOf(sequence) == 0 {
		w.count++
	}
	c.there |= bitOf(sequence)
	c.results[sequence%chunkSequences] = result
	w.top = max(w.top, sequence)
	*at = c
	return c
}

// remove forgets a result that there is. It tells whether the store has a record of it, and returns the chunk if nothing needs that any more.
func (w *window) remove(sequence, generation uint64) (stored bool, gone *chunk) {
	at, bit := w.chunk(sequence), bitOf(sequence)
	c := (*at).own(generation)
	*at = c
	stored = c.stored&bit != 0
	c.there, c.stored, c.fresh = c.there&^bit, c.stored&^bit, c.fresh&^bit
	c.results[sequence%chunkSequences] = nil
	w.count--
	if c.there != 0 {
		return stored, nil
	}
	*at = nil
	if w.spare == nil {
		w.spare = c
		return stored, nil
	}
	return stored, c
}

// from iterates over the results from a sequence on, which must not be above the lowest. They may be removed meanwhile.
func (w *window) from(sequence uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for sequence <= w.top && w.count > 0 {
			step := chunkSequences - sequence%chunkSequences
			if c := *w.chunk(sequence); c != nil {
				if next := uint64(bits.TrailingZeros64(c.there >> (sequence % chunkSequences))); next < step {
					sequence += next
					if !yield(sequence, c.results[sequence%chunkSequences]) {
						return
					}
					step = 1
				}
			}
			if sequence += step; sequence < step {
				return // that was the last sequence of all
			}
		}
	}
}
