package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// state is all that a segment's state frame repeats of the segments before it.
type state struct {
	hardState raft.HardState
	// start is the position before the first entry.
	start raft.Position
	// snapshot is the last install marker.
	snapshot *raft.SnapshotMeta
	// first is the number of the first segment that is needed.
	first uint64
	// last is the index of the last entry, start.Index when there is none.
	last raft.Index
}

// ledger is what the log says without the entries' data. Appending and recovery both keep it, by the same steps.
type ledger struct {
	state
	// from is the first entry that is known. During recovery the entries of (start.Index, from) may be in
	// segments that are gone; a start record or a truncation that follows makes up for them.
	from raft.Index
	// runs are the terms of [from, last].
	runs []termRun
	// points say where to look for entries, sorted by index.
	points   []point
	segments []segment
}

// termRun says that the entries from first on, up to the next run, are of term.
type termRun struct {
	first raft.Index
	term  raft.Term
}

// point says that all entries at or after index are in frames at or after offset of that segment.
type point struct {
	index   raft.Index
	segment uint64
	offset  int64
}

// segment is one file of the log.
type segment struct {
	sequence uint64
	size     int64
	// highest is the highest live entry in it, or zero.
	highest raft.Index
}

// pointBytes is the distance between points: what a read of one entry may have to skip.
const pointBytes = 64 << 10

// adopt takes over what the state frame of the oldest segment says.
func (l *ledger) adopt(st state) {
	l.state = st
	l.from = st.last + 1
}

// setHardState holds up what no member may do: go back to an earlier term, or vote twice in one (§5.2).
func (l *ledger) setHardState(next raft.HardState) error {
	old := l.hardState
	if next.Term < old.Term || next.Term == old.Term && old.Vote != 0 && next.Vote != old.Vote {
		return fmt.Errorf("the hard state goes back from term %d, vote %s to term %d, vote %s",
			old.Term, old.Vote, next.Term, next.Vote)
	}
	l.hardState = next
	return nil
}

// term returns the term of the entry at index, or of the start; false when it is not known.
func (l *ledger) term(index raft.Index) (raft.Term, bool) {
	if index == l.start.Index {
		return l.start.Term, true
	}
	if index < l.from || index > l.last {
		return 0, false
	}
	i, found := slices.BinarySearchFunc(l.runs, index, func(r termRun, x raft.Index) int {
		return int(int64(r.first) - int64(x))
	})
	if !found {
		i--
	}
	return l.runs[i].term, true
}

// addEntry appends an entry after having dropped all at or after its index.
func (l *ledger) addEntry(index raft.Index, term raft.Term) error {
	if n := len(l.runs); index == l.last+1 && n > 0 && l.runs[n-1].term == term {
		l.last = index // the next of the same term, as nearly all are
		return nil
	}
	if index <= l.start.Index || index > l.last+1 {
		return fmt.Errorf("entry %d does not fit a log that holds the entries after %d up to %d", index, l.start.Index, l.last)
	}
	if index <= l.last {
		l.cutAfter(index - 1)
	}
	if before, ok := l.term(index - 1); ok && term < before {
		return fmt.Errorf("entry %d of term %d follows one of term %d", index, term, before)
	}
	l.last = index
	if len(l.runs) == 0 || l.runs[len(l.runs)-1].term != term {
		l.runs = append(l.runs, termRun{first: index, term: term})
	}
	return nil
}

// cutAfter drops the entries after index.
func (l *ledger) cutAfter(index raft.Index) {
	if index >= l.last {
		return
	}
	l.last = index
	l.from = min(l.from, index+1)
	for len(l.runs) > 0 && l.runs[len(l.runs)-1].first > index {
		l.runs = l.runs[:len(l.runs)-1]
	}
	for len(l.points) > 0 && l.points[len(l.points)-1].index > index {
		l.points = l.points[:len(l.points)-1]
	}
	for i := range l.segments {
		l.segments[i].highest = min(l.segments[i].highest, index)
	}
}

// install lets the log start at a snapshot. Entries behind it are kept or not.
func (l *ledger) install(meta *raft.SnapshotMeta, keep bool) error {
	if meta.Index == l.start.Index && meta.Term != l.start.Term {
		return fmt.Errorf("snapshot %d of term %d contradicts the start of the log in term %d", meta.Index, meta.Term, l.start.Term)
	}
	if !keep {
		if meta.Index < l.start.Index {
			return fmt.Errorf("snapshot %d lies before the start of the log, %d", meta.Index, l.start.Index)
		}
		l.cutAfter(meta.Index)
		l.last = meta.Index
	}
	l.snapshot = meta
	l.startAt(raft.Position{Index: meta.Index, Term: meta.Term})
	return nil
}

