package kv

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

// SnapshotSummary is what a snapshot says of itself.
type SnapshotSummary struct {
	Format    uint32
	ClusterID raft.ClusterID
	// Meta is the place in the log up to which it holds everything, with the membership in force there.
	Meta                        raft.SnapshotMeta
	Revision, CompactedRevision uint64
	// Records are all of them; Versions those of keys, their history included; Leases the leases.
	Records, Versions, Leases uint64
	// Bytes is the length of the whole file.
	Bytes int64
	// Checked says that the file had a checksum of its own behind the stream, which has one in any case.
	Checked bool
}

// InspectSnapshot reads a file of a snapshot to its end and checks it as Restore does, and its records too: every chunk and record, the number of
// records and the checksum of the whole. It takes the memory of one chunk. What is damaged gives a *SnapshotError or a *CorruptError.
func InspectSnapshot(file io.Reader) (SnapshotSummary, error) {
	sum := &trailingSum{sum: sha256.New()}
	i := inspector{from: bufio.NewReaderSize(io.TeeReader(file, sum), chunkBytes)}
	var preamble [snapshotPreambleBytes]byte
	if err := i.read(preamble[:]); err != nil {
		return SnapshotSummary{}, err
	}
	if string(preamble[:len(snapshotMagic)]) != snapshotMagic {
		return SnapshotSummary{}, errSnapshot("it does not begin with %q", snapshotMagic)
	}
	i.found.Format = binary.BigEndian.Uint32(preamble[len(snapshotMagic):])
	if i.found.Format < firstStoreFormat || i.found.Format > snapshotFormat {
		return SnapshotSummary{}, errSnapshot("it has format %d, this build reads formats %d to %d", i.found.Format, firstStoreFormat, snapshotFormat)
	}
	i.sum = newSnapshotSum(i.found.Format)
	_, _ = i.sum.Write(preamble[:])
	for !i.ended {
		if err := i.chunk(); err != nil {
			return SnapshotSummary{}, err
		}
	}
	tail, err := io.ReadAll(io.LimitReader(i.from, mostFileTail+1))
	if err != nil {
		return SnapshotSummary{}, err
	}
	if i.found.Checked, err = checkTail(tail, sum); err != nil {
		return SnapshotSummary{}, err
	}
	i.found.Bytes += int64(len(tail))
	return i.found, nil
}

type inspector struct {
	from          *bufio.Reader
	sum           snapshotSum
	body          []byte
	found         SnapshotSummary
	headed, ended bool
}

func (i *inspector) read(into []byte) error {
	n, err := io.ReadFull(i.from, into)
	i.found.Bytes += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errSnapshot("its end is missing: %d bytes came", i.found.Bytes)
	}
	return err
}

func (i *inspector) chunk() error {
	var header [chunkHeaderBytes]byte
	if err := i.read(header[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(header[:])
	if n == 0 || n > maxChunkBytes {
		return errSnapshot("a chunk of %d bytes, the limit is %d", n, maxChunkBytes)
	}
	if err := i.fill(int(n)); err != nil {
		return err
	}
	if crc32.Checksum(i.body, castagnoli) != binary.BigEndian.Uint32(header[4:]) {
		return errSnapshot("the checksum of a chunk does not match")
	}
	kind, body := i.body[0], i.body[1:]
	if (kind == chunkHeader) == i.headed {
		return errSnapshot("the header is not the first chunk")
	}
	switch kind {
	case chunkHeader:
		h, err := decodeHeaderChunk(body)
		if err != nil {
			return err
		}
		i.headed = true
		i.found.ClusterID, i.found.Meta = h.cluster, h.logical.meta
		i.found.Revision, i.found.CompactedRevision = h.logical.revision, h.logical.compacted
	case chunkRecords:
		if err := i.records(body); err != nil {
			return err
		}
	case chunkEnd:
		return i.end(body)
	default:
		return errSnapshot("a chunk of the unknown kind %d", kind)
	}
	i.sum.chunk(header[:], i.body)
	return nil
}

// fill reads the body piece by piece, so that a length that is a lie costs no more memory than what came.
func (i *inspector) fill(n int) error {
	i.body = i.body[:0]
	for len(i.body) < n {
		from := len(i.body)
		piece := min(n-from, max(chunkBytes, from))
		if cap(i.body) < from+piece {
			i.body = append(make([]byte, 0, from+piece), i.body...)
		}
		i.body = i.body[:from+piece]
		if err := i.read(i.body[from:]); err != nil {
			return err
		}
	}
	return nil
}

func (i *inspector) records(body []byte) error {
	d := decoder{data: body}
	for len(d.data) > 0 {
		bucket := store.Bucket(d.byte())
		k, v := d.bytes(), d.bytes()
		if d.failed || len(k) == 0 || len(v) == 0 || bucket == bucketMeta || bucket > bucketLeases {
			return errSnapshot("a record cannot be decoded")
		}
		if err := verify(bucket, k, v); err != nil {
			return err
		}
		i.found.Records++
		switch bucket {
		case bucketRecords:
			i.found.Versions++
		case bucketLeases:
			i.found.Leases++
		}
	}
	return nil
}

func (i *inspector) end(body []byte) error {
	if len(body) != 8+i.sum.Size() {
		return errSnapshot("an end of %d bytes", len(body))
	}
	if n := binary.BigEndian.Uint64(body); n != i.found.Records {
		return errSnapshot("%d records came, it was sent with %d", i.found.Records, n)
	}
	if !bytes.Equal(body[8:], i.sum.Sum(nil)) {
		return errSnapshot("the checksum of the whole does not match")
	}
	i.ended = true
	return nil
}
