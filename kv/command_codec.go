package kv

import (
	"encoding/binary"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// The first byte of every command is its format. A command is written in the lowest one that can tell it, and format 2 is
// proposed only once the cluster version shows that every member reads it (Command.Level).
const (
	firstCommandFormat = 1
	commandFormat      = 2
)

// Flags of operations; a bit that is not named here makes a command malformed.
const (
	opPrevKV    = 1 << 0
	opKeysOnly  = 1 << 1
	opCountOnly = 1 << 2
	opWithCount = 1 << 3
	// From format 2 on:
	opIgnoreValue = 1 << 4
	opIgnoreLease = 1 << 5
	opSelects     = 1 << 6 // a range that is sorted or filtered
)

// AppendBinary appends the encoding: format u8, kind u8, then the fields in the order in which they are declared.
// Integers are uvarints, byte strings and lists carry their length first.
func (c Command) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, c.writtenFormat(), byte(c.Kind))
	switch c.Kind {
	case CommandTxn:
		return c.Txn.append(b, MaxTxnDepth)
	case CommandOpenSession:
		b = binary.AppendUvarint(b, uint64(c.Incarnation))
		return binary.AppendUvarint(b, c.Nonce), nil
	case CommandCompact:
		return binary.AppendUvarint(b, c.Revision), nil
	case CommandLeaseGrant, CommandLeaseRevoke, CommandLeaseRenew, CommandLeaseExpire:
		if len(c.Leases) > MaxRenewals {
			return b, fmt.Errorf("%w: %d leases in one command, the limit is %d", ErrMalformed, len(c.Leases), MaxRenewals)
		}
		b = binary.AppendUvarint(b, uint64(len(c.Leases)))
		for _, l := range c.Leases {
			b = binary.AppendUvarint(b, uint64(l.ID))
			b = binary.AppendUvarint(b, uint64(l.TTL))
			b = binary.AppendUvarint(b, l.Renewed)
		}
		return b, nil
	case CommandAlarm:
		b = binary.AppendUvarint(b, uint64(c.Alarm.Member))
		return append(b, byte(c.Alarm.Type), boolByte(c.Lower)), nil
	}
	return b, fmt.Errorf("%w: unknown kind %d", ErrMalformed, c.Kind)
}

// Level is the cluster version that a command needs: before it, some member would refuse what others carry out.
func (c Command) Level() uint32 {
	if c.writtenFormat() == firstCommandFormat && (c.Kind != CommandTxn || !c.Txn.any(func(op *Op) bool { return op.Kind == OpPut && op.Lease != 0 })) {
		return 0
	}
	return leaseVersion
}

// Grows tells whether carrying the command out can make the store larger.
func (c *Command) Grows() bool {
	return c.Kind == CommandLeaseGrant || c.Kind == CommandTxn && c.Txn.any(func(op *Op) bool { return op.Kind == OpPut })
}

func (c Command) writtenFormat() byte {
	if c.Kind == CommandOpenSession || c.Kind == CommandCompact || c.Kind == CommandTxn && !c.Txn.any((*Op).isNew) {
		return firstCommandFormat
	}
	return commandFormat
}

// isNew tells whether format 1 cannot tell an operation.
func (op *Op) isNew() bool {
	return op.IgnoreValue || op.IgnoreLease || op.Kind == OpRange && op.Range.selects()
}

// selects tells whether the range is sorted or filtered.
func (r *RangeRequest) selects() bool { return r.Sort != SortNone || r.filters() }

func (r *RangeRequest) filters() bool {
	return r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0
}

// any tells whether one of the operations, nested ones included, has the property.
func (t *Txn) any(has func(*Op) bool) bool {
	if t == nil {
		return false
	}
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			if has(&ops[i]) || ops[i].Txn.any(has) {
				return true
			}
		}
	}
	return false
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (t *Txn) append(b []byte, depth int) ([]byte, error) {
	if t == nil || depth == 0 {
		return b, fmt.Errorf("%w: transactions are missing or nested more than %d deep", ErrMalformed, MaxTxnDepth)
	}
	b = binary.AppendUvarint(b, uint64(len(t.Compares)))
	for i := range t.Compares {
		c := &t.Compares[i]
		b = append(b, byte(c.Target), byte(c.Relation))
		b = appendRange(b, c.Keys)
		b = binary.AppendUvarint(b, c.Number)
		b = appendBytes(b, c.Value)
	}
	for _, ops := range [][]Op{t.Success, t.Failure} {
		b = binary.AppendUvarint(b, uint64(len(ops)))
		for i := range ops {
			var err error
			if b, err = ops[i].append(b, depth); err != nil {
				return b, err
			}
		}
	}
	return b, nil
}

