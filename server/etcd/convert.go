package etcd

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
)

// signed is a revision, version or count as etcd's messages have it.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// unsigned is the other way; a revision below zero means "none", as zero does.
func unsigned(n int64) uint64 { return uint64(max(n, 0)) }

// ceiling is a revision above which nothing is wanted; zero is none. Below zero, nothing is wanted: no key is as old as revision one.
func ceiling(n int64) uint64 {
	if n < 0 {
		return 1
	}
	return uint64(n)
}

// keyRange is what a key and an end in etcd's sense name: no end one key, a single zero byte all from the key on. The key is not empty: an end without
// a key, by which a client that has lost its key would name all keys below, is refused by the checks of each request.
func keyRange(key, end []byte) kv.KeyRange {
	if len(end) == 0 {
		end = nil
	}
	return kv.KeyRange{Start: key, End: end}
}

func keyValue(x *kv.KeyValue) *mvccpb.KeyValue {
	out := &mvccpb.KeyValue{}
	fill(out, x)
	return out
}

func fill(out *mvccpb.KeyValue, x *kv.KeyValue) {
	out.Key, out.Value, out.Lease = x.Key, x.Value, x.Lease
	out.CreateRevision, out.ModRevision, out.Version = signed(x.CreateRevision), signed(x.ModRevision), signed(x.Version)
}

// keyValues makes all messages of a range with two allocations.
func keyValues(items []kv.KeyValue) []*mvccpb.KeyValue {
	if len(items) == 0 {
		return nil
	}
	all, out := make([]mvccpb.KeyValue, len(items)), make([]*mvccpb.KeyValue, len(items))
	for i := range items {
		fill(&all[i], &items[i])
		out[i] = &all[i]
	}
	return out
}

func rangeRequest(r *pb.RangeRequest) (kv.RangeRequest, error) {
	if len(r.Key) == 0 {
		return kv.RangeRequest{}, rpctypes.ErrGRPCEmptyKey
	}
	order, okOrder := sortOrders[r.SortOrder]
	target, okTarget := sortTargets[r.SortTarget]
	if !okOrder || !okTarget {
		return kv.RangeRequest{}, rpctypes.ErrGRPCInvalidSortOption
	}
	if order == kv.SortNone && target != kv.SortByKey {
		order = kv.SortAscending // what etcd does for a target without an order
	}
	return kv.RangeRequest{
		Keys: keyRange(r.Key, r.RangeEnd), Revision: unsigned(r.Revision), Limit: int(min(unsigned(r.Limit), math.MaxInt32)),
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly, WithCount: true, Sort: order, Target: target,
		MinModRevision: unsigned(r.MinModRevision), MaxModRevision: ceiling(r.MaxModRevision),
		MinCreateRevision: unsigned(r.MinCreateRevision), MaxCreateRevision: ceiling(r.MaxCreateRevision),
	}, nil
}

var sortOrders = map[pb.RangeRequest_SortOrder]kv.SortOrder{
	pb.RangeRequest_NONE: kv.SortNone, pb.RangeRequest_ASCEND: kv.SortAscending, pb.RangeRequest_DESCEND: kv.SortDescending,
}

var sortTargets = map[pb.RangeRequest_SortTarget]kv.SortTarget{
	pb.RangeRequest_KEY: kv.SortByKey, pb.RangeRequest_VERSION: kv.SortByVersion, pb.RangeRequest_CREATE: kv.SortByCreate,
	pb.RangeRequest_MOD: kv.SortByMod, pb.RangeRequest_VALUE: kv.SortByValue,
}

func rangeResponse(r *kv.RangeResult) *pb.RangeResponse {
	return &pb.RangeResponse{Kvs: keyValues(r.Items), More: r.More, Count: signed(r.Count)}
}

