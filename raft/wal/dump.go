package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/raftkv/raftkv/raft/vfs"
)

// Dump writes what is in a log's directory for a person to read: each segment, frame and record. It changes nothing,
// takes no lock (the end of a log in use may look torn) and needs no identity. Damage is written down, and the
// dump goes on with the next segment; the first damage is also returned.
func Dump(fs vfs.FS, dir string, w io.Writer) error {
	found, err := list(fs, dir)
	if err != nil {
		return err
	}
	d := dumper{w: w}
	for _, sequence := range found.segments {
		d.segment(fs, filepath.Join(dir, segmentName(sequence)))
	}
	for _, name := range found.spares {
		d.print("%s: spare\n", filepath.Join(dir, name))
	}
	return errors.Join(d.writeErr, d.damage)
}

type dumper struct {
	w                io.Writer
	writeErr, damage error
}

func (d *dumper) print(format string, args ...any) {
	if d.writeErr == nil {
		_, d.writeErr = fmt.Fprintf(d.w, format, args...)
	}
}

func (d *dumper) bad(err error) {
	d.print("  ! %v\n", err)
	if d.damage == nil {
		d.damage = err
	}
}

func (d *dumper) segment(fs vfs.FS, name string) {
	s, err := openSegment(fs, name)
	if err != nil {
		d.print("%s:\n", name)
		d.bad(err)
		return
	}
	kind := "recycled"
	if s.header.fresh {
		kind = "fresh"
	}
	d.print("%s: segment %d, %d bytes, %s, format %d, %s\n", name, s.header.sequence, s.size, kind, formatVersion, s.header.identity)
	offset := int64(headerBytes)
	for {
		f, status, err := s.next(offset)
		if err != nil {
			d.bad(err)
			break
		}
		if status == frameGood {
			d.frame(s, f)
			offset = f.end
			continue
		}
		d.end(s, f, status)
		break
	}
	if err := s.close(); err != nil {
		d.bad(err)
	}
}

// end says how a segment ends.
func (d *dumper) end(s *segmentReader, f frame, status frameStatus) {
	later, _, err := s.leftover(f.offset)
	torn := false
	if err == nil && status != frameBlank {
		torn, err = s.tearExplains(f, status)
	}
	switch {
	case err != nil:
		d.bad(err)
	case later != 0:
		d.bad(s.corrupt(f.offset, fmt.Sprintf("no whole frame here, but one that was written later at %d", later)))
	case status == frameBlank:
		d.print("  %10d end, %d bytes free\n", f.offset, s.size-f.offset)
	case torn:
		d.print("  %10d end, with what a torn write left or an earlier use of the file\n", f.offset)
	default:
		d.bad(s.corrupt(f.offset, "a frame with a wrong checksum, which is not what a torn write leaves"))
	}
}

func (d *dumper) frame(s *segmentReader, f frame) {
	d.print("  %10d %s, %d bytes, checksum %08x\n", f.offset, f.kind, f.length, f.crc)
	for payload := f.payload; len(payload) > 0; {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			d.bad(s.corrupt(f.offset, err.Error()))
			return
		}
		payload = rest
		d.record(rec)
	}
}

func (d *dumper) record(r record) {
	switch r.kind {
	case recordEntry:
		d.print("             entry %d, term %d, %s, %d bytes\n", r.entry.Index, r.entry.Term, r.entry.Type, len(r.entry.Data))
	case recordHardState:
		d.print("             hard state: term %d, vote %s\n", r.hardState.Term, r.hardState.Vote)
	case recordInstall:
		d.print("             snapshot %d, term %d, cluster version %d, %d members, entries behind it kept: %t\n",
			r.snapshot.Index, r.snapshot.Term, r.snapshot.ClusterVersion, len(r.snapshot.Membership.Members), r.keep)
	case recordStart:
		d.print("             the log starts behind entry %d, term %d; segments are needed from %d on\n", r.start.Index, r.start.Term, r.first)
	case recordOrigin:
		d.print("             the segment before ends at %d with frame %08x; last entry %d\n", r.origin.end, r.origin.crc, r.origin.last)
	}
}
