package etcd

import (
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
)

// errAnswerLost is for a transaction that has written: its caller must not take it for one that was refused, nor send it again.
var errAnswerLost = status.Error(codes.Unknown, "etcdserver: the transaction was carried out, but what it returns is more than one answer holds: "+
	"ask for less of it (a limit, keys only, no previous values) and read the rest on its own")

// checkWhole refuses the result of a transaction that lacks something of what was asked for: kv leaves out what is beyond kv.MaxTxnReadBytes and tells so,
// but etcd's answers have no place for that, and its clients take what they get for all there is.
func checkWhole(t *kv.Txn, r *kv.TxnResult) error {
	switch {
	case whole(t, r):
		return nil
	case t.Writes():
		return errAnswerLost
	}
	return rpctypes.ErrGRPCRequestTooLarge
}

func whole(t *kv.Txn, r *kv.TxnResult) bool {
	ran := branch(t, r)
	for i := range r.Ops {
		x := &r.Ops[i]
		if x.PrevTruncated || x.Range != nil && partial(&ran[i].Range, x.Range) || x.Txn != nil && !whole(ran[i].Txn, x.Txn) {
			return false
		}
	}
	return true
}

// partial tells whether a range has less than was asked for. One with a limit says itself that there is more; without any item it was too large to be sorted.
func partial(asked *kv.RangeRequest, r *kv.RangeResult) bool {
	return r.More && (asked.Limit == 0 || len(r.Items) == 0)
}
