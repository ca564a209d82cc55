package raft

import "sort"

// memLog is the log behind start, all of it in memory. offered is how far it was handed to the storage,
// stored how far it is known to be on stable storage. Slices that were handed out are never written to again.
//
// Entries lie in chunks of chunkEntries places, at the places that their indexes give them, so that a long log neither moves
// when it grows nor when its beginning goes. Beside each entry stands the size of all entries up to it: the size of any range
// is a subtraction.
type memLog struct {
	start   Position
	end     Position // of the last entry, or start
	chunks  []chunk  // of start.Index+1 and on
	before  uint64   // bytes of all entries up to start
	stored  Index
	offered Index
	writes  []write
}

const (
	chunkBits    = 12
	chunkEntries = 1 << chunkBits
	// maxDeadBytes is how much of a chunk's data may be compacted before the rest moves to a chunk of its own.
	maxDeadBytes = 1 << 20
)

// chunk holds the entries of the places from skip on. Only the first chunk skips any, only the last one is not full.
type chunk struct {
	skip    int
	entries []Entry
	ends    []uint64 // bytes up to and including each entry, since the log was made
}

// write is a request that the storage has not reported yet. What a truncation cuts off is cut off here too, so
// that a late completion never counts for entries that were replaced meanwhile, even by equal ones.
type write struct {
	seq  uint64
	tick uint64 // when it was made
	last Index
}

func newMemLog(start Position, entries []Entry) memLog {
	l := memLog{start: start, end: start}
	l.append(entries)
	l.stored, l.offered = l.end.Index, l.end.Index
	return l
}

func chunkNumber(i Index) uint64 { return uint64(i-1) >> chunkBits }
func chunkPlace(i Index) int     { return int(uint64(i-1) & (chunkEntries - 1)) }

// locate returns the chunk of the entry at i, which the log has, and its place in the chunk's slices.
func (l *memLog) locate(i Index) (*chunk, int) {
	k := &l.chunks[chunkNumber(i)-chunkNumber(l.start.Index+1)]
	return k, chunkPlace(i) - k.skip
}

func (l *memLog) last() Position { return l.end }

// bytes returns the size of all entries.
func (l *memLog) bytes() int { return l.size(l.start.Index+1, l.end.Index) }

// size returns the size of the entries from from up to and including to.
func (l *memLog) size(from, to Index) int {
	if from > to {
		return 0
	}
	return int(l.bytesUpTo(to) - l.bytesUpTo(from-1))
}

func (l *memLog) bytesUpTo(i Index) uint64 {
	if i <= l.start.Index {
		return l.before
	}
	k, at := l.locate(i)
	return k.ends[at]
}

// term returns the term of the entry at i, and false when the log does not reach there.
func (l *memLog) term(i Index) (Term, bool) {
	switch {
	case i == l.end.Index:
		return l.end.Term, true
	case i == l.start.Index:
		return l.start.Term, true
	case i < l.start.Index || i > l.end.Index:
		return 0, false
	}
	k, at := l.locate(i)
	return k.entries[at].Term, true
}

func (l *memLog) has(p Position) bool {
	t, ok := l.term(p.Index)
	return ok && t == p.Term
}

// slice returns the entries from from up to and including to. They are copied only where they lie in several chunks.
func (l *memLog) slice(from, to Index) []Entry {
	if from > to {
		return nil
	}
	if from <= l.start.Index || to > l.end.Index {
		broken("slice %d..%d of a log of %d..%d", from, to, l.start.Index+1, l.end.Index)
	}
	k, lo := l.locate(from)
	n := int(to-from) + 1
	if hi := lo + n; hi <= len(k.entries) {
		return k.entries[lo:hi:hi]
	}
	out := make([]Entry, 0, n)
	for from <= to {
		k, lo := l.locate(from)
		part := k.entries[lo:min(len(k.entries), lo+int(to-from)+1)]
		out = append(out, part...)
		from += Index(len(part))
	}
	return out
}

// limited returns entries from from up to to, at least one of them and else at most maxBytes, and their size.
func (l *memLog) limited(from, to Index, maxBytes int) ([]Entry, int) {
	if l.size(from, to) > maxBytes {
		fit := sort.Search(int(to-from), func(n int) bool { return l.size(from, from+Index(n)+1) > maxBytes })
		to = from + Index(fit)
	}
	return l.slice(from, to), l.size(from, to)
}

// append adds entries behind the last one.
func (l *memLog) append(entries []Entry) {
	for len(entries) > 0 {
		k := l.tail(entries[0].Index)
		n := min(len(entries), chunkEntries-k.skip-len(k.entries))
		end := l.bytesUpTo(l.end.Index)
		for i := range entries[:n] {
			e := &entries[i]
			if e.Index != l.end.Index+1 {
				broken("append of entry %d behind %d", e.Index, l.end.Index)
			}
			end += uint64(e.EncodedSize())
			k.ends = append(k.ends, end)
			l.end = Position{e.Index, e.Term}
		}
		k.entries = append(k.entries, entries[:n]...)
		entries = entries[n:]
	}
}

