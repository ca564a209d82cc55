package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// serviceSnapshot is the name of the service that takes snapshots.
const serviceSnapshot = "raftkv.snapshot"

// snapshotService takes one snapshot per connection: Begin, then chunks, with a Sync after each window, then Commit.
type snapshotService struct {
	Begin  func(context.Context, *batch) (*snapshotBegun, error) // one MsgSnapshot
	Chunk  func(context.Context, *chunk) error
	Sync   func(context.Context, *snapshotSync) (*snapshotSynced, error)
	Commit func(context.Context, *snapshotCommit) (*snapshotCommitted, error)
}

type snapshotBegun struct {
	Stream uint64 `json:"stream,string"`
}

type snapshotSync struct {
	Stream uint64 `json:"stream,string"`
}

// snapshotSynced says how many bytes were written so far.
type snapshotSynced struct {
	Bytes uint64 `json:"bytes,string"`
}

// snapshotCommit describes the whole stream.
type snapshotCommit struct {
	Stream uint64 `json:"stream,string"`
	Bytes  uint64 `json:"bytes,string"`
	SHA256 []byte `json:"sha256"`
}

type snapshotCommitted struct{}

// chunk is a part of the stream: uint64 stream, uint64 offset, uint32 CRC32C of these and the data, data.
type chunk struct {
	stream, offset uint64
	data           []byte
}

const (
	chunkFormat      = 1
	chunkHeaderBytes = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WireVersion is the version of the chunk's encoding.
func (*chunk) WireVersion() uint16 { return chunkFormat }

// AppendBinary implements encoding.BinaryAppender.
func (c *chunk) AppendBinary(to []byte) ([]byte, error) {
	at := len(to)
	to = binary.BigEndian.AppendUint64(to, c.stream)
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
	c.stream, c.offset, c.data = binary.BigEndian.Uint64(from), binary.BigEndian.Uint64(from[8:]), from[chunkHeaderBytes:]
	return nil
}
