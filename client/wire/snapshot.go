package wire

import "encoding/binary"

// MaxChunkBytes is how much of a snapshot one answer holds.
const MaxChunkBytes = 256 << 10

// SnapshotReply is a snapshot that was opened; it is to be read from SnapshotNext, on the same connection, without long pauses.
type SnapshotReply struct {
	Reply
	ID       uint64 `json:"id"`
	MemberID uint64 `json:"memberID"`
	Index    uint64 `json:"index"`
	Term     uint64 `json:"term"`
}

// SnapshotPull names a snapshot, and the offset that the next chunk begins at.
type SnapshotPull struct {
	ID     uint64 `json:"id"`
	Offset int64  `json:"offset"`
}

// SnapshotChunk is the next part of a snapshot. The frame that it travels in has a checksum; the last chunk, with that of the whole, says that
// nothing was left out.
type SnapshotChunk struct {
	Status  Status
	Message string
	Offset  int64
	Data    []byte
	// Last is set in the last chunk, which holds no data but the SHA-256 of all of it.
	Last   bool
	SHA256 [32]byte
}

const chunkVersion = 1

// WireVersion is that of the encoding.
func (*SnapshotChunk) WireVersion() uint16 { return chunkVersion }

// SizeHint is about what the encoding takes.
func (c *SnapshotChunk) SizeHint() int { return len(c.Data) + len(c.Message) + 64 }

// AppendBinary encodes status u8; unless it is OK, a message; then whether it is the last u8, the offset, and the data, or the checksum.
func (c *SnapshotChunk) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, byte(c.Status))
	if c.Status != StatusOK {
		return appendBytes(b, c.Message), nil
	}
	b = append(b, boolByte(c.Last))
	b = binary.AppendUvarint(b, uint64(c.Offset))
	if c.Last {
		return append(b, c.SHA256[:]...), nil
	}
	return appendBytes(b, c.Data), nil
}

// UnmarshalBinary decodes a chunk. It copies what it keeps.
func (c *SnapshotChunk) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	if c.Status = Status(d.byte()); c.Status != StatusOK {
		c.Message = string(d.bytes())
		return d.err()
	}
	c.Last = d.flags(1) != 0
	c.Offset = int64(d.uvarint())
	if !c.Last {
		c.Data = append([]byte(nil), d.bytes()...)
		return d.err()
	}
	if len(d.data) != len(c.SHA256) {
		return ErrMalformed
	}
	copy(c.SHA256[:], d.data)
	return nil
}
