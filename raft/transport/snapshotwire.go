package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/raftkv/raftkv/raft"
)

// serviceSnapshot is the name of the service that takes snapshots.
const serviceSnapshot = "raftkv.snapshot"

// snapshotService takes one snapshot per connection: Begin, which may also go on with one whose connection broke, then chunks, with a
// Sync now and then to learn how far the receiver is, then Commit or Abort.
type snapshotService struct {
	Begin  func(context.Context, *snapshotBegin) (*snapshotBegun, error)
	Chunk  func(context.Context, *chunk) error
	Sync   func(context.Context, *snapshotSync) (*snapshotSynced, error)
	Commit func(context.Context, *snapshotCommit) (*snapshotCommitted, error)
	Abort  func(context.Context, *snapshotSync) (*snapshotCommitted, error)
}

// snapshotBegin begins a stream or goes on with it. On the wire: uint64 stream, uint64 acked, uint64 total, then the message.
type snapshotBegin struct {
	// stream is random: with the sender's member ID, incarnation and nonce (its Hello) it names this very stream.
	stream uint64
	// acked is how many bytes the receiver has said to have; above 0 it must still have them, or the stream cannot go on.
	acked uint64
	// total is about how long the stream will be in bytes, 0 when that is not known.
	total uint64
	// message is the MsgSnapshot.
	message raft.Message
}

const (
	beginFormat      = 1
	beginHeaderBytes = 24
)

// WireVersion covers the header and the message in it.
func (*snapshotBegin) WireVersion() uint16 { return beginFormat<<8 | raft.Message{}.WireVersion() }

// AppendBinary implements encoding.BinaryAppender.
func (b *snapshotBegin) AppendBinary(to []byte) ([]byte, error) {
	to = binary.BigEndian.AppendUint64(to, b.stream)
	to = binary.BigEndian.AppendUint64(to, b.acked)
	to = binary.BigEndian.AppendUint64(to, b.total)
	return b.message.AppendBinary(to)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. The message copies what it keeps.
func (b *snapshotBegin) UnmarshalBinary(from []byte) error {
	if len(from) < beginHeaderBytes {
		return errors.New("the beginning of a snapshot is truncated")
	}
	var m raft.Message
	if err := m.UnmarshalBinary(from[beginHeaderBytes:]); err != nil {
		return fmt.Errorf("the beginning of a snapshot: %w", err)
	}
	b.stream, b.acked, b.total = binary.BigEndian.Uint64(from), binary.BigEndian.Uint64(from[8:]), binary.BigEndian.Uint64(from[16:])
	b.message = m
	return nil
}

// snapshotBegun says where the stream goes on.
type snapshotBegun struct {
	// Handle names the stream on this connection, in what follows. An older one of the same stream is dead.
	Handle uint64 `json:"handle,string"`
	// Bytes are staged already.
	Bytes uint64 `json:"bytes,string"`
	// Committed: the receiver has all of it and has committed it, only the answer was lost.
	Committed bool `json:"committed,omitempty"`
}

type snapshotSync struct {
	Handle uint64 `json:"handle,string"`
}

// snapshotSynced says how many bytes were written so far.
type snapshotSynced struct {
	Bytes uint64 `json:"bytes,string"`
}

// snapshotCommit describes the whole stream.
type snapshotCommit struct {
	Handle uint64 `json:"handle,string"`
	Bytes  uint64 `json:"bytes,string"`
	CRC32C uint32 `json:"crc32c"`
}

type snapshotCommitted struct{}

// chunk is a part of the stream: uint64 handle, uint64 offset, uint32 CRC32C of these and the data, data.
type chunk struct {
	handle, offset uint64
	data           []byte
}

const (
	chunkFormat      = 2
	chunkHeaderBytes = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WireVersion is the version of the chunk's encoding.
func (*chunk) WireVersion() uint16 { return chunkFormat }

// SizeHint is the encoded length.
func (c *chunk) SizeHint() int { return chunkHeaderBytes + len(c.data) }

// AppendBinary implements encoding.BinaryAppender.
func (c *chunk) AppendBinary(to []byte) ([]byte, error) {
	at := len(to)
	to = binary.BigEndian.AppendUint64(to, c.handle)
	to = binary.BigEndian.AppendUint64(to, c.offset)
	sum := crc32.Update(crc32.Checksum(to[at:], castagnoli), castagnoli, c.data)
	to = binary.BigEndian.AppendUint32(to, sum)
	return append(to, c.data...), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. The data are a slice of the input, which package rpc leaves alone until
// the handler has returned.
func (c *chunk) UnmarshalBinary(from []byte) error {
	if len(from) < chunkHeaderBytes {
		return errors.New("snapshot chunk is truncated")
	}
	sum := crc32.Update(crc32.Checksum(from[:16], castagnoli), castagnoli, from[chunkHeaderBytes:])
	if sum != binary.BigEndian.Uint32(from[16:]) {
		return errors.New("checksum of a snapshot chunk does not match")
	}
	c.handle, c.offset, c.data = binary.BigEndian.Uint64(from), binary.BigEndian.Uint64(from[8:]), from[chunkHeaderBytes:]
	return nil
}
