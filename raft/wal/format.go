package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftkv/raftkv/raft"
)

// formatVersion is the version of segments that this build writes and the only one that it reads.
const formatVersion = 1

// A segment begins with a header of headerBytes; integers are big-endian:
//
//	 0 magic      8 bytes
//	 8 version    u32
//	12 checksum   u32  CRC32C of the header without this field
//	16 sequence   u64  number of the segment, also its name
//	24 cluster    u64
//	32 member     u64
//	40 incarnation u64
//	48 flags      u32  bit 0: the file was all zeros before this use
//	52 reserved   12 bytes of zero
//
// Magic, version and checksum, and the length that it covers, stay where they are in every version, so that an older
// build can tell a newer file from a damaged one.
const (
	magic       = "rkv-wal\n"
	headerBytes = 64
	flagFresh   = 1 << 0
)

// Behind the header come frames, each at a multiple of frameAlignment. A frame is what one write stored:
//
//	 0 length     u32  of the payload
//	 4 kind       u32
//	 8 payload checksum  u32  CRC32C
//	12 header checksum   u32  CRC32C of identity, sequence, offset in the file and the 12 bytes before
//	16 payload
//
// Every write ends with a blank frame header of zeros (where the segment has room for one), which the next
// write overwrites: it marks the end even in a recycled file.
const (
	frameHeaderBytes = 16
	frameAlignment   = 8
	// maxPayloadBytes bounds the payload of a frame; one entry may be almost as large.
	maxPayloadBytes = 1 << 30
)

type frameKind uint32

const (
	// frameState opens a segment: all that the segments before it said about anything but entries.
	frameState frameKind = iota + 1
	// frameBatch holds the records of one write.
	frameBatch
	// frameClosed is empty. It says that the log was closed in order, so that the frame before is known to be synced.
	frameClosed
)

func (k frameKind) String() string {
	switch k {
	case frameState:
		return "state"
	case frameBatch:
		return "batch"
	case frameClosed:
		return "closed"
	}
	return fmt.Sprintf("frame-kind-%d", uint32(k))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity says whose log it is. A log is opened only by the member that made it.
type Identity struct {
	Cluster     raft.ClusterID
	Member      raft.NodeID
	Incarnation raft.Incarnation
}

func (id Identity) String() string {
	return fmt.Sprintf("cluster %s, member %s, incarnation %s", id.Cluster, id.Member, id.Incarnation)
}

func (id Identity) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(id.Cluster))
	b = binary.BigEndian.AppendUint64(b, uint64(id.Member))
	return binary.BigEndian.AppendUint64(b, uint64(id.Incarnation))
}

// segmentHeader is the decoded header of a segment.
type segmentHeader struct {
	sequence uint64
	identity Identity
	fresh    bool
}

func (h segmentHeader) append(b []byte) []byte {
	at := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.sequence)
	b = h.identity.append(b)
	var flags uint32
	if h.fresh {
		flags |= flagFresh
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = append(b, make([]byte, headerBytes-(len(b)-at))...)
	binary.BigEndian.PutUint32(b[at+12:], headerChecksum(b[at:]))
	return b
}

func headerChecksum(b []byte) uint32 {
	sum := crc32.Checksum(b[:12], castagnoli)
	return crc32.Update(sum, castagnoli, b[16:headerBytes])
}

// decodeHeader reads a header. Its errors lack the file's name.
func decodeHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < headerBytes {
		return h, &CorruptError{Reason: fmt.Sprintf("the file has %d bytes, a segment's header %d", len(b), headerBytes)}
	}
	if string(b[:8]) != magic {
		return h, &CorruptError{Reason: fmt.Sprintf("a segment begins with %q, this file with %q", magic, b[:8])}
	}
	if want, got := binary.BigEndian.Uint32(b[12:]), headerChecksum(b); want != got {
		return h, &CorruptError{Reason: fmt.Sprintf("the header's checksum is %08x, its bytes give %08x", want, got)}
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return h, &VersionError{Found: v, Supported: formatVersion}
	}
	h.sequence = binary.BigEndian.Uint64(b[16:])
	h.identity = Identity{
		Cluster:     raft.ClusterID(binary.BigEndian.Uint64(b[24:])),
		Member:      raft.NodeID(binary.BigEndian.Uint64(b[32:])),
		Incarnation: raft.Incarnation(binary.BigEndian.Uint64(b[40:])),
	}
	h.fresh = binary.BigEndian.Uint32(b[48:])&flagFresh != 0
	return h, nil
}

