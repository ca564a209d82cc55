package raft

// memLog is the log behind start, all of it in memory. offered is how far it was handed to the storage,
// stored how far it is known to be on stable storage. Slices that were handed out are never written to again.
type memLog struct {
	start   Position
	entries []Entry
	bytes   int // of all entries
	stored  Index
	offered Index
	writes  []write
}

// write is a request that the storage has not reported yet. What a truncation cuts off is cut off here too, so
// that a late completion never counts for entries that were replaced meanwhile, even by equal ones.
type write struct {
	seq  uint64
	tick uint64 // when it was made
	last Index
}

func (l *memLog) last() Position {
	if n := len(l.entries); n > 0 {
		return Position{l.entries[n-1].Index, l.entries[n-1].Term}
	}
	return l.start
}

// term returns the term of the entry at i, and false when the log does not reach there.
func (l *memLog) term(i Index) (Term, bool) {
	if i == l.start.Index {
		return l.start.Term, true
	}
	if i < l.start.Index || i > l.last().Index {
		return 0, false
	}
	return l.entries[i-l.start.Index-1].Term, true
}

func (l *memLog) has(p Position) bool {
	t, ok := l.term(p.Index)
	return ok && t == p.Term
}

// slice returns the entries from to up to and including to, not copied.
func (l *memLog) slice(from, to Index) []Entry {
	if from > to {
		return nil
	}
	if from <= l.start.Index || to > l.last().Index {
		broken("slice %d..%d of a log of %d..%d", from, to, l.start.Index+1, l.last().Index)
	}
	lo, hi := from-l.start.Index-1, to-l.start.Index
	return l.entries[lo:hi:hi]
}

// limited returns entries from from up to to, at least one of them and else at most maxBytes, and their size.
func (l *memLog) limited(from, to Index, maxBytes int) ([]Entry, int) {
	all := l.slice(from, to)
	size := 0
	for i := range all {
		n := all[i].EncodedSize()
		if i > 0 && size+n > maxBytes {
			return all[:i:i], size
		}
		size += n
	}
	return all, size
}

// append adds entries behind the last one.
func (l *memLog) append(entries ...Entry) {
	if len(entries) > 0 && entries[0].Index != l.last().Index+1 {
		broken("append of %v behind %v", entries, l.last())
	}
	l.entries = append(l.entries, entries...)
	l.bytes += sizeOf(entries)
}

// appendOne adds an entry behind the last one.
func (l *memLog) appendOne(e Entry) {
	if e.Index != l.last().Index+1 {
		broken("append of entry %d behind %d", e.Index, l.last().Index)
	}
	l.entries = append(l.entries, e)
	l.bytes += e.EncodedSize()
}

// truncate drops everything from index on.
func (l *memLog) truncate(index Index) {
	if index <= l.start.Index {
		broken("truncate at %d, the log starts behind %d", index, l.start.Index)
	}
	keep := index - l.start.Index - 1
	l.bytes -= sizeOf(l.entries[keep:])
	l.entries = l.entries[:keep:keep] // the next append copies: what was handed out stays as it is
	l.stored = min(l.stored, index-1)
	l.offered = min(l.offered, index-1)
	for i := range l.writes {
		l.writes[i].last = min(l.writes[i].last, index-1)
	}
}

// offer returns the entries that the storage was not handed yet and records the request seq for them.
func (l *memLog) offer(seq, tick uint64) []Entry {
	out := l.slice(l.offered+1, l.last().Index)
	l.offered = l.last().Index
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
		broken("compact at %d of a log of %d..%d stored to %d", index, l.start.Index, l.last().Index, l.stored)
	}
	l.bytes -= sizeOf(l.entries[:index-l.start.Index])
	rest := l.entries[index-l.start.Index:]
	l.entries = append(make([]Entry, 0, len(rest)+len(rest)/4), rest...) // a copy, so that the old array can go
	l.start = Position{index, t}
}

// restart empties the log behind a snapshot, which itself has to be stored.
func (l *memLog) restart(at Position) {
	l.entries, l.bytes = nil, 0
	l.start = at
	l.stored, l.offered = 0, at.Index
	for i := range l.writes {
		l.writes[i].last = 0
	}
}

func sizeOf(entries []Entry) int {
	size := 0
	for i := range entries {
		size += entries[i].EncodedSize()
	}
	return size
}
