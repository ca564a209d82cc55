package wire

import "encoding/binary"

// Flags of a put or deletion.
const (
	putPrevKV = 1 << iota
	putIgnoreValue
	putIgnoreLease
	putLease
)

// Flags of a range.
const (
	rangeKeysOnly = 1 << iota
	rangeCountOnly
	rangeWithCount
	rangeSelects
)

// AppendPut appends a put: kind u8, flags u8, key, value, and the lease if there is one. Byte strings carry their length first; integers are uvarints.
func AppendPut[K ~string | ~[]byte](b []byte, key K, op *Op) []byte {
	var flags byte
	if op.PrevKV {
		flags |= putPrevKV
	}
	if op.IgnoreValue {
		flags |= putIgnoreValue
	}
	if op.IgnoreLease {
		flags |= putIgnoreLease
	}
	if op.Lease != 0 {
		flags |= putLease
	}
	b = append(b, byte(OpPut), flags)
	b = appendBytes(b, key)
	b = appendBytes(b, op.Value)
	if op.Lease != 0 {
		b = binary.AppendUvarint(b, uint64(op.Lease))
	}
	return b
}

// AppendRange appends a range: kind u8, flags u8, key, end, revision, limit, and behind them what sorts and filters if anything does.
func AppendRange[K ~string | ~[]byte](b []byte, key, end K, r *Range) []byte {
	var flags byte
	if r.KeysOnly {
		flags |= rangeKeysOnly
	}
	if r.CountOnly {
		flags |= rangeCountOnly
	}
	if r.WithCount {
		flags |= rangeWithCount
	}
	if r.selects() {
		flags |= rangeSelects
	}
	b = append(b, byte(OpRange), flags)
	b = appendBytes(b, key)
	b = appendBytes(b, end)
	b = binary.AppendUvarint(b, r.Revision)
	b = binary.AppendUvarint(b, r.Limit)
	if flags&rangeSelects == 0 {
		return b
	}
	b = append(b, r.Sort, r.Target)
	for _, v := range []uint64{r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// AppendOp appends any operation.
func AppendOp(b []byte, op *Op) []byte {
	switch op.Kind {
	case OpPut:
		return AppendPut(b, op.Key, op)
	case OpDelete:
		var flags byte
		if op.PrevKV {
			flags = putPrevKV
		}
		b = append(b, byte(OpDelete), flags)
		b = appendBytes(b, op.Key)
		return appendBytes(b, op.End)
	case OpRange:
		return AppendRange(b, op.Key, op.End, &op.Range)
	case OpTxn:
		b = append(b, byte(OpTxn))
		return appendTxn(b, op.Txn)
	}
	return append(b, byte(op.Kind)) // is refused
}

func appendTxn(b []byte, t *Txn) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.Compares)))
	for i := range t.Compares {
		c := &t.Compares[i]
		b = append(b, c.Target, c.Relation)
		b = appendBytes(b, c.Key)
		b = appendBytes(b, c.End)
		b = binary.AppendUvarint(b, c.Number)
		b = appendBytes(b, c.Value)
	}
	for _, ops := range [][]Op{t.Success, t.Failure} {
		b = binary.AppendUvarint(b, uint64(len(ops)))
		for i := range ops {
			b = AppendOp(b, &ops[i])
		}
	}
	return b
}

// The least that an operation and a compare take.
const (
	leastOpBytes      = 4
	leastCompareBytes = 6
)

func (d *decoder) op(op *Op, depth int) {
	d.spend(1)
	op.Kind = OpKind(d.byte())
	switch op.Kind {
	case OpPut:
		flags := d.flags(putPrevKV | putIgnoreValue | putIgnoreLease | putLease)
		op.PrevKV, op.IgnoreValue, op.IgnoreLease = flags&putPrevKV != 0, flags&putIgnoreValue != 0, flags&putIgnoreLease != 0
		op.Key, op.Value = d.bytes(), d.bytes()
		if flags&putLease != 0 {
			op.Lease = int64(d.uvarint())
		}
	case OpDelete:
		op.PrevKV = d.flags(putPrevKV) != 0
		op.Key, op.End = d.bytes(), d.bytes()
	case OpRange:
		d.rangeOp(op)
	case OpTxn:
		if depth == 0 {
			d.fail()
			return
		}
		op.Txn = new(Txn)
		d.txn(op.Txn, depth-1)
	default:
		d.fail()
	}
}

func (d *decoder) rangeOp(op *Op) {
	flags := d.flags(rangeKeysOnly | rangeCountOnly | rangeWithCount | rangeSelects)
	r := &op.Range
	r.KeysOnly, r.CountOnly, r.WithCount = flags&rangeKeysOnly != 0, flags&rangeCountOnly != 0, flags&rangeWithCount != 0
	op.Key, op.End = d.bytes(), d.bytes()
	r.Revision, r.Limit = d.uvarint(), d.uvarint()
	if flags&rangeSelects == 0 {
		return
	}
	r.Sort, r.Target = d.byte(), d.byte()
	for _, p := range []*uint64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		*p = d.uvarint()
	}
}

func (d *decoder) txn(t *Txn, depth int) {
	n := d.count(leastCompareBytes, MaxOps)
	d.spend(n)
	if d.failed {
		return
	}
	if n > 0 {
		t.Compares = make([]Compare, n)
	}
	for i := range t.Compares {
		c := &t.Compares[i]
		c.Target, c.Relation = d.byte(), d.byte()
		c.Key, c.End = d.bytes(), d.bytes()
		c.Number, c.Value = d.uvarint(), d.bytes()
	}
	for _, list := range []*[]Op{&t.Success, &t.Failure} {
		n := d.count(leastOpBytes, d.ops)
		if d.failed {
			return
		}
		if n > 0 {
			*list = make([]Op, n)
		}
		for i := range *list {
			d.op(&(*list)[i], depth)
		}
	}
}
