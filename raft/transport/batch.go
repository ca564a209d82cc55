package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// serviceRaft is the name of the service that takes messages.
const serviceRaft = "raftkv.raft"

// raftService takes batches of messages, one-way.
type raftService struct {
	Step func(context.Context, *batch) error
}

// batch is several messages in one frame: uint32 count, then for each its length as uint32 and its encoding.
type batch struct{ messages []raft.Message }

// batchFormat is the version of the batch's own encoding.
const batchFormat = 1

// WireVersion covers the batch and the messages in it.
func (*batch) WireVersion() uint16 { return batchFormat<<8 | raft.Message{}.WireVersion() }

// AppendBinary implements encoding.BinaryAppender.
func (b *batch) AppendBinary(to []byte) ([]byte, error) {
	to = binary.BigEndian.AppendUint32(to, uint32(len(b.messages)))
	for i := range b.messages {
		at := len(to)
		to = append(to, 0, 0, 0, 0)
		var err error
		if to, err = b.messages[i].AppendBinary(to); err != nil {
			return to, err
		}
		binary.BigEndian.PutUint32(to[at:], uint32(len(to)-at-4))
	}
	return to, nil
}

// maxBatchMessages bounds what a receiver takes room for: no queue of a sender holds more.
const maxBatchMessages = max(ControlQueueMessages, BulkQueueMessages)

// leastMessageBytes is below what any message takes with its length.
const leastMessageBytes = 4

// SizeHint bounds the encoded length.
func (b *batch) SizeHint() int {
	n := 4
	for i := range b.messages {
		n += messageBytes(&b.messages[i])
	}
	return n
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Messages copy what they keep.
func (b *batch) UnmarshalBinary(from []byte) error {
	if len(from) < 4 {
		return errors.New("batch of messages is truncated")
	}
	count := binary.BigEndian.Uint32(from)
	if count > maxBatchMessages || uint64(count)*leastMessageBytes > uint64(len(from)) {
		return fmt.Errorf("batch of %d messages in %d bytes", count, len(from))
	}
	rest := from[4:]
	messages := make([]raft.Message, count)
	for i := range messages {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return errors.New("batch of messages is truncated")
		}
		n := 4 + binary.BigEndian.Uint32(rest)
		if err := messages[i].UnmarshalBinary(rest[4:n:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return fmt.Errorf("batch of messages has %d bytes too many", len(rest))
	}
	b.messages = messages
	return nil
}

// messageBytes bounds the encoded length of a message.
func messageBytes(m *raft.Message) int {
	n := leastMessageBytes + 2 + 9*binary.MaxVarintLen64
	for i := range m.Entries {
		n += m.Entries[i].EncodedSize()
	}
	return n
}
