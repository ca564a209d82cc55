package native

import (
	"math"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
)

// keyRange is that of an operation.
func keyRange(key, end []byte) kv.KeyRange { return kv.KeyRange{Start: key, End: end} }

// convertOp makes an operation of the store's out of one of the protocol's.
func convertOp(op *wire.Op, out *kv.Op) {
	out.Keys = keyRange(op.Key, op.End)
	switch op.Kind {
	case wire.OpPut:
		out.Kind, out.Keys.End = kv.OpPut, nil
		out.Value, out.Lease, out.IgnoreValue, out.IgnoreLease, out.PrevKV = op.Value, op.Lease, op.IgnoreValue, op.IgnoreLease, op.PrevKV
	case wire.OpDelete:
		out.Kind, out.PrevKV = kv.OpDelete, op.PrevKV
	case wire.OpRange:
		out.Kind = kv.OpRange
		out.Range = convertRange(op)
	case wire.OpTxn:
		out.Kind = kv.OpTxn
		out.Txn = convertTxn(op.Txn)
	}
}

func convertRange(op *wire.Op) kv.RangeRequest {
	r := &op.Range
	return kv.RangeRequest{
		Keys: keyRange(op.Key, op.End), Revision: r.Revision, Limit: int(min(r.Limit, math.MaxInt32)),
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly, WithCount: r.WithCount, Sort: kv.SortOrder(r.Sort), Target: kv.SortTarget(r.Target),
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision, MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}
}

func convertTxn(t *wire.Txn) *kv.Txn {
	out := &kv.Txn{Success: convertOps(t.Success), Failure: convertOps(t.Failure)}
	if len(t.Compares) > 0 {
		out.Compares = make([]kv.Compare, len(t.Compares))
	}
	for i := range t.Compares {
		c := &t.Compares[i]
		out.Compares[i] = kv.Compare{
			Keys: keyRange(c.Key, c.End), Target: kv.CompareTarget(c.Target), Relation: kv.Relation(c.Relation), Number: c.Number, Value: c.Value,
		}
	}
	return out
}

func convertOps(ops []wire.Op) []kv.Op {
	if len(ops) == 0 {
		return nil
	}
	out := make([]kv.Op, len(ops))
	for i := range ops {
		convertOp(&ops[i], &out[i])
	}
	return out
}

// wellFormed tells whether sorts and relations have values that the store knows.
func wellFormed(op *wire.Op) bool {
	switch op.Kind {
	case wire.OpRange:
		return op.Range.Sort <= uint8(kv.SortDescending) && op.Range.Target <= uint8(kv.SortByValue)
	case wire.OpTxn:
		for i := range op.Txn.Compares {
			c := &op.Txn.Compares[i]
			if c.Target < uint8(kv.TargetVersion) || c.Target > uint8(kv.TargetLease) || c.Relation < uint8(kv.Equal) || c.Relation > uint8(kv.Greater) {
				return false
			}
		}
		for _, ops := range [][]wire.Op{op.Txn.Success, op.Txn.Failure} {
			for i := range ops {
				if !wellFormed(&ops[i]) {
					return false
				}
			}
		}
	}
	return true
}

func keyValue(x *kv.KeyValue) wire.KeyValue {
	return wire.KeyValue{
		Key: x.Key, Value: x.Value, CreateRevision: x.CreateRevision, ModRevision: x.ModRevision, Version: x.Version, Lease: x.Lease,
	}
}

func keyValues(in []kv.KeyValue) []wire.KeyValue {
	if len(in) == 0 {
		return nil
	}
	out := make([]wire.KeyValue, len(in))
	for i := range in {
		out[i] = keyValue(&in[i])
	}
	return out
}

func rangeResult(r *kv.RangeResult) *wire.RangeResult {
	return &wire.RangeResult{Items: keyValues(r.Items), More: r.More, Count: r.Count}
}

func opResults(in []kv.OpResult) []wire.OpResult {
	if len(in) == 0 {
		return nil
	}
	out := make([]wire.OpResult, len(in))
	for i := range in {
		x := &in[i]
		out[i] = wire.OpResult{Deleted: x.Deleted, Prev: keyValues(x.Prev), PrevTruncated: x.PrevTruncated}
		if x.Range != nil {
			out[i].Range = rangeResult(x.Range)
		}
		if x.Txn != nil {
			out[i].Txn = &wire.TxnResult{Succeeded: x.Txn.Succeeded, Ops: opResults(x.Txn.Ops)}
		}
	}
	return out
}

// overheadBytes is what a key with its value, or an operation's result, takes in an answer beside its bytes, at most.
const overheadBytes = 64

func sizeOfItems(items []wire.KeyValue) int {
	size := 0
	for i := range items {
		size += len(items[i].Key) + len(items[i].Value) + overheadBytes
	}
	return size
}

// sizeOf is what the results of operations take in an answer, at most.
func sizeOf(ops []wire.OpResult) int {
	size := 0
	for i := range ops {
		size += overheadBytes + sizeOfItems(ops[i].Prev)
		if r := ops[i].Range; r != nil {
			size += sizeOfItems(r.Items)
		}
		if t := ops[i].Txn; t != nil {
			size += sizeOf(t.Ops)
		}
	}
	return size
}