// appendOne adds an entry behind the last one.
func (l *memLog) appendOne(e Entry) {
	if e.Index != l.end.Index+1 {
		broken("append of entry %d behind %d", e.Index, l.end.Index)
	}
	k := l.tail(e.Index)
	k.ends = append(k.ends, l.bytesUpTo(l.end.Index)+uint64(e.EncodedSize()))
	k.entries = append(k.entries, e)
	l.end = Position{e.Index, e.Term}
}

// tail returns the chunk that the next entry goes to. The first chunk grows with the log, later ones have all their places at once.
func (l *memLog) tail(next Index) *chunk {
	if n := len(l.chunks); n > 0 {
		if k := &l.chunks[n-1]; k.skip+len(k.entries) < chunkEntries {
			return k
		}
		l.chunks = append(l.chunks, chunk{entries: make([]Entry, 0, chunkEntries), ends: make([]uint64, 0, chunkEntries)})
	} else {
		l.chunks = append(l.chunks, chunk{skip: chunkPlace(next)})
	}
	return &l.chunks[len(l.chunks)-1]
}

// truncate drops everything from index on.
func (l *memLog) truncate(index Index) {
	if index <= l.start.Index {
		broken("truncate at %d, the log starts behind %d", index, l.start.Index)
	}
	if index <= l.end.Index {
		t, _ := l.term(index - 1)
		number := chunkNumber(index) - chunkNumber(l.start.Index+1)
		k, at := l.locate(index)
		// The next append copies: what was handed out stays as it is.
		k.entries, k.ends = k.entries[:at:at], k.ends[:at]
		clear(l.chunks[number+1:])
		l.chunks = l.chunks[:number+1]
		if at == 0 {
			l.chunks = l.chunks[:number]
		}
		l.end = Position{index - 1, t}
	}
	l.stored = min(l.stored, index-1)
	l.offered = min(l.offered, index-1)
	for i := range l.writes {
		l.writes[i].last = min(l.writes[i].last, index-1)
	}
}

// offer returns the entries that the storage was not handed yet and records the request seq for them.
func (l *memLog) offer(seq, tick uint64) []Entry {
	out := l.slice(l.offered+1, l.end.Index)
	l.offered = l.end.Index
	l.writes = append(l.writes, write{seq, tick, l.offered})
	return out
}

// complete records that the requests up to seq are stored.
func (l *memLog) complete(seq uint64) {
	n := 0
	for ; n < len(l.writes) && l.writes[n].seq <= seq; n++ {
		l.stored = max(l.stored, l.writes[n].last)
	}
	l.writes = append(l.writes[:0], l.writes[n:]...)
}

// compact drops the entries up to and including index.
func (l *memLog) compact(index Index) {
	t, ok := l.term(index)
	if !ok || index > l.stored {
		broken("compact at %d of a log of %d..%d stored to %d", index, l.start.Index, l.end.Index, l.stored)
	}
	before := l.bytesUpTo(index)
	if index == l.end.Index {
		l.chunks = nil
	} else {
		number := chunkNumber(index+1) - chunkNumber(l.start.Index+1)
		k, at := l.locate(index + 1)
		dead := before - (k.ends[0] - uint64(k.entries[0].EncodedSize()))
		if dead > maxDeadBytes {
			k.skip += at
			k.entries = append(make([]Entry, 0, chunkEntries-k.skip), k.entries[at:]...)
			k.ends = append(make([]uint64, 0, chunkEntries-k.skip), k.ends[at:]...)
		}
		l.chunks = append(l.chunks[:0:0], l.chunks[number:]...)
	}
	l.start, l.before = Position{index, t}, before
}

// restart empties the log behind a snapshot, which itself has to be stored.
func (l *memLog) restart(at Position) {
	l.chunks, l.before = nil, 0
	l.start, l.end = at, at
	l.stored, l.offered = 0, at.Index
	for i := range l.writes {
		l.writes[i].last = 0
	}
}

// lastNotAbove returns the highest index up to index whose term is at most term, as far as the log goes back. Terms never fall
// along a log.
func (l *memLog) lastNotAbove(index Index, term Term) Index {
	index = min(index, l.end.Index)
	if index <= l.start.Index {
		return index
	}
	above := sort.Search(int(index-l.start.Index), func(n int) bool {
		t, _ := l.term(l.start.Index + 1 + Index(n))
		return t > term
	})
	return l.start.Index + Index(above)
}

// firstKeeping returns the least index at which the entries behind it are at most keepBytes together.
func (l *memLog) firstKeeping(keepBytes int) Index {
	n := sort.Search(int(l.end.Index-l.start.Index), func(n int) bool {
		return l.size(l.start.Index+Index(n)+1, l.end.Index) <= keepBytes
	})
	return l.start.Index + Index(n)
}
