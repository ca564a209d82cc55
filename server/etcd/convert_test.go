package etcd

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

func TestRangesOfKeys(t *testing.T) {
	for _, x := range []struct {
		key, end string
		want     kv.KeyRange
	}{
		{"a", "", kv.KeyRange{Start: []byte("a")}},
		{"a", "c", kv.KeyRange{Start: []byte("a"), End: []byte("c")}},
		{"a", "\x00", kv.KeyRange{Start: []byte("a"), End: []byte{0}}},
	} {
		if got := keyRange([]byte(x.key), []byte(x.end)); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%q to %q: %+v", x.key, x.end, got)
		}
	}
}

func TestATargetWithoutAnOrderIsAscending(t *testing.T) {
	for _, x := range []struct {
		order  pb.RangeRequest_SortOrder
		target pb.RangeRequest_SortTarget
		want   kv.SortOrder
	}{
		{pb.RangeRequest_NONE, pb.RangeRequest_KEY, kv.SortNone},
		{pb.RangeRequest_NONE, pb.RangeRequest_MOD, kv.SortAscending},
		{pb.RangeRequest_DESCEND, pb.RangeRequest_MOD, kv.SortDescending},
	} {
		got, err := rangeRequest(&pb.RangeRequest{Key: []byte("k"), SortOrder: x.order, SortTarget: x.target})
		if err != nil || got.Sort != x.want {
			t.Errorf("%v by %v: %v, %v", x.order, x.target, got.Sort, err)
		}
	}
	for _, r := range []*pb.RangeRequest{{Key: []byte("k"), SortOrder: 9}, {Key: []byte("k"), SortTarget: 9}} {
		if _, err := rangeRequest(r); !errors.Is(err, rpctypes.ErrGRPCInvalidSortOption) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// TestTransactionsAreRefusedForTheirShape, whatever a client makes of it.
func TestTransactionsAreRefusedForTheirShape(t *testing.T) {
	key := []byte("k")
	deep := &pb.TxnRequest{}
	for range kv.MaxTxnDepth {
		deep = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: deep}}}}
	}
	put := func(p *pb.PutRequest) *pb.TxnRequest {
		return &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: p}}}}
	}
	for _, x := range []struct {
		what string
		txn  *pb.TxnRequest
		want error
	}{
		{"too deep", deep, rpctypes.ErrGRPCTooManyOps},
		{"an empty operation", &pb.TxnRequest{Success: []*pb.RequestOp{{}}}, rpctypes.ErrGRPCKeyNotFound},
		{"a comparison without a key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}, rpctypes.ErrGRPCEmptyKey},
		{"a comparison with an end only", &pb.TxnRequest{Compare: []*pb.Compare{{RangeEnd: key}}}, rpctypes.ErrGRPCEmptyKey},
		{"a deletion with an end only", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{RangeEnd: []byte{0}}}}}}, rpctypes.ErrGRPCEmptyKey},
		{"a read with an end only", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{RangeEnd: []byte{0}}}}}}, rpctypes.ErrGRPCEmptyKey},
		{"an unknown target", &pb.TxnRequest{Compare: []*pb.Compare{{Key: key, Target: 9}}}, kv.ErrMalformed},
		{"an unknown relation", &pb.TxnRequest{Compare: []*pb.Compare{{Key: key, Result: 9}}}, kv.ErrMalformed},
		{"a put without a key", put(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"a value to ignore", put(&pb.PutRequest{Key: key, IgnoreValue: true, Value: key}), rpctypes.ErrGRPCValueProvided},
		{"a lease to ignore", put(&pb.PutRequest{Key: key, IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCLeaseProvided},
		{"fine", put(&pb.PutRequest{Key: key}), nil},
	} {
		if _, err := transaction(x.txn, 1, kv.DefaultMaxTxnOps); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", x.what, err)
		}
	}
}

// TestOnlyReadsThatAllAllowItMayBeOld.
func TestOnlyReadsThatAllAllowItMayBeOld(t *testing.T) {
	read := func(serializable bool) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), Serializable: serializable}}}
	}
	for _, x := range []struct {
		what string
		txn  *pb.TxnRequest
		want bool
	}{
		{"one that does", &pb.TxnRequest{Success: []*pb.RequestOp{read(true)}}, true},
		{"one that does not", &pb.TxnRequest{Success: []*pb.RequestOp{read(true)}, Failure: []*pb.RequestOp{read(false)}}, false},
		{"with a comparison", &pb.TxnRequest{Success: []*pb.RequestOp{read(true)}, Compare: []*pb.Compare{{Key: []byte("k")}}}, false},
		{"nothing", &pb.TxnRequest{}, false},
	} {
		translated, err := transaction(x.txn, 1, kv.DefaultMaxTxnOps)
		if err != nil || serializable(translated, x.txn) != x.want {
			t.Errorf("%s: %v", x.what, err)
		}
	}
}

func TestErrorsAreThoseOfEtcd(t *testing.T) {
	for _, x := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{fmt.Errorf("no: %w", backend.ErrUnavailable), codes.Unavailable, "etcdserver: no leader"},
		{backend.ErrUnknown, codes.Unavailable, "etcdserver: request timed out"},
		{context.DeadlineExceeded, codes.Unavailable, "etcdserver: request timed out"},
		{backend.ErrBusy, codes.ResourceExhausted, "etcdserver: too many requests"},
		{backend.ErrNoSpace, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{kv.ErrCompacted, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{&kv.TooLargeError{Unit: "operations in one list"}, codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{&kv.TooLargeError{Unit: "bytes"}, codes.InvalidArgument, "etcdserver: request is too large"},
		{raft.ErrUnsafeChange, codes.Unavailable, "etcdserver: unhealthy cluster"},
		{kv.ErrClosed, codes.Unavailable, "etcdserver: server stopped"},
		{errManaged, codes.PermissionDenied, errManaged.Error()[len("rpc error: code = PermissionDenied desc = "):]},
		{errors.New("what nobody knows"), codes.Unknown, "etcdserver: what nobody knows"},
	} {
		got, _ := status.FromError(refusal(x.err))
		if got.Code() != x.code || got.Message() != x.text {
			t.Errorf("%v: %v %q", x.err, got.Code(), got.Message())
		}
	}
}