// holds tells whether the entries behind a snapshot are to be kept when it is installed (§7): the log has the
// snapshot's last entry, or had it before it was compacted.
func (l *ledger) holds(p raft.Position) bool {
	if p.Index < l.start.Index {
		return true
	}
	term, ok := l.term(p.Index)
	return ok && term == p.Term
}

// startAt moves the start forward.
func (l *ledger) startAt(p raft.Position) {
	if p.Index <= l.start.Index {
		return
	}
	l.start = p
	if p.Index < l.from {
		return
	}
	l.from = p.Index + 1
	drop := 0
	for drop < len(l.runs) && (drop+1 < len(l.runs) && l.runs[drop+1].first <= l.from || l.last < l.from) {
		drop++
	}
	l.runs = slices.Delete(l.runs, 0, drop)
	if len(l.runs) > 0 {
		l.runs[0].first = max(l.runs[0].first, l.from)
	}
	drop = 0
	for drop+1 < len(l.points) && l.points[drop+1].index <= l.from {
		drop++
	}
	l.points = slices.Delete(l.points, 0, drop)
}

// locate notes that a frame at offset of the newest segment holds entries, the lowest of them at index.
func (l *ledger) locate(index raft.Index, offset int64) {
	s := &l.segments[len(l.segments)-1]
	s.highest = l.last
	if index > l.last {
		return
	}
	if n := len(l.points); n > 0 {
		p := l.points[n-1]
		if p.segment == s.sequence && offset-p.offset < pointBytes {
			return
		}
	}
	l.points = append(l.points, point{index: index, segment: s.sequence, offset: offset})
}

// unneeded returns how many of the oldest segments hold nothing that is still needed.
func (l *ledger) unneeded() int {
	n := 0
	for n < len(l.segments)-1 && l.segments[n].highest <= l.start.Index {
		n++
	}
	return n
}

// follows tells what is wrong with the state frame of a segment that comes after what was played so far.
func (l *ledger) follows(st state) error {
	if st.hardState != l.hardState || st.last != l.last || st.first != l.first ||
		st.start.Index < l.start.Index || st.start.Index > l.last {
		return fmt.Errorf("the segment goes on from term %d, vote %s, last entry %d, start %d, first segment %d; "+
			"the segments before it end with term %d, vote %s, last entry %d, start %d, first segment %d",
			st.hardState.Term, st.hardState.Vote, st.last, st.start.Index, st.first,
			l.hardState.Term, l.hardState.Vote, l.last, l.start.Index, l.first)
	}
	return nil
}

// whole tells what is missing after everything was played.
func (l *ledger) whole() error {
	if l.from > l.start.Index+1 {
		return fmt.Errorf("the entries %d to %d are missing", l.start.Index+1, l.from-1)
	}
	return nil
}

// replay is a ledger with the entries' data, for recovery.
type replay struct {
	ledger
	// entries are those of [entriesFrom, last] at all times between two records.
	entries     []raft.Entry
	entriesFrom raft.Index
}

// play plays the records of a batch frame at offset of the newest segment.
func (r *replay) play(payload []byte, offset int64) error {
	lowest := ^raft.Index(0)
	for len(payload) > 0 {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			return err
		}
		payload = rest
		if err := r.apply(rec); err != nil {
			return err
		}
		if rec.kind == recordEntry {
			lowest = min(lowest, rec.entry.Index)
		}
	}
	if lowest != ^raft.Index(0) {
		r.locate(lowest, offset)
	}
	return nil
}

func (r *replay) apply(rec record) error {
	switch rec.kind {
	case recordHardState:
		return r.setHardState(rec.hardState)
	case recordEntry:
		r.cutAfter(rec.entry.Index - 1)
		r.trim()
		r.entries = append(r.entries, rec.entry)
		return r.addEntry(rec.entry.Index, rec.entry.Term)
	case recordInstall:
		err := r.install(rec.snapshot, rec.keep)
		r.trim()
		return err
	case recordStart:
		if rec.start.Index > r.last {
			return fmt.Errorf("the log is said to start at %d, behind its last entry %d", rec.start.Index, r.last)
		}
		r.first = rec.first
		r.startAt(rec.start)
		r.trim()
		return nil
	}
	return errors.New("a record of type " + rec.kind.String() + " has no place in a batch")
}

// trim drops the entries that the ledger no longer has.
func (r *replay) trim() {
	switch {
	case r.from < r.entriesFrom:
		clear(r.entries)
		r.entries, r.entriesFrom = r.entries[:0], r.from
	case r.from > r.entriesFrom:
		drop := min(int(r.from-r.entriesFrom), len(r.entries))
		clear(r.entries[:drop])
		r.entries, r.entriesFrom = r.entries[drop:], r.from
	}
	if keep := int(r.last + 1 - r.entriesFrom); keep < len(r.entries) {
		clear(r.entries[keep:])
		r.entries = r.entries[:keep]
	}
}