func (op *Op) append(b []byte, depth int) ([]byte, error) {
	var flags byte
	for _, f := range []struct {
		on  bool
		bit byte
	}{
		{op.PrevKV, opPrevKV}, {op.Range.KeysOnly, opKeysOnly},
		{op.Range.CountOnly, opCountOnly}, {op.Range.WithCount, opWithCount},
		{op.IgnoreValue, opIgnoreValue}, {op.IgnoreLease, opIgnoreLease}, {op.Kind == OpRange && op.Range.selects(), opSelects},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, byte(op.Kind), flags)
	switch op.Kind {
	case OpPut:
		b = appendBytes(b, op.Keys.Start)
		b = appendBytes(b, op.Value)
		return binary.AppendUvarint(b, uint64(op.Lease)), nil
	case OpDelete:
		return appendRange(b, op.Keys), nil
	case OpRange:
		b = appendRange(b, op.Keys)
		b = binary.AppendUvarint(b, op.Range.Revision)
		b = binary.AppendUvarint(b, uint64(max(op.Range.Limit, 0)))
		if op.Range.selects() {
			b = append(b, byte(op.Range.Sort), byte(op.Range.Target))
			for _, v := range op.Range.bounds() {
				b = binary.AppendUvarint(b, *v)
			}
		}
		return b, nil
	case OpTxn:
		return op.Txn.append(b, depth-1)
	}
	return b, fmt.Errorf("%w: unknown operation %d", ErrMalformed, op.Kind)
}

// bounds returns the filters in the order of the format.
func (r *RangeRequest) bounds() [4]*uint64 {
	return [...]*uint64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision}
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendRange(b []byte, r KeyRange) []byte {
	b = appendBytes(b, r.Start)
	return appendBytes(b, r.End)
}

// DecodeCommand reads an encoding made by AppendBinary; it needs all of data. Slices of the command are slices
// of data. Every error wraps ErrMalformed.
func DecodeCommand(data []byte) (Command, error) {
	d := decoder{data: data}
	d.format = d.byte()
	if !d.failed && (d.format < firstCommandFormat || d.format > commandFormat) {
		return Command{}, fmt.Errorf("%w: format %d, this build reads formats %d to %d", ErrMalformed, d.format, firstCommandFormat, commandFormat)
	}
	c := Command{Kind: CommandKind(d.byte()), format: d.format}
	if c.Kind > CommandCompact && d.format == firstCommandFormat {
		return Command{}, ErrMalformed
	}
	switch c.Kind {
	case CommandTxn:
		c.Txn = d.txn(MaxTxnDepth)
	case CommandOpenSession:
		c.Incarnation = raft.Incarnation(d.uvarint())
		c.Nonce = d.uvarint()
	case CommandCompact:
		c.Revision = d.uvarint()
	case CommandLeaseGrant, CommandLeaseRevoke, CommandLeaseRenew, CommandLeaseExpire:
		c.Leases = d.leases()
	case CommandAlarm:
		c.Alarm = Alarm{Member: raft.NodeID(d.uvarint()), Type: AlarmType(d.byte())}
		lower := d.byte()
		c.Lower = lower == 1
		d.failed = d.failed || lower > 1
	default:
		d.failed = true
	}
	if d.failed || len(d.data) != 0 {
		return Command{}, ErrMalformed
	}
	return c, nil
}

// decoder reads a byte slice front to back and remembers whether that failed.
type decoder struct {
	data   []byte
	failed bool
	format byte // of the command
	// ops counts the compares and operations of a command.
	ops int
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if d.failed || n <= 0 {
		d.failed = true
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) byte() byte {
	if d.failed || len(d.data) == 0 {
		d.failed = true
		return 0
	}
	v := d.data[0]
	d.data = d.data[1:]
	return v
}

// bytes returns a slice of the input; nil for an empty one.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.failed || n > uint64(len(d.data)) {
		d.failed = true
		return nil
	}
	if n == 0 {
		return nil
	}
	v := d.data[:n:n]
	d.data = d.data[n:]
	return v
}

