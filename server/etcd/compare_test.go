package etcd

import (
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	raftsession "github.com/raftkv/raftkv/raft/session"
)

// keyed is a store with one key, "k", whose version, create revision and mod revision are 1, 2 and 2, and without a lease.
func keyed(t *testing.T) *kv.Machine {
	t.Helper()
	m, err := kv.Open(kv.Options{Disk: store.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	apply(t, m, 1, kv.Put([]byte("k"), []byte("v")))
	return m
}

func apply(t *testing.T, m *kv.Machine, index raft.Index, c kv.Command) *kv.Result {
	t.Helper()
	data, err := kv.AppendProposal(nil, raftsession.Header{}, c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Apply([]raft.Entry{{Term: 1, Index: index, Type: raft.EntryNormal, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	return out[0].(*kv.Result)
}

// TestComparesWithAnyNumber: etcd's are signed, and all that it compares them with is zero or above.
func TestComparesWithAnyNumber(t *testing.T) {
	m := keyed(t)
	targets := map[pb.Compare_CompareTarget]struct {
		of    int64 // of the key k
		union func(n int64, c *pb.Compare)
	}{
		pb.Compare_VERSION: {1, func(n int64, c *pb.Compare) { c.TargetUnion = &pb.Compare_Version{Version: n} }},
		pb.Compare_CREATE:  {2, func(n int64, c *pb.Compare) { c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n} }},
		pb.Compare_MOD:     {2, func(n int64, c *pb.Compare) { c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n} }},
		pb.Compare_LEASE:   {0, func(n int64, c *pb.Compare) { c.TargetUnion = &pb.Compare_Lease{Lease: n} }},
	}
	holds := map[pb.Compare_CompareResult]func(a, b int64) bool{
		pb.Compare_EQUAL: func(a, b int64) bool { return a == b }, pb.Compare_NOT_EQUAL: func(a, b int64) bool { return a != b },
		pb.Compare_LESS: func(a, b int64) bool { return a < b }, pb.Compare_GREATER: func(a, b int64) bool { return a > b },
	}
	for target, x := range targets {
		for relation, want := range holds {
			for _, n := range []int64{math.MinInt64, -2, -1, 0, 1, 2, 3, math.MaxInt64} {
				for key, of := range map[string]int64{"k": x.of, "absent": 0} {
					request := &pb.Compare{Key: []byte(key), Target: target, Result: relation}
					x.union(n, request)
					c, err := compare(request)
					if err != nil {
						t.Fatal(err)
					}
					r, err := m.Read(t.Context(), &kv.Txn{Compares: []kv.Compare{c}})
					if err != nil || r.Succeeded != want(of, n) {
						t.Errorf("%s of %s, which is %d, %s %d: %+v, %v", target, key, of, relation, n, r, err)
					}
				}
			}
		}
	}
}

// TestALimitMayBeAnyNumber, also in a transaction, whose encoding has less room for it.
func TestALimitMayBeAnyNumber(t *testing.T) {
	m := keyed(t)
	for i, limit := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt32, math.MaxInt32 + 1, math.MaxInt64} {
		q, err := rangeRequest(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		r := apply(t, m, raft.Index(i+2), kv.Transaction(kv.Txn{Success: []kv.Op{kv.PutOp([]byte("k"), nil), kv.RangeOp(q)}}))
		if r.Err != nil || len(r.Ops) != 2 || len(r.Ops[1].Range.Items) != 1 {
			t.Errorf("limit %d: %+v", limit, r)
		}
	}
}
