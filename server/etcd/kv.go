package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

type kvService struct {
	pb.UnimplementedKVServer
	*Server
}

func (s *kvService) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	q, err := rangeRequest(r)
	if err != nil {
		return nil, err
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.Range(ctx, backend.RangeRequest{RangeRequest: q, Serializable: r.Serializable})
	if err != nil {
		return nil, err
	}
	out := rangeResponse(&result)
	out.Header = header(store, result.Revision)
	return out, nil
}

func (s *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.Put(ctx, backend.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	})
	if err != nil {
		return nil, err
	}
	out := &pb.PutResponse{Header: header(store, result.Revision)}
	if result.Prev != nil {
		out.PrevKv = keyValue(result.Prev)
	}
	return out, nil
}

func (s *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.DeleteRange(ctx, backend.DeleteRequest{Keys: keyRange(r.Key, r.RangeEnd), PrevKV: r.PrevKv})
	if err != nil {
		return nil, err
	}
	return &pb.DeleteRangeResponse{
		Header: header(store, result.Revision), Deleted: signed(result.Deleted), PrevKvs: keyValues(result.Prev),
	}, nil
}

func (s *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t, err := transaction(r, 1, s.options.MaxTxnOps)
	if err != nil {
		return nil, err
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.Txn(ctx, backend.TxnRequest{Txn: *t, Serializable: serializable(t, r)})
	if err != nil {
		return nil, err
	}
	if err := checkWhole(t, &result.TxnResult); err != nil {
		return nil, err
	}
	return txnResponse(t, &result.TxnResult, header(store, result.Revision)), nil
}

// serializable tells whether every read of a transaction that only reads may be answered from a state that is old, as etcd has it.
func serializable(t *kv.Txn, r *pb.TxnRequest) bool {
	if len(t.Compares) > 0 {
		return false
	}
	ranges := 0
	for _, op := range append(append([]*pb.RequestOp(nil), r.Success...), r.Failure...) {
		q := op.GetRequestRange()
		if q == nil || !q.Serializable {
			return false
		}
		ranges++
	}
	return ranges > 0
}

func (s *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if r.Revision < 0 {
		return nil, rpctypes.ErrGRPCCompacted
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	revision, err := store.Compact(ctx, backend.CompactRequest{Revision: unsigned(r.Revision), Physical: r.Physical})
	if err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: header(store, revision)}, nil
}
