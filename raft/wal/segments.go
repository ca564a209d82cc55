package wal

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// roll begins the next segment. Its header, its state frame and the frame in batch (if not nil: room for a header,
// then the payload) are one write. The file gets its name only once they are synced, so that every
// segment that can be found by name is whole up to there.
func (l *Log) roll(before state, batch []byte) error {
	h := segmentHeader{identity: l.options.Identity, sequence: before.first}
	o := origin{last: before.last, end: l.end, crc: l.lastCRC}
	if len(l.segments) > 0 {
		h.sequence = l.segments[len(l.segments)-1].sequence + 1
	} else {
		o = origin{last: before.last}
	}
	payload, err := appendState(nil, before, o)
	if err != nil {
		return err
	}
	stateEnd := frameEnd(headerBytes, int64(len(payload)))
	end := align(stateEnd + int64(len(batch)))
	s, err := l.stock.take(max(l.options.SegmentBytes, end+frameHeaderBytes))
	if err != nil {
		return l.full(max(l.options.SegmentBytes, end+frameHeaderBytes), fmt.Errorf("prepare a segment: %w", err))
	}
	h.fresh = s.fresh
	seed := h.seed()

	var room [frameHeaderBytes]byte
	b := append(h.append(l.rollBuffer[:0]), room[:]...)
	b = sealFrame(append(b, payload...), headerBytes, frameState, seed, headerBytes)
	last := headerBytes
	if batch != nil {
		last = len(b)
		b = sealFrame(append(b, batch...), last, frameBatch, seed, int64(last))
	}
	b = append(b, blankFrameHeader[:]...)

	name := segmentName(h.sequence)
	if err := l.activate(s, name, b); err != nil {
		return l.full(int64(len(b)), errors.Join(fmt.Errorf("begin the segment %s: %w", name, err), s.file.Close()))
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.header, l.seed = s.file, h, seed
	l.size, l.end = s.size, end
	l.lastCRC = frameChecksum(b[last:], seed, int64(last))
	l.segments = append(l.segments, segment{sequence: h.sequence, size: s.size})
	if l.rollBuffer = b; cap(b) > keptBufferBytes {
		l.rollBuffer = nil
	}
	l.stock.prepare()
	return err
}

func (l *Log) activate(s spare, name string, content []byte) error {
	if _, err := s.file.WriteAt(content, 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := l.fs.Rename(filepath.Join(l.dir, s.name), filepath.Join(l.dir, name)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

func appendState(b []byte, st state, o origin) ([]byte, error) {
	b = appendHardState(b, st.hardState)
	b = appendStart(b, st.start, st.first)
	b = appendOrigin(b, o)
	if st.snapshot == nil {
		return b, nil
	}
	return appendInstall(b, *st.snapshot, true)
}

// Compact says that the entries up to and including position are not needed any more. Whole segments go; when none
// can, nothing is written, and a log that is opened again may start earlier.
func (l *Log) Compact(position raft.Position) error {
	if l.err != nil {
		return l.err
	}
	if position.Index > l.start.Index {
		if term, ok := l.term(position.Index); !ok || term != position.Term {
			return fmt.Errorf("compact the write-ahead log up to entry %d of term %d: it holds the entries after %d up to %d, that one with term %d",
				position.Index, position.Term, l.start.Index, l.last, term)
		}
		l.startAt(position)
	}
	n := l.unneeded()
	if n == 0 {
		return nil
	}
	// The record comes first: from then on recovery neither needs the segments nor minds which of them are left.
	w := l.beginWrite()
	l.first = l.segments[n].sequence
	l.buffer = appendStart(l.buffer, l.start, l.first)
	if err := l.flush(&w); err != nil {
		return l.fail(err)
	}
	for _, s := range l.segments[:n] {
		if err := l.retire(s); err != nil {
			return l.fail(fmt.Errorf("drop the segment %s: %w", segmentName(s.sequence), err))
		}
	}
	l.segments = append(l.segments[:0], l.segments[n:]...)
	// A file must not be written to under its new name while the disk may still know it by the old one.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return l.fail(fmt.Errorf("drop old segments: %w", err))
	}
	return nil
}

// retire makes a spare of a segment, or removes it when there are enough.
func (l *Log) retire(s segment) error {
	path := filepath.Join(l.dir, segmentName(s.sequence))
	if !l.stock.wants(s.size) {
		return l.fs.Remove(path)
	}
	name := spareName(l.stock.number())
	if err := l.fs.Rename(path, filepath.Join(l.dir, name)); err != nil {
		return err
	}
	file, err := l.fs.Open(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	l.stock.put(spare{name: name, file: file, size: s.size})
	return nil
}

// spare is a file that is ready to become a segment. Its blocks are reserved; its content means nothing.
type spare struct {
	name  string
	file  vfs.File
	size  int64
	fresh bool
}

// maxSpares bounds the spares: one in waiting hides the cost of a new one, and another serves a burst.
const maxSpares = 2

// stock keeps spares. A goroutine of its own makes a new one ahead of need, unless inline is set.
type stock struct {
	fs           vfs.FS
	dir          string
	segmentBytes int64
	inline       bool
	spares       []spare
	next         uint64
	// coming gets the spare that is being made; nil when none is.
	coming chan prepared
}

type prepared struct {
	spare spare
	err   error
}

func (s *stock) number() uint64 {
	s.next++
	return s.next
}

// wants tells whether a retired segment is worth keeping.
func (s *stock) wants(size int64) bool {
	n := len(s.spares)
	if s.coming != nil {
		n++
	}
	return size == s.segmentBytes && n < maxSpares
}

func (s *stock) put(x spare) { s.spares = append(s.spares, x) }

// prepare sees to it that there will be a spare.
func (s *stock) prepare() {
	if s.inline || s.coming != nil || len(s.spares) > 0 {
		return
	}
	coming := make(chan prepared, 1)
	s.coming = coming
	name, size := spareName(s.number()), s.segmentBytes
	go func() {
		x, err := s.make(name, size)
		coming <- prepared{x, err}
	}()
}

// take returns a spare of at least size bytes. That there was no room for one ahead of need is no failure: there may be now.
func (s *stock) take(size int64) (spare, error) {
	if n := len(s.spares); n > 0 && s.spares[n-1].size >= size {
		x := s.spares[n-1]
		s.spares = s.spares[:n-1]
		return x, nil
	}
	if s.coming != nil && size <= s.segmentBytes {
		p := <-s.coming
		s.coming = nil
		if p.err == nil || !vfs.IsNoSpace(p.err) {
			return p.spare, p.err
		}
	}
	return s.make(spareName(s.number()), size)
}

// make creates a file of zeros with all its blocks reserved.
func (s *stock) make(name string, size int64) (spare, error) {
	path := filepath.Join(s.dir, name)
	file, err := s.fs.Create(path)
	if err != nil {
		return spare{}, err
	}
	err = file.Preallocate(size)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return spare{}, errors.Join(err, file.Close(), s.fs.Remove(path))
	}
	return spare{name: name, file: file, size: size, fresh: true}, nil
}

// close waits for the goroutine and closes the spares. The next Open removes them.
func (s *stock) close() {
	if s.coming != nil {
		if p := <-s.coming; p.err == nil {
			s.put(p.spare)
		}
		s.coming = nil
	}
	for _, x := range s.spares {
		// Nothing was written that matters.
		_ = x.file.Close()
	}
	s.spares = nil
}
