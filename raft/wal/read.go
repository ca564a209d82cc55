package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// ReadEntries reads the stored entries of [from, to] back, in order: at least one, and no more than fit maxBytes of
// encoded entries. It finds them without reading more than a few 64 KiB ahead of the first.
func (l *Log) ReadEntries(from, to raft.Index, maxBytes int) ([]raft.Entry, error) {
	if l.err != nil {
		return nil, l.err
	}
	if from <= l.start.Index || to > l.last || from > to {
		return nil, fmt.Errorf("read the entries %d to %d: the write-ahead log holds those after %d up to %d", from, to, l.start.Index, l.last)
	}
	// The last point at or before from: whatever was stored there later than from would have replaced it.
	i, found := slices.BinarySearchFunc(l.points, from, func(p point, x raft.Index) int { return int(int64(p.index) - int64(x)) })
	if !found {
		i--
	}
	var at point
	if i >= 0 {
		at = l.points[i]
	}
	r := reader{log: l, next: from, to: to, left: maxBytes}
	for _, s := range l.segments {
		offset := int64(headerBytes)
		switch {
		case s.sequence < at.segment:
			continue
		case s.sequence == at.segment:
			offset = at.offset
		}
		if err := r.segment(s.sequence, offset); err != nil {
			return nil, err
		}
		if r.done {
			return r.out, nil
		}
	}
	return nil, &CorruptError{File: filepath.Join(l.dir, segmentName(l.header.sequence)), Offset: l.end,
		Reason: fmt.Sprintf("entry %d was stored before this place and cannot be found", r.next)}
}

// reader collects live entries from frames that may also hold entries that were replaced.
type reader struct {
	log      *Log
	next, to raft.Index
	left     int
	out      []raft.Entry
	done     bool
}

// segment reads the frames of a segment from offset on.
func (r *reader) segment(sequence uint64, offset int64) (err error) {
	s, err := openSegment(r.log.fs, filepath.Join(r.log.dir, segmentName(sequence)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for !r.done {
		f, status, err := s.next(offset)
		if err != nil {
			return err
		}
		switch {
		case status == frameBlank:
			return nil
		case status != frameGood && sequence != r.log.header.sequence:
			return nil // an older segment that was a recycled file and is full
		case status != frameGood:
			return s.corrupt(offset, "a frame that was good is not any more")
		}
		if f.kind == frameBatch {
			if err := r.frame(bytes.Clone(f.payload)); err != nil {
				return s.corrupt(offset, err.Error())
			}
		}
		offset = f.end
	}
	return nil
}

// frame takes the live entries of a frame: by log matching (§5.3) those whose term is the one that the log has at
// their index.
func (r *reader) frame(payload []byte) error {
	for len(payload) > 0 && !r.done {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			return err
		}
		payload = rest
		e := rec.entry
		if rec.kind != recordEntry || e.Index > r.next {
			continue
		}
		if term, ok := r.log.term(e.Index); !ok || term != e.Term || e.Index < r.next {
			continue
		}
		size := e.EncodedSize()
		if len(r.out) > 0 && size > r.left {
			r.done = true
			return nil
		}
		r.left -= size
		r.out = append(r.out, e)
		r.done = r.next == r.to
		r.next++
	}
	return nil
}
