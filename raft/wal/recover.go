package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// Recovered is what a log held when it was opened.
type Recovered struct {
	HardState raft.HardState
	// Start is the position just before the first entry; zero when the log is whole.
	Start raft.Position
	// Entries are contiguous from Start.Index+1. Their data is not shared with the Log.
	Entries []raft.Entry
	// Snapshot is the last install marker, whether or not the state machine has taken it over. Nil: there was none.
	Snapshot *raft.SnapshotMeta
	// Repaired says what was cut off because a loss of power had left it half written; empty: nothing.
	Repaired string
}

const (
	segmentSuffix = ".wal"
	spareSuffix   = ".spare"
)

func segmentName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, segmentSuffix) }
func spareName(number uint64) string     { return fmt.Sprintf("%016x%s", number, spareSuffix) }

// listing is what a log's directory holds.
type listing struct {
	segments []uint64
	spares   []string
}

func list(fs vfs.FS, dir string) (listing, error) {
	names, err := fs.List(dir)
	if err != nil {
		return listing{}, err
	}
	var l listing
	for _, name := range names {
		if strings.HasSuffix(name, spareSuffix) {
			l.spares = append(l.spares, name)
			continue
		}
		number, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 16, 64)
		if err == nil && name == segmentName(number) {
			l.segments = append(l.segments, number)
		}
	}
	slices.Sort(l.segments)
	return l, nil
}

// contiguous returns the longest run of consecutive numbers at the end. Segments before a gap were on their
// way out when the power failed, which is checked once the run was played.
func contiguous(segments []uint64) []uint64 {
	from := len(segments) - 1
	for from > 0 && segments[from-1]+1 == segments[from] {
		from--
	}
	return segments[from:]
}

// recovery reads a log without changing anything.
type recovery struct {
	replay
	fs       vfs.FS
	dir      string
	identity Identity
	// tail is the last segment; lastFrame is its last good frame and end where the next one goes.
	tail      segmentHeader
	lastFrame frame
	end       int64
	// torn says that something half written is at end.
	torn string
}

// read plays all segments.
func (r *recovery) read(sequences []uint64) error {
	run := contiguous(sequences)
	for i, sequence := range run {
		if err := r.readSegment(sequence, i == 0, i == len(run)-1); err != nil {
			return err
		}
	}
	oldest, newest := run[0], run[len(run)-1]
	if r.first < oldest || r.first > newest {
		return &CorruptError{File: filepath.Join(r.dir, segmentName(r.first)),
			Reason: fmt.Sprintf("the log needs all segments from this one on; those from %s to %s are here",
				segmentName(oldest), segmentName(newest))}
	}
	if err := r.whole(); err != nil {
		return &CorruptError{File: filepath.Join(r.dir, segmentName(oldest)), Offset: headerBytes, Reason: err.Error()}
	}
	return nil
}

func (r *recovery) readSegment(sequence uint64, first, last bool) (err error) {
	s, err := openSegment(r.fs, filepath.Join(r.dir, segmentName(sequence)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.header.identity != r.identity {
		return &IdentityError{File: s.name, Found: s.header.identity, Want: r.identity}
	}
	if s.header.sequence != sequence {
		return s.corrupt(16, fmt.Sprintf("the file is named as segment %d, its header says %d", sequence, s.header.sequence))
	}
	st, before, f, err := s.state()
	if err != nil {
		return err
	}
	if first {
		r.adopt(st)
		r.entriesFrom = r.from
	} else if err := r.goOn(s, st, before); err != nil {
		return err
	}
	r.segments = append(r.segments, segment{sequence: sequence, size: s.size})
	r.tail = s.header
	return r.readFrames(s, f, last)
}

// goOn checks that a segment begins where the one before it was found to end.
func (r *recovery) goOn(s *segmentReader, st state, before origin) error {
	if before.end != r.end || before.crc != r.lastFrame.crc {
		return &CorruptError{
			File:   filepath.Join(r.dir, segmentName(s.header.sequence-1)),
			Offset: r.end,
			Reason: fmt.Sprintf("the segment ends here with the frame %08x; by the next segment it ends at %d with the frame %08x",
				r.lastFrame.crc, before.end, before.crc),
		}
	}
	if err := r.follows(st); err != nil {
		return s.corrupt(headerBytes, err.Error())
	}
	r.startAt(st.start)
	r.trim()
	return nil
}

// readFrames plays the frames behind the state frame.
func (r *recovery) readFrames(s *segmentReader, f frame, last bool) error {
	for {
		f.payload = nil
		r.lastFrame, r.end = f, f.end
		next, status, err := s.next(f.end)
		if err != nil {
			return err
		}
		if status != frameGood {
			if !last {
				return nil // goOn knows where it has to end
			}
			return r.readTail(s, next, status)
		}
		switch next.kind {
		case frameBatch:
			if err := r.play(bytes.Clone(next.payload), next.offset); err != nil {
				return s.corrupt(next.offset, err.Error())
			}
		case frameClosed:
		default:
			return s.corrupt(next.offset, "a second "+next.kind.String()+" frame")
		}
		f = next
	}
}

// readTail tells a clean end and a torn write from damage.
func (r *recovery) readTail(s *segmentReader, f frame, status frameStatus) error {
	later, dirty, err := s.leftover(f.offset)
	if err != nil {
		return err
	}
	if later != 0 {
		return s.corrupt(f.offset, fmt.Sprintf("no whole frame here, but one that was written later at %d", later))
	}
	if status == frameBlank {
		if dirty && s.header.fresh {
			r.torn = "the first sector of a write is missing"
		}
		return nil
	}
	torn, err := s.tearExplains(f, status)
	if err != nil {
		return err
	}
	switch {
	case !torn && status == frameBadHeader:
		return s.corrupt(f.offset, "neither a frame with the right checksum, nor zeros, nor what a torn write leaves")
	case !torn:
		return s.corrupt(f.offset, fmt.Sprintf("the frame of %d bytes has not the checksum %08x, and all of its sectors were written",
			f.length, f.payloadCRC))
	}
	r.torn = "some sectors of a write are missing"
	return nil
}

// leftovers returns the segments that are not needed any more, which a crash has kept from going.
func (r *recovery) leftovers(sequences []uint64) []uint64 {
	i, _ := slices.BinarySearch(sequences, r.first)
	return sequences[:i]
}
