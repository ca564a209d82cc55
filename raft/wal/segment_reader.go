package wal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/raftkv/raftkv/raft/vfs"
)

// segmentReader reads a segment's frames. It reads ahead so that small frames do not cost a system call each.
type segmentReader struct {
	file   vfs.File
	name   string
	size   int64
	header segmentHeader
	seed   uint32
	// window holds the bytes from windowAt on.
	window   []byte
	windowAt int64
}

const readAheadBytes = 256 << 10

// openSegment opens a segment and reads its header.
func openSegment(fs vfs.FS, name string) (*segmentReader, error) {
	file, err := fs.OpenRead(name)
	if err != nil {
		return nil, err
	}
	r := &segmentReader{file: file, name: name}
	if r.size, err = file.Size(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	b, err := r.bytes(0, min(headerBytes, r.size))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if r.header, err = decodeHeader(b); err != nil {
		var corrupt *CorruptError
		var version *VersionError
		switch {
		case errors.As(err, &corrupt):
			corrupt.File = name
		case errors.As(err, &version):
			version.File = name
		}
		return nil, errors.Join(err, file.Close())
	}
	r.seed = r.header.seed()
	return r, nil
}

func (r *segmentReader) close() error { return r.file.Close() }

// bytes returns n bytes at off, which lie within the file. They are valid until the next call.
func (r *segmentReader) bytes(off, n int64) ([]byte, error) {
	if off >= r.windowAt && off+n <= r.windowAt+int64(len(r.window)) {
		return r.window[off-r.windowAt:][:n], nil
	}
	length := min(max(n, readAheadBytes), r.size-off)
	if int64(cap(r.window)) < length {
		r.window = make([]byte, length)
	}
	r.window, r.windowAt = r.window[:length], off
	if got, err := r.file.ReadAt(r.window, off); got < len(r.window) {
		r.window = r.window[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %d bytes of %s at offset %d: %w", length, r.name, off, err)
	}
	return r.window[:n], nil
}

// frame is one frame of a segment.
type frame struct {
	frameHeader
	offset, end int64
	// crc is the checksum of the header, which covers that of the payload.
	crc uint32
	// payload is valid until the next read.
	payload []byte
}

// frameStatus is what stands at an offset.
type frameStatus uint8

const (
	frameGood frameStatus = iota
	// frameBlank is where the next write goes.
	frameBlank
	frameBadHeader
	frameBadPayload
)

// next reads the frame at offset. A segment that has no room for a frame there is blank.
func (r *segmentReader) next(offset int64) (frame, frameStatus, error) {
	f := frame{offset: offset}
	if offset+frameHeaderBytes > r.size {
		return f, frameBlank, nil
	}
	b, err := r.bytes(offset, frameHeaderBytes)
	if err != nil {
		return f, 0, err
	}
	if [frameHeaderBytes]byte(b) == blankFrameHeader {
		return f, frameBlank, nil
	}
	h, ok := decodeFrameHeader(b, r.seed, offset)
	f.frameHeader = h
	if !ok {
		return f, frameBadHeader, nil
	}
	f.crc = frameChecksum(b, r.seed, offset)
	f.end = frameEnd(offset, h.length)
	if offset+frameHeaderBytes+h.length > r.size {
		return f, frameBadPayload, nil
	}
	if f.payload, err = r.bytes(offset+frameHeaderBytes, h.length); err != nil {
		return f, 0, err
	}
	if crc32.Checksum(f.payload, castagnoli) != h.payloadCRC {
		return f, frameBadPayload, nil
	}
	return f, frameGood, nil
}

// state reads the state frame, which is the first of every segment and was synced before the segment got its name.
func (r *segmentReader) state() (state, origin, frame, error) {
	var st state
	var before origin
	f, status, err := r.next(headerBytes)
	if err != nil {
		return st, before, f, err
	}
	if status != frameGood || f.kind != frameState {
		return st, before, f, r.corrupt(headerBytes, "a segment's first frame must be its state, whole and with the right checksum")
	}
	for payload := f.payload; len(payload) > 0; {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			return st, before, f, r.corrupt(headerBytes, err.Error())
		}
		payload = rest
		switch rec.kind {
		case recordHardState:
			st.hardState = rec.hardState
		case recordStart:
			st.start, st.first = rec.start, rec.first
		case recordInstall:
			st.snapshot = rec.snapshot
		case recordOrigin:
			before, st.last = rec.origin, rec.origin.last
		default:
			return st, before, f, r.corrupt(headerBytes, "a record of type "+rec.kind.String()+" has no place in a state frame")
		}
	}
	return st, before, f, nil
}

func (r *segmentReader) corrupt(offset int64, reason string) error {
	return &CorruptError{File: r.name, Offset: offset, Reason: reason}
}

// leftover looks at what is behind the last good frame: the first later offset at which a frame of this segment
// begins (or 0), and whether there is anything but zeros.
func (r *segmentReader) leftover(offset int64) (frameAt int64, dirty bool, err error) {
	const stepBytes = readAheadBytes - frameHeaderBytes
	for at := offset; at < r.size; at += stepBytes {
		b, err := r.bytes(at, min(readAheadBytes, r.size-at))
		if err != nil {
			return 0, false, err
		}
		if isZero(b) { // as nearly all of a segment is that was just begun
			continue
		}
		for i := int64(0); i < min(stepBytes, int64(len(b))); i += frameAlignment {
			if isZero(b[i:min(i+frameAlignment, int64(len(b)))]) {
				continue
			}
			dirty = true
			if at+i == offset || i+frameHeaderBytes > int64(len(b)) {
				continue
			}
			if _, ok := decodeFrameHeader(b[i:], r.seed, at+i); ok {
				return at + i, true, nil
			}
		}
	}
	return 0, dirty, nil
}

// zeros is what isZero compares with: many bytes in a few instructions, for a start reads what is left of its segment.
var zeros [4096]byte

func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// tearExplains tells whether a write of which only some sectors reached the disk can have left a bad frame like
// this. What stood there before was zeros: under all of it in a fresh file, under its header in any, since every write
// ends with a blank one. In a recycled file that blank one may be in the sector that is missing, while the frame before it is whole:
// it ends with the sector before, or the file held the same bytes as its end. What stands there then is of no frame of this place.
func (r *segmentReader) tearExplains(f frame, status frameStatus) (bool, error) {
	from, to := f.offset, f.offset+frameHeaderBytes
	if status == frameBadHeader && !r.header.fresh {
		b, err := r.bytes(from, frameHeaderBytes)
		return err == nil && !rottenFrameHeader([frameHeaderBytes]byte(b), r.seed, from), err
	}
	if status == frameBadPayload {
		from, to = to, to+f.length
		if to > r.size {
			return false, nil
		}
		if !r.header.fresh {
			return true, nil
		}
	}
	for from < to {
		end := min((from/vfs.SectorBytes+1)*vfs.SectorBytes, to)
		b, err := r.bytes(from, end-from)
		if err != nil {
			return false, err
		}
		if isZero(b) {
			return true, nil
		}
		from = end
	}
	return false, nil
}
