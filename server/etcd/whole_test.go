package etcd

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// answering is a store that answers any transaction with the same.
type answering struct {
	still
	result kv.TxnResult
}

func (s *answering) Txn(context.Context, backend.TxnRequest) (backend.TxnResult, error) {
	return backend.TxnResult{Revision: 7, TxnResult: s.result}, nil
}

// TestATransactionIsAnsweredWholeOrRefused: its client takes what it gets for all there is.
func TestATransactionIsAnsweredWholeOrRefused(t *testing.T) {
	read := func(limit int64) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, Limit: limit}}}
	}
	remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, PrevKv: true}}}
	within := func(op *pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{op}}}}
	}
	one := []kv.KeyValue{{Key: []byte("k")}}
	part, all := kv.OpResult{Range: &kv.RangeResult{Items: one, More: true}}, kv.OpResult{Range: &kv.RangeResult{Items: one}}
	nested := func(r kv.OpResult) kv.OpResult { return kv.OpResult{Txn: &kv.TxnResult{Ops: []kv.OpResult{r}}} }
	for _, x := range []struct {
		what   string
		op     *pb.RequestOp
		result kv.OpResult
		want   error
	}{
		{"a whole range", read(0), all, nil},
		{"a part of a range", read(0), part, rpctypes.ErrGRPCRequestTooLarge},
		{"as much as was asked for", read(1), part, nil},
		{"too large to be sorted", read(1), kv.OpResult{Range: &kv.RangeResult{More: true}}, rpctypes.ErrGRPCRequestTooLarge},
		{"a part of a range within", within(read(0)), nested(part), rpctypes.ErrGRPCRequestTooLarge},
		{"a whole range within", within(read(0)), nested(all), nil},
		{"all that was deleted", remove, kv.OpResult{Deleted: 1, Prev: one}, nil},
		{"a part of what was deleted", remove, kv.OpResult{Deleted: 2, Prev: one, PrevTruncated: true}, errAnswerLost},
		{"a part of what was deleted within", within(remove), nested(kv.OpResult{Deleted: 2, PrevTruncated: true}), errAnswerLost},
	} {
		for _, succeeded := range []bool{true, false} {
			store := &answering{result: kv.TxnResult{Succeeded: succeeded, Ops: []kv.OpResult{x.result}}}
			s := &kvService{Server: New(func() backend.Store { return store }, func() Cluster { return nil }, Options{})}
			request := &pb.TxnRequest{Success: []*pb.RequestOp{x.op}}
			if !succeeded {
				request.Success, request.Failure = nil, request.Success
			}
			r, err := s.Txn(t.Context(), request)
			if !errors.Is(err, x.want) || (err == nil) != (r != nil) {
				t.Errorf("%s: %v, %v", x.what, r, err)
			}
			s.Stop(t.Context())
		}
	}
}
