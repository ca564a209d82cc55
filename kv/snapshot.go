package kv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

// A snapshot is a stream of the logical content, not of a file, so that any store can read what any other wrote, and the
// store that is made of it has no gaps. It is: magic, format u32; then chunks, each of length u32, CRC32C u32 and
// that many bytes, whose first tells the kind: the header (once, first), records, the end (once, last). Integers are
// big-endian. Records are bucket u8, key, value, length first as uvarints. The end carries the number of records and a checksum of the
// whole: in formats 1 and 2 the SHA-256 of all bytes before its chunk, in format 3 the CRC32C of these without the chunks' bodies, whose own
// checksums are in it. SHA-256 took most of the time of whoever sends a snapshot and a third of the receiver's, and said no more.

const (
	snapshotMagic = "raftkvss"
	// snapshotFormat is the latest that this build reads. Formats 1 and 2 are those of the store that the snapshot was made of.
	snapshotFormat = 3
	// chainedFormat is the first whose end carries a checksum of checksums; it is written from cluster version chainedVersion on.
	chainedFormat  = 3
	chainedVersion = CompareVersion

	snapshotPreambleBytes = len(snapshotMagic) + 4
	chunkHeaderBytes      = 8
	// chunkBytes is the length at which a chunk of records is sent.
	chunkBytes = 64 << 10
	// maxChunkBytes bounds what a receiver believes: a chunk may hold one record of any size that the log takes.
	maxChunkBytes = 256 << 20
)

const (
	chunkHeader  = 1
	chunkRecords = 2
	chunkEnd     = 3
)

// snapshotSum is the checksum of the whole.
type snapshotSum struct {
	hash.Hash
	bodies bool // it covers the bodies of the chunks
}

func newSnapshotSum(format uint32) snapshotSum {
	if format >= chainedFormat {
		return snapshotSum{Hash: crc32.New(castagnoli)}
	}
	return snapshotSum{Hash: sha256.New(), bodies: true}
}

// chunk adds a chunk, given as a whole.
func (s snapshotSum) chunk(header, body []byte) {
	_, _ = s.Write(header) // a hash returns no error
	if s.bodies {
		_, _ = s.Write(body)
	}
}

// snapshotFormat is that in which a snapshot of this state is written.
func (l *logical) snapshotFormat() uint32 {
	if l.meta.ClusterVersion >= chainedVersion {
		return chainedFormat
	}
	return l.format()
}

// Snapshot is a durable state to be streamed. Until it is closed, the store cannot reuse the space that later writes free,
// and Machine.Close waits.
type Snapshot struct {
	machine *Machine
	view    store.View
	header  header
	origin  store.Store // of the state
}

// Snapshot flushes what was applied and opens a view of the store.
func (m *Machine) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	if _, err := m.flush(whenWorth); err != nil {
		return nil, err
	}
	s := m.published.Load()
	view, err := s.store.View()
	if err != nil {
		return nil, err
	}
	return &Snapshot{machine: m, view: view, header: m.header, origin: s.origin}, nil
}

// Meta describes the state that the snapshot holds.
func (s *Snapshot) Meta() raft.SnapshotMeta { return s.header.logical.meta }

// Close closes the view. It may be called twice.
func (s *Snapshot) Close() error {
	if s.view == nil {
		return nil
	}
	v := s.view
	s.view = nil
	return v.Close()
}

// WriteTo streams the snapshot. A record that does not match its checksum ends it with a *CorruptError, and fails the machine unless
// another snapshot has taken the place of what is streamed.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	if s.view == nil {
		return 0, ErrClosed
	}
	format := s.header.logical.snapshotFormat()
	c := &chunkWriter{w: w, sum: newSnapshotSum(format)}
	preamble := binary.BigEndian.AppendUint32([]byte(snapshotMagic), format)
	_, _ = c.sum.Write(preamble)
	c.write(preamble)
	head, err := s.header.appendChunk(nil)
	if err != nil {
		return c.written, err
	}
	c.chunk(head)
	var records uint64
	chunk := []byte{chunkRecords}
	for _, bucket := range []store.Bucket{bucketIndex, bucketRecords, bucketSessions, bucketLeases} {
		it := s.view.Iterate(bucket)
		for k, v := it.First(); k != nil && c.err == nil; k, v = it.Next() {
			if err := verify(bucket, k, v); err != nil {
				_, err = s.machine.noteDamage(s.origin, err)
				return c.written, err
			}
			chunk = append(chunk, byte(bucket))
			chunk = appendBytes(chunk, k)
			chunk = appendBytes(chunk, v)
			records++
			if len(chunk) >= chunkBytes {
				c.chunk(chunk)
				chunk = chunk[:1]
			}
		}
	}
	if len(chunk) > 1 {
		c.chunk(chunk)
	}
	end := binary.BigEndian.AppendUint64([]byte{chunkEnd}, records)
	c.chunk(c.sum.Sum(end))
	if c.err != nil {
		return c.written, fmt.Errorf("stream a snapshot: %w", c.err)
	}
	return c.written, nil
}

// verify checks a record's own checksum.
func verify(bucket store.Bucket, k, v []byte) error {
	var err error
	switch bucket {
	case bucketIndex:
		_, _, err = decodeIndex(k, v)
	case bucketRecords:
		_, _, err = decodeRecord(k, v)
	default:
		if _, ok := unseal(k, v); !ok {
			err = &CorruptError{What: "session or lease record", Key: bytes.Clone(k), Reason: "the checksum does not match"}
		}
	}
	return err
}

// appendChunk appends the header's chunk: cluster ID u64, scrub and state as they are stored, length first.
func (h *header) appendChunk(b []byte) ([]byte, error) {
	state, err := h.logical.encode()
	if err != nil {
		return nil, err
	}
	b = append(b, chunkHeader)
	b = binary.BigEndian.AppendUint64(b, uint64(h.cluster))
	b = appendBytes(b, h.scrub.encode())
	return appendBytes(b, state), nil
}

func decodeHeaderChunk(body []byte) (header, error) {
	var h header
	if len(body) < 8 {
		return h, errSnapshot("the header is too short")
	}
	h.cluster = raft.ClusterID(binary.BigEndian.Uint64(body))
	d := decoder{data: body[8:]}
	progress, state := d.bytes(), d.bytes()
	if d.failed || len(d.data) != 0 {
		return h, errSnapshot("the header cannot be decoded")
	}
	var err error
	if h.logical, err = decodeLogical(state); err != nil {
		return h, err
	}
	h.scrub, err = decodeScrub(progress)
	return h, err
}

// chunkWriter keeps the first error and the checksum of all that was written.
type chunkWriter struct {
	w       io.Writer
	sum     snapshotSum
	written int64
	err     error
}

func (c *chunkWriter) write(b []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(b)
	c.written += int64(n)
}

func (c *chunkWriter) chunk(body []byte) {
	var h [chunkHeaderBytes]byte
	binary.BigEndian.PutUint32(h[:], uint32(len(body)))
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(body, castagnoli))
	c.sum.chunk(h[:], body)
	c.write(h[:])
	c.write(body)
}

// SnapshotError says why the bytes of a snapshot are refused.
type SnapshotError struct{ Reason string }

func (e *SnapshotError) Error() string {
	return "the snapshot is refused: " + e.Reason
}

func errSnapshot(format string, args ...any) error {
	return &SnapshotError{Reason: fmt.Sprintf(format, args...)}
}
