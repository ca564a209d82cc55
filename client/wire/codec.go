package wire

import (
	"encoding/binary"
	"errors"
)

// Bounds of messages. A decoder refuses what is past them before it has allocated anything for it.
const (
	// MaxBatch is the number of operations in one batch.
	MaxBatch = 1024
	// MaxOps is the number of operations and compares in one message, nested ones included.
	MaxOps = 16 << 10
	// MaxDepth is how deep transactions are nested.
	MaxDepth = 8
	// MaxBatchBytes bounds a batch that is put together, MaxAnswerBytes what is put into one answer beyond its first result. A single operation may be larger.
	MaxBatchBytes  = 1 << 20
	MaxAnswerBytes = 4 << 20
)

// ErrMalformed says that a message cannot be decoded.
var ErrMalformed = errors.New("malformed message of the native protocol")

// appendBytes appends a length and bytes.
func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads fields. After the first failure it returns zeros; failed tells.
type decoder struct {
	data   []byte
	failed bool
	// ops is how many operations and compares may still come.
	ops int
}

func (d *decoder) fail() {
	d.failed = true
	d.data = nil
}

// err is for the end of a message: everything must have been read.
func (d *decoder) err() error {
	if d.failed || len(d.data) != 0 {
		return ErrMalformed
	}
	return nil
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.fail()
		return 0
	}
	v := d.data[0]
	d.data = d.data[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return v
}

// bytes returns a part of the data, nil if it is empty.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	v := d.data[:n:n]
	d.data = d.data[n:]
	return v
}

// count reads the length of a list whose elements take at least size bytes each.
func (d *decoder) count(size, most int) int {
	n := d.uvarint()
	if n > uint64(most) || n > uint64(len(d.data)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// flags reads a byte of which only the known bits may be set.
func (d *decoder) flags(known byte) byte {
	f := d.byte()
	if f&^known != 0 {
		d.fail()
		return 0
	}
	return f
}

// spend takes operations from what may still come.
func (d *decoder) spend(n int) {
	if d.ops -= n; d.ops < 0 {
		d.fail()
	}
}
