package wire

import (
	"encoding/binary"
	"slices"
)

// Flags of a result.
const (
	resultSucceeded = 1 << iota
	resultRepeated
	resultDeleted
	resultOps
)

// Flags of an operation's result.
const (
	opDeleted = 1 << iota
	opPrev
	opPrevTruncated
	opRange
	opTxn
)

// appendResult appends status u8; unless it is OK, a message; then flags u8, revision, and as the flags say: the number of deleted keys, and the
// results of operations, which carry their length first.
func appendResult(b []byte, r *Result) []byte {
	b = append(b, byte(r.Status))
	if r.Status != StatusOK {
		return appendBytes(b, r.Message)
	}
	var flags byte
	if r.Succeeded {
		flags |= resultSucceeded
	}
	if r.Repeated {
		flags |= resultRepeated
	}
	if r.Deleted != 0 {
		flags |= resultDeleted
	}
	if len(r.Ops) > 0 {
		flags |= resultOps
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, r.Revision)
	if r.Deleted != 0 {
		b = binary.AppendUvarint(b, r.Deleted)
	}
	if len(r.Ops) == 0 {
		return b
	}
	return appendSized(b, func(b []byte) []byte { return appendOpResults(b, r.Ops) })
}

// appendSized appends a length of four bytes, big-endian, and what write appends.
func appendSized(b []byte, write func([]byte) []byte) []byte {
	at := len(b)
	b = write(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendOpResults(b []byte, ops []OpResult) []byte {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for i := range ops {
		b = appendOpResult(b, &ops[i])
	}
	return b
}

func appendOpResult(b []byte, r *OpResult) []byte {
	var flags byte
	if r.Deleted != 0 {
		flags |= opDeleted
	}
	if len(r.Prev) > 0 {
		flags |= opPrev
	}
	if r.PrevTruncated {
		flags |= opPrevTruncated
	}
	if r.Range != nil {
		flags |= opRange
	}
	if r.Txn != nil {
		flags |= opTxn
	}
	b = append(b, flags)
	if r.Deleted != 0 {
		b = binary.AppendUvarint(b, r.Deleted)
	}
	if len(r.Prev) > 0 {
		b = appendKeyValues(b, r.Prev)
	}
	if r.Range != nil {
		b = append(b, boolByte(r.Range.More))
		b = binary.AppendUvarint(b, r.Range.Count)
		b = appendKeyValues(b, r.Range.Items)
	}
	if r.Txn != nil {
		b = append(b, boolByte(r.Txn.Succeeded))
		b = appendOpResults(b, r.Txn.Ops)
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendKeyValues(b []byte, items []KeyValue) []byte {
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		b = appendKeyValue(b, &items[i])
	}
	return b
}

func appendKeyValue(b []byte, kv *KeyValue) []byte {
	b = appendBytes(b, kv.Key)
	b = appendBytes(b, kv.Value)
	b = binary.AppendUvarint(b, kv.CreateRevision)
	b = binary.AppendUvarint(b, kv.ModRevision)
	b = binary.AppendUvarint(b, kv.Version)
	return binary.AppendUvarint(b, uint64(kv.Lease))
}

// The least that a key with its value, a result and an operation's result take.
const (
	leastKeyValueBytes = 6
	leastResultBytes   = 2
	leastOpResultBytes = 1
)

// result reads a result. What it keeps of the data is a copy, shared by nothing but this result.
func (d *decoder) result(r *Result) {
	r.Status = Status(d.byte())
	if r.Status != StatusOK {
		r.Message = string(d.bytes())
		return
	}
	flags := d.flags(resultSucceeded | resultRepeated | resultDeleted | resultOps)
	r.Succeeded, r.Repeated = flags&resultSucceeded != 0, flags&resultRepeated != 0
	r.Revision = d.uvarint()
	if flags&resultDeleted != 0 {
		r.Deleted = d.uvarint()
	}
	if flags&resultOps == 0 {
		return
	}
	part := d.sized()
	if d.failed {
		return
	}
	inner := decoder{data: slices.Clone(part), ops: d.ops}
	r.Ops = inner.opResults(MaxDepth)
	d.ops = inner.ops
	if inner.err() != nil {
		d.fail()
	}
}

// sized reads what appendSized wrote.
func (d *decoder) sized() []byte {
	if len(d.data) < 4 {
		d.fail()
		return nil
	}
	n := binary.BigEndian.Uint32(d.data)
	d.data = d.data[4:]
	if uint64(n) > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	part := d.data[:n]
	d.data = d.data[n:]
	return part
}

func (d *decoder) opResults(depth int) []OpResult {
	n := d.count(leastOpResultBytes, d.ops)
	d.spend(n)
	if d.failed || n == 0 {
		return nil
	}
	out := make([]OpResult, n)
	for i := range out {
		d.opResult(&out[i], depth)
	}
	return out
}

func (d *decoder) opResult(r *OpResult, depth int) {
	flags := d.flags(opDeleted | opPrev | opPrevTruncated | opRange | opTxn)
	r.PrevTruncated = flags&opPrevTruncated != 0
	if flags&opDeleted != 0 {
		r.Deleted = d.uvarint()
	}
	if flags&opPrev != 0 {
		r.Prev = d.keyValues()
	}
	if flags&opRange != 0 {
		r.Range = &RangeResult{More: d.flags(1) != 0, Count: d.uvarint()}
		r.Range.Items = d.keyValues()
	}
	if flags&opTxn != 0 {
		if depth == 0 {
			d.fail()
			return
		}
		r.Txn = &TxnResult{Succeeded: d.flags(1) != 0}
		r.Txn.Ops = d.opResults(depth - 1)
	}
}

func (d *decoder) keyValues() []KeyValue {
	n := d.count(leastKeyValueBytes, len(d.data))
	if n == 0 {
		return nil
	}
	out := make([]KeyValue, n)
	for i := range out {
		d.keyValue(&out[i])
	}
	return out
}

func (d *decoder) keyValue(kv *KeyValue) {
	kv.Key, kv.Value = d.bytes(), d.bytes()
	kv.CreateRevision, kv.ModRevision, kv.Version = d.uvarint(), d.uvarint(), d.uvarint()
	kv.Lease = int64(d.uvarint())
}
