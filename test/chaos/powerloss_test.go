//go:build linux

package chaos

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"
)

// What this file knows of a segment of the write-ahead log is what raft/wal documents: a header of 64 bytes, then frames of 16
// bytes of header and a payload, at multiples of 8; it reads them with code of its own.
const (
	segmentHeaderBytes = 64
	frameHeaderBytes   = 16
	frameAlignment     = 8
	sectorBytes        = 512
	frameKindBatch     = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is the content of a segment's file.
type segment []byte

// frameChecksum covers whose log it is, the segment's number, the offset and the 12 bytes before the checksum.
func (s segment) frameChecksum(header []byte, offset int64) uint32 {
	sum := crc32.Checksum(s[24:48], castagnoli) // cluster, member, incarnation
	sum = crc32.Update(sum, castagnoli, s[16:24])
	sum = crc32.Update(sum, castagnoli, binary.BigEndian.AppendUint64(nil, uint64(offset)))
	return crc32.Update(sum, castagnoli, header[:12])
}

// frames returns the offsets of all whole frames, and where the next one goes.
func (s segment) frames() (offsets []int64, end int64) {
	end = segmentHeaderBytes
	for end+frameHeaderBytes <= int64(len(s)) {
		header := s[end:][:frameHeaderBytes]
		if binary.BigEndian.Uint32(header[4:]) == 0 || binary.BigEndian.Uint32(header[12:]) != s.frameChecksum(header, end) {
			break
		}
		offsets = append(offsets, end)
		end += frameHeaderBytes + int64(binary.BigEndian.Uint32(header))
		end = (end + frameAlignment - 1) &^ (frameAlignment - 1)
	}
	return offsets, end
}

// loseTail leaves at the end of a killed node's log what a loss of power leaves of a write that had not been synced, and so
// was not acknowledged: some of its sectors, but not all. It returns false when the segment has no room for that.
func (n *node) loseTail(t *testing.T, random *rand.Rand) bool {
	t.Helper()
	names := n.segments()
	path := names[len(names)-1]
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := segment(raw)
	_, end := s.frames()
	const leastSectors, moreSectors = 4, 12
	payload := make([]byte, (leastSectors+random.IntN(moreSectors))*sectorBytes)
	for i := range payload {
		payload[i] = byte(1 + random.IntN(255)) // a sector that was written is not all zeros
	}
	if end+frameHeaderBytes+int64(len(payload)) > int64(len(s)) {
		return false
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, frameKindBatch)
	frame = binary.BigEndian.AppendUint32(frame, crc32.Checksum(payload, castagnoli))
	frame = binary.BigEndian.AppendUint32(frame, s.frameChecksum(frame, end))
	frame = append(frame, payload...)

	after := bytes.Clone(s)
	copy(after[end:], frame)
	first, last := end/sectorBytes, (end+int64(len(frame))-1)/sectorBytes
	lost := first + random.Int64N(last-first) // at least one that the payload fills, or begins in
	for sector := first; sector <= last; sector++ {
		if sector == lost || random.IntN(2) == 0 {
			from := sector * sectorBytes
			copy(after[from:from+sectorBytes], s[from:from+sectorBytes])
		}
	}
	// A write of which nothing arrived is no torn write; its second sector is full of payload.
	if bytes.Equal(after, s) {
		keep := first + 1
		if keep == lost {
			keep++
		}
		from := max(keep*sectorBytes, end)
		copy(after[from:(keep+1)*sectorBytes], frame[from-end:])
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(after[end:min(int64(len(after)), (last+1)*sectorBytes)], end); err != nil {
		t.Fatal(err)
	}
	return true
}
