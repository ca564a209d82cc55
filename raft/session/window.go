package session

import "iter"

// chunkSequences is how many neighbouring sequences share a piece of memory.
const chunkSequences = 64

// window holds the results of a session, which lie less than MaxWindow sequences apart. It is a ring of chunks that exist only where
// there are results, so that a table's memory follows its results even when their sequences lie far apart.
type window struct {
	chunks []*chunk // by sequence / chunkSequences modulo its length, a power of two
	count  int
	// top is the highest sequence that ever had a result.
	top uint64
	// spare is the chunk that became empty last.
	spare *chunk
}

type chunk struct {
	count   int
	results [chunkSequences]kept
}

// kept is the result of a sequence. stored says that the store has a record at its place, dirty that it is not the present one.
type kept struct {
	result               []byte
	there, stored, dirty bool
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

// get returns the result of a sequence, nil when there is none. The sequence must be less than a window away from all others.
func (w *window) get(sequence uint64) *kept {
	c := *w.chunk(sequence)
	if c == nil || sequence > w.top || !c.results[sequence%chunkSequences].there {
		return nil
	}
	return &c.results[sequence%chunkSequences]
}

// put keeps the result of a sequence that has none.
func (w *window) put(sequence uint64, k kept) {
	at := w.chunk(sequence)
	if *at == nil {
		if *at = w.spare; *at == nil {
			*at = new(chunk)
		}
		w.spare = nil
	}
	k.there = true
	(*at).results[sequence%chunkSequences] = k
	(*at).count++
	w.count++
	w.top = max(w.top, sequence)
}

// remove forgets a result that get has returned for the sequence.
func (w *window) remove(sequence uint64) {
	at := w.chunk(sequence)
	(*at).results[sequence%chunkSequences] = kept{}
	w.count--
	if (*at).count--; (*at).count == 0 {
		w.spare, *at = *at, nil
	}
}

// from iterates over the results from a sequence on, which must not be above the lowest. They may be removed meanwhile.
func (w *window) from(sequence uint64) iter.Seq2[uint64, *kept] {
	return func(yield func(uint64, *kept) bool) {
		for sequence <= w.top && w.count > 0 {
			step := uint64(1)
			if *w.chunk(sequence) == nil {
				step = chunkSequences - sequence%chunkSequences
			} else if k := w.get(sequence); k != nil && !yield(sequence, k) {
				return
			}
			if sequence += step; sequence < step {
				return // that was the last sequence of all
			}
		}
	}
}
