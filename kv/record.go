package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftkv/raftkv/kv/store"
)

// The buckets of the store. The layout is argued in doc.go.
const (
	bucketMeta     store.Bucket = 0
	bucketIndex    store.Bucket = 1
	bucketRecords  store.Bucket = 2
	bucketSessions store.Bucket = 3
	bucketLeases   store.Bucket = 4
)

// version is one version of a key, without the key. A deleted version is a tombstone.
type version struct {
	mod     uint64
	sub     uint32 // numbers the writes of one revision, from 0
	create  uint64
	count   uint64
	lease   int64
	deleted bool
	value   []byte
}

func (v *version) exists() bool { return v.mod != 0 && !v.deleted }

func (v *version) keyValue(key []byte) KeyValue {
	return KeyValue{Key: key, Value: v.value, CreateRevision: v.create, ModRevision: v.mod, Version: v.count, Lease: v.lease}
}

// flagDeleted marks tombstones. The other bits of a record's first byte are zero; a record that has one of them set is
// of a format that this build does not read.
const flagDeleted = 1

// versionBytes bounds what a version takes in either record beside its key and value.
const versionBytes = 1 + 5*binary.MaxVarintLen64 + checksumBytes

const (
	checksumBytes  = 4
	recordKeyBytes = 12
	revisionBytes  = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal returns body with the checksum of where and body behind it.
func seal(where, body []byte) []byte { return sealFrom(where, body[:len(body):len(body)], 0) }

// sealFrom appends the checksum of where and of b from n on.
func sealFrom(where, b []byte, n int) []byte {
	sum := crc32.Update(crc32.Checksum(where, castagnoli), castagnoli, b[n:])
	return binary.BigEndian.AppendUint32(b, sum)
}

// unseal returns the body in front of a valid checksum.
func unseal(where, data []byte) ([]byte, bool) {
	if len(data) < checksumBytes {
		return nil, false
	}
	body, sum := data[:len(data)-checksumBytes], binary.BigEndian.Uint32(data[len(data)-checksumBytes:])
	return body, crc32.Update(crc32.Checksum(where, castagnoli), castagnoli, body) == sum
}

// Index keys order the versions of each key from the newest to the oldest, so that one seek finds the newest at or before
// a revision. The key is escaped (0x00 becomes 0x00 0xff) and ended by 0x00 0x01, so that no key is a prefix of another.

// appendEscaped appends the key escaped and without its end.
func appendEscaped(b, key []byte) []byte {
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 {
			return append(b, key...)
		}
		b = append(b, key[:i]...)
		b = append(b, 0, 0xff)
		key = key[i+1:]
	}
}

// appendIndexKey appends the index key of one version.
func appendIndexKey(b, key []byte, mod uint64) []byte {
	b = append(appendEscaped(b, key), 0, 1)
	return binary.BigEndian.AppendUint64(b, ^mod)
}

// splitIndexKey returns the escaped key with its end, and the revision.
func splitIndexKey(k []byte) (escaped []byte, mod uint64, ok bool) {
	n := len(k) - revisionBytes
	if n < 2 || k[n-2] != 0 || k[n-1] != 1 {
		return nil, 0, false
	}
	return k[:n], ^binary.BigEndian.Uint64(k[n:]), true
}

// unescape returns the key of an escaped one with its end. It is a slice of the input if the key has no zero byte.
func unescape(escaped []byte) []byte {
	escaped = escaped[:len(escaped)-2]
	if bytes.IndexByte(escaped, 0) < 0 {
		return escaped
	}
	return bytes.ReplaceAll(escaped, []byte{0, 0xff}, []byte{0})
}

// appendIndex appends the value of an index record: flags u8, sub, create, count, lease, checksum.
func appendIndex(b, where []byte, v *version) []byte {
	n := len(b)
	b = appendFlags(b, v)
	b = binary.AppendUvarint(b, uint64(v.sub))
	b = appendNumbers(b, v)
	return sealFrom(where, b, n)
}

func appendFlags(b []byte, v *version) []byte {
	if v.deleted {
		return append(b, flagDeleted)
	}
	return append(b, 0)
}

func appendNumbers(b []byte, v *version) []byte {
	b = binary.AppendUvarint(b, v.create)
	b = binary.AppendUvarint(b, v.count)
	return binary.AppendUvarint(b, uint64(v.lease))
}

// decodeIndex reads an index record; the version has no value.
func decodeIndex(k, data []byte) (escaped []byte, v version, err error) {
	escaped, v.mod, _ = splitIndexKey(k)
	if escaped == nil {
		return nil, v, &CorruptError{What: "index record", Key: k, Reason: "the record's key is malformed"}
	}
	corrupt := func(reason string) error {
		return &CorruptError{What: "index record", Key: bytes.Clone(unescape(escaped)), Revision: v.mod, Reason: reason}
	}
	body, ok := unseal(k, data)
	if !ok {
		return nil, v, corrupt("the checksum does not match")
	}
	d := decoder{data: body}
	flags := d.byte()
	v.deleted = flags&flagDeleted != 0
	v.sub = uint32(d.uvarint())
	d.numbers(&v)
	if flags&^flagDeleted != 0 || d.failed || len(d.data) != 0 {
		return nil, v, corrupt("the record cannot be decoded")
	}
	return escaped, v, nil
}

func (d *decoder) numbers(v *version) {
	v.create = d.uvarint()
	v.count = d.uvarint()
	v.lease = int64(d.uvarint())
}

// appendRecordKey appends revision and sub, big-endian: records are in the order of the writes.
func appendRecordKey(b []byte, mod uint64, sub uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, mod)
	return binary.BigEndian.AppendUint32(b, sub)
}

// appendRecord appends a record: flags u8, create, count, lease, key, value, checksum.
func appendRecord(b, where, key []byte, v *version) []byte {
	n := len(b)
	b = appendFlags(b, v)
	b = appendNumbers(b, v)
	b = appendBytes(b, key)
	b = append(b, v.value...)
	return sealFrom(where, b, n)
}

// decodeRecord reads a record. Key and value are slices of data.
func decodeRecord(where, data []byte) (key []byte, v version, err error) {
	if len(where) != recordKeyBytes {
		return nil, v, &CorruptError{What: "record", Reason: fmt.Sprintf("its key has %d bytes", len(where))}
	}
	v.mod = binary.BigEndian.Uint64(where)
	v.sub = binary.BigEndian.Uint32(where[revisionBytes:])
	body, ok := unseal(where, data)
	if !ok {
		return nil, v, &CorruptError{What: "record", Revision: v.mod, Reason: "the checksum does not match"}
	}
	d := decoder{data: body}
	flags := d.byte()
	v.deleted = flags&flagDeleted != 0
	d.numbers(&v)
	key = d.bytes()
	if flags&^flagDeleted != 0 || d.failed {
		return nil, v, &CorruptError{What: "record", Revision: v.mod, Reason: "the record cannot be decoded"}
	}
	v.value = d.data
	return key, v, nil
}