// checkPut refuses what can be told from the request alone, in etcd's words.
func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// transaction translates a transaction with those in it. Its longest list may have most entries; those in it share what that leaves.
func transaction(r *pb.TxnRequest, depth, most int) (*kv.Txn, error) {
	most -= max(len(r.Compare), len(r.Success), len(r.Failure))
	if depth > kv.MaxTxnDepth || most < 0 {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	t := &kv.Txn{Compares: make([]kv.Compare, len(r.Compare))}
	for i, c := range r.Compare {
		var err error
		if t.Compares[i], err = compare(c); err != nil {
			return nil, err
		}
	}
	var err error
	if t.Success, err = operations(r.Success, depth, most); err != nil {
		return nil, err
	}
	t.Failure, err = operations(r.Failure, depth, most)
	return t, err
}

func compare(c *pb.Compare) (kv.Compare, error) {
	if len(c.Key) == 0 {
		return kv.Compare{}, rpctypes.ErrGRPCEmptyKey
	}
	relation, ok := relations[c.Result]
	if !ok {
		return kv.Compare{}, kv.ErrMalformed
	}
	out := kv.Compare{Keys: keyRange(c.Key, c.RangeEnd), Relation: relation}
	switch c.Target {
	case pb.Compare_VERSION:
		out.Target, out.Number = kv.TargetVersion, uint64(c.GetVersion())
	case pb.Compare_CREATE:
		out.Target, out.Number = kv.TargetCreate, uint64(c.GetCreateRevision())
	case pb.Compare_MOD:
		out.Target, out.Number = kv.TargetMod, uint64(c.GetModRevision())
	case pb.Compare_LEASE:
		out.Target, out.Number = kv.TargetLease, uint64(c.GetLease())
	case pb.Compare_VALUE:
		out.Target, out.Value = kv.TargetValue, c.GetValue()
	default:
		return kv.Compare{}, kv.ErrMalformed
	}
	if out.Target != kv.TargetLease && int64(out.Number) < 0 {
		// None of ours is: all are above it, which what none reaches tells as well.
		out.Number, out.Relation = math.MaxUint64, kv.Equal
		if relation == kv.Greater || relation == kv.NotEqual {
			out.Relation = kv.NotEqual
		}
	}
	return out, nil
}

var relations = map[pb.Compare_CompareResult]kv.Relation{
	pb.Compare_EQUAL: kv.Equal, pb.Compare_NOT_EQUAL: kv.NotEqual, pb.Compare_LESS: kv.Less, pb.Compare_GREATER: kv.Greater,
}

func operations(requests []*pb.RequestOp, depth, most int) ([]kv.Op, error) {
	out := make([]kv.Op, len(requests))
	for i, r := range requests {
		var err error
		if out[i], err = operation(r, depth, most); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func operation(r *pb.RequestOp, depth, most int) (kv.Op, error) {
	switch x := r.Request.(type) {
	case *pb.RequestOp_RequestRange:
		q, err := rangeRequest(x.RequestRange)
		return kv.RangeOp(q), err
	case *pb.RequestOp_RequestPut:
		p := x.RequestPut
		op := kv.PutOp(p.Key, p.Value)
		op.Lease, op.PrevKV, op.IgnoreValue, op.IgnoreLease = p.Lease, p.PrevKv, p.IgnoreValue, p.IgnoreLease
		return op, checkPut(p)
	case *pb.RequestOp_RequestDeleteRange:
		d := x.RequestDeleteRange
		op := kv.DeleteOp(keyRange(d.Key, d.RangeEnd))
		op.PrevKV = d.PrevKv
		return op, checkDelete(d)
	case *pb.RequestOp_RequestTxn:
		t, err := transaction(x.RequestTxn, depth+1, most)
		return kv.Op{Kind: kv.OpTxn, Txn: t}, err
	}
	// An operation without anything in it.
	return kv.Op{}, rpctypes.ErrGRPCKeyNotFound
}

// account keeps the revision that operations of one transaction tell of: that before it until one has changed something, and its own from there on.
type account struct {
	now, own *pb.ResponseHeader
}

// wrote tells whether operations changed anything.
func wrote(ops []kv.Op, results []kv.OpResult) bool {
	for i := range results {
		switch r := &results[i]; ops[i].Kind {
		case kv.OpPut:
			return true
		case kv.OpDelete:
			if r.Deleted > 0 {
				return true
			}
		case kv.OpTxn:
			if wrote(branch(ops[i].Txn, r.Txn), r.Txn.Ops) {
				return true
			}
		}
	}
	return false
}

// responses translates what the operations of the branch that ran did.
func (a *account) responses(ops []kv.Op, results []kv.OpResult) []*pb.ResponseOp {
	out := make([]*pb.ResponseOp, len(results))
	for i := range results {
		r := &results[i]
		switch ops[i].Kind {
		case kv.OpRange:
			x := rangeResponse(r.Range)
			x.Header = a.now
			out[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: x}}
		case kv.OpPut:
			a.now = a.own
			x := &pb.PutResponse{Header: a.now}
			if len(r.Prev) > 0 {
				x.PrevKv = keyValue(&r.Prev[0])
			}
			out[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: x}}
		case kv.OpDelete:
			if r.Deleted > 0 {
				a.now = a.own
			}
			out[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{
				Header: a.now, Deleted: signed(r.Deleted), PrevKvs: keyValues(r.Prev),
			}}}
		case kv.OpTxn:
			// As in etcd, what is within has a header that tells nothing.
			out[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{
				Header: &pb.ResponseHeader{}, Succeeded: r.Txn.Succeeded, Responses: a.responses(branch(ops[i].Txn, r.Txn), r.Txn.Ops),
			}}}
		}
	}
	return out
}

// branch is the one that ran.
func branch(t *kv.Txn, r *kv.TxnResult) []kv.Op {
	if r.Succeeded {
		return t.Success
	}
	return t.Failure
}

func txnResponse(t *kv.Txn, r *kv.TxnResult, head *pb.ResponseHeader) *pb.TxnResponse {
	ran := branch(t, r)
	own := &pb.ResponseHeader{Revision: head.Revision}
	a := account{now: own, own: own}
	if wrote(ran, r.Ops) {
		a.now = &pb.ResponseHeader{Revision: head.Revision - 1}
	}
	return &pb.TxnResponse{Header: head, Succeeded: r.Succeeded, Responses: a.responses(ran, r.Ops)}
}