// count reads the length of a list whose elements take at least least bytes, so that a short input cannot
// make it allocate much.
func (d *decoder) count(least int) int {
	n := d.uvarint()
	if d.failed || n > uint64(len(d.data)/least) {
		d.failed = true
		return 0
	}
	if d.ops += int(n); d.ops > MaxCommandOps {
		d.failed = true
		return 0
	}
	return int(n)
}

// key reads a byte string of at most MaxKeyBytes.
func (d *decoder) key() []byte {
	k := d.bytes()
	if len(k) > MaxKeyBytes {
		d.failed = true
	}
	return k
}

func (d *decoder) keyRange() KeyRange { return KeyRange{Start: d.key(), End: d.key()} }

func (d *decoder) leases() []Lease {
	const leastLeaseBytes = 3
	n := d.uvarint()
	if d.failed || n > uint64(len(d.data)/leastLeaseBytes) || n > MaxRenewals {
		d.failed = true
		return nil
	}
	out := make([]Lease, n)
	for i := range out {
		out[i] = Lease{ID: LeaseID(d.uvarint()), TTL: int64(d.uvarint()), Renewed: d.uvarint()}
	}
	return out
}

func (d *decoder) txn(depth int) *Txn {
	const leastCompareBytes, leastOpBytes = 6, 4
	if depth == 0 {
		d.failed = true
		return nil
	}
	t := new(Txn)
	if n := d.count(leastCompareBytes); n > 0 {
		t.Compares = make([]Compare, n)
	}
	for i := range t.Compares {
		c := &t.Compares[i]
		c.Target, c.Relation = CompareTarget(d.byte()), Relation(d.byte())
		c.Keys = d.keyRange()
		c.Number = d.uvarint()
		c.Value = d.bytes()
		if c.Target < TargetVersion || c.Target > TargetLease || c.Relation < Equal || c.Relation > Greater {
			d.failed = true
		}
		if d.failed {
			return nil
		}
	}
	for _, ops := range []*[]Op{&t.Success, &t.Failure} {
		if n := d.count(leastOpBytes); n > 0 {
			*ops = make([]Op, n)
		}
		for i := range *ops {
			d.op(&(*ops)[i], depth)
			if d.failed {
				return nil
			}
		}
	}
	return t
}

func (d *decoder) op(op *Op, depth int) {
	op.Kind = OpKind(d.byte())
	flags := d.byte()
	var allowed byte
	switch op.Kind {
	case OpPut:
		allowed = opPrevKV | opIgnoreValue | opIgnoreLease
		op.Keys.Start = d.key()
		op.Value = d.bytes()
		op.Lease = int64(d.uvarint())
	case OpDelete:
		allowed = opPrevKV
		op.Keys = d.keyRange()
	case OpRange:
		allowed = opKeysOnly | opCountOnly | opWithCount | opSelects
		op.Keys = d.keyRange()
		op.Range.Keys = op.Keys
		op.Range.Revision = d.uvarint()
		limit := d.uvarint()
		if limit > 1<<31-1 {
			d.failed = true
		}
		op.Range.Limit = int(limit)
		if flags&opSelects != 0 {
			d.selects(&op.Range)
		}
	case OpTxn:
		op.Txn = d.txn(depth - 1)
	default:
		d.failed = true
	}
	if d.format == firstCommandFormat {
		allowed &= opPrevKV | opKeysOnly | opCountOnly | opWithCount
	}
	if flags&^allowed != 0 {
		d.failed = true
	}
	op.IgnoreValue = flags&opIgnoreValue != 0
	op.IgnoreLease = flags&opIgnoreLease != 0
	op.PrevKV = flags&opPrevKV != 0
	op.Range.KeysOnly = flags&opKeysOnly != 0
	op.Range.CountOnly = flags&opCountOnly != 0
	op.Range.WithCount = flags&opWithCount != 0
}

// selects reads how a range is sorted and filtered.
func (d *decoder) selects(r *RangeRequest) {
	r.Sort, r.Target = SortOrder(d.byte()), SortTarget(d.byte())
	for _, v := range r.bounds() {
		*v = d.uvarint()
	}
	if r.Sort > SortDescending || r.Target > SortByValue {
		d.failed = true
	}
}