// seed starts the checksum of all frame headers of a segment, so that no bytes of another segment, or of an
// earlier use of the same file, are taken for a frame of this one.
func (h segmentHeader) seed() uint32 {
	var b [32]byte
	return crc32.Checksum(binary.BigEndian.AppendUint64(h.identity.append(b[:0]), h.sequence), castagnoli)
}

// frameHeader is the decoded header of a frame.
type frameHeader struct {
	kind       frameKind
	length     int64
	payloadCRC uint32
}

func (h frameHeader) put(b []byte, seed uint32, offset int64) {
	binary.BigEndian.PutUint32(b, uint32(h.length))
	binary.BigEndian.PutUint32(b[4:], uint32(h.kind))
	binary.BigEndian.PutUint32(b[8:], h.payloadCRC)
	binary.BigEndian.PutUint32(b[12:], frameChecksum(b, seed, offset))
}

func frameChecksum(b []byte, seed uint32, offset int64) uint32 {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(crc32.Update(seed, castagnoli, at[:]), castagnoli, b[:12])
}

// decodeFrameHeader tells whether b holds the header of a frame that was written at this offset of this segment.
func decodeFrameHeader(b []byte, seed uint32, offset int64) (frameHeader, bool) {
	h := frameHeader{
		length:     int64(binary.BigEndian.Uint32(b)),
		kind:       frameKind(binary.BigEndian.Uint32(b[4:])),
		payloadCRC: binary.BigEndian.Uint32(b[8:]),
	}
	if h.kind < frameState || h.kind > frameClosed || h.length > maxPayloadBytes {
		return h, false
	}
	return h, binary.BigEndian.Uint32(b[12:]) == frameChecksum(b, seed, offset)
}

// rottenFrameHeader tells whether one or two bits of b have flipped since it was the header of a frame that was written at this offset of this
// segment. Other bytes pass for that once in 500,000 times: there are 8,256 such flips and 2^32 checksums.
func rottenFrameHeader(b [frameHeaderBytes]byte, seed uint32, offset int64) bool {
	const bits = 8 * frameHeaderBytes
	for i := range bits {
		b[i/8] ^= 1 << (i % 8)
		if _, ok := decodeFrameHeader(b[:], seed, offset); ok {
			return true
		}
		for k := range i {
			b[k/8] ^= 1 << (k % 8)
			if _, ok := decodeFrameHeader(b[:], seed, offset); ok {
				return true
			}
			b[k/8] ^= 1 << (k % 8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	return false
}

// frameEnd returns where the frame after one at offset begins.
func frameEnd(offset, length int64) int64 {
	return align(offset + frameHeaderBytes + length)
}

func align(n int64) int64 { return (n + frameAlignment - 1) &^ (frameAlignment - 1) }

// sealFrame turns b[start:] (room for a header, then the payload) into a frame that stands at offset in the file,
// padded to the alignment, and returns b.
func sealFrame(b []byte, start int, kind frameKind, seed uint32, offset int64) []byte {
	payload := b[start+frameHeaderBytes:]
	h := frameHeader{kind: kind, length: int64(len(payload)), payloadCRC: crc32.Checksum(payload, castagnoli)}
	h.put(b[start:], seed, offset)
	for int64(len(b)-start) < align(frameHeaderBytes+h.length) {
		b = append(b, 0)
	}
	return b
}

var blankFrameHeader [frameHeaderBytes]byte
