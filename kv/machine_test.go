package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// onBoth runs a test on the store in memory and on bbolt.
func onBoth(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("memory", func(t *testing.T) {
		o, _ := memory()
		test(t, o)
	})
	t.Run("bbolt", func(t *testing.T) { test(t, Options{Dir: t.TempDir()}) })
}

func TestRevisionsFollowWrites(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		if rev, compacted := h.machine.Revision(); rev != 1 || compacted != 0 {
			t.Fatalf("an empty store is at revision %d, compacted %d", rev, compacted)
		}
		if r := h.do(Put([]byte("a"), []byte("1"))); r.Revision != 2 || !r.Succeeded {
			t.Fatalf("first put: %+v", r)
		}
		if r := h.do(Put([]byte("a"), []byte("2")).WithPrevKV()); r.Revision != 3 || len(r.Ops[0].Prev) != 1 || string(r.Ops[0].Prev[0].Value) != "1" {
			t.Fatalf("second put: %+v", r)
		}
		if r := h.do(Delete([]byte("nothing"))); r.Revision != 3 || r.Deleted != 0 {
			t.Fatalf("delete of nothing: %+v", r)
		}
		got := h.get("a", 0)
		want := KeyValue{Key: []byte("a"), Value: []byte("2"), CreateRevision: 2, ModRevision: 3, Version: 2}
		if !got.Found || !equalKV(got.KeyValue, want) || got.Revision != 3 {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if old := h.get("a", 2); string(old.Value) != "1" || old.Revision != 3 {
			t.Fatalf("at revision 2: %+v", old)
		}
		if r := h.do(Delete([]byte("a")).WithPrevKV()); r.Revision != 4 || r.Deleted != 1 || string(r.Ops[0].Prev[0].Value) != "2" {
			t.Fatalf("delete: %+v", r)
		}
		if got := h.get("a", 0); got.Found {
			t.Fatalf("after the delete: %+v", got)
		}
		if r := h.do(Put([]byte("a"), nil)); r.Revision != 5 {
			t.Fatalf("put again: %+v", r)
		}
		if got := h.get("a", 0); got.CreateRevision != 5 || got.Version != 1 {
			t.Fatalf("created again: %+v", got)
		}
	})
}

func TestCompareAndSwapIsAResult(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	if r := h.do(CompareAndPut([]byte("k"), 0, []byte("1"))); !r.Succeeded || r.Revision != 2 {
		t.Fatalf("create: %+v", r)
	}
	if r := h.do(CompareAndPut([]byte("k"), 0, []byte("2"))); r.Succeeded || r.Err != nil || r.Current != 2 || r.Revision != 2 {
		t.Fatalf("create again: %+v", r)
	}
	if r := h.do(CompareAndDelete([]byte("other"), 7)); r.Succeeded || r.Current != 0 {
		t.Fatalf("delete of what is not there: %+v", r)
	}
	if r := h.do(CompareAndPut([]byte("k"), 2, []byte("2"))); !r.Succeeded || r.Revision != 3 {
		t.Fatalf("swap: %+v", r)
	}
	if r := h.do(CompareAndDelete([]byte("k"), 3)); !r.Succeeded || r.Deleted != 1 {
		t.Fatalf("delete: %+v", r)
	}
}

func TestErrorsOfReads(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		for _, v := range []string{"1", "2", "3"} {
			h.do(Put([]byte("k"), []byte(v)))
		}
		if r := h.do(Compact(3)); r.Err != nil {
			t.Fatal(r.Err)
		}
		for _, c := range []struct {
			revision uint64
			want     error
		}{{5, ErrFutureRevision}, {2, ErrCompacted}, {3, nil}, {4, nil}, {0, nil}} {
			_, err := h.machine.Get(context.Background(), []byte("k"), c.revision)
			if !errors.Is(err, c.want) {
				t.Errorf("get at %d: %v, want %v", c.revision, err, c.want)
			}
		}
		if r := h.do(Compact(3)); !errors.Is(r.Err, ErrCompacted) {
			t.Errorf("compact again: %+v", r)
		}
		if r := h.do(Compact(9)); !errors.Is(r.Err, ErrFutureRevision) {
			t.Errorf("compact the future: %+v", r)
		}
	})
}

func TestMembershipAndClusterVersionAreKept(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		members := raft.NewMembership(raft.Member{ID: 1, Incarnation: 7, Name: "demo-0", PeerAddress: "demo-0:2380"})
		data, err := members.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		h.entry(raft.EntryMembership, data)
		h.entry(raft.EntryEmpty, nil)
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 3})
		if err := h.machine.Close(); err != nil {
			t.Fatal(err)
		}
		h.log = nil
		h.reopen(o)
		got := h.machine.Applied()
		if got.Index != 3 || got.Term != 1 || got.ClusterVersion != 3 || !got.Membership.Equal(members) {
			t.Fatalf("after a restart: %+v", got)
		}
		if h.machine.Durable() != 3 {
			t.Fatalf("durable: %d", h.machine.Durable())
		}
	})
}

func TestRepeatsAreRecognisedAcrossRestartAndSnapshot(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		id := h.do(OpenSession(7, 9)).Session
		if id != 1 {
			t.Fatalf("session %d", id)
		}
		header := session.Header{Session: id, Sequence: 1, Low: 1}
		first := h.propose(header, Put([]byte("k"), []byte("1")))
		check := func(when string) {
			t.Helper()
			again := h.propose(header, Put([]byte("k"), []byte("1")))
			if !again.Repeated || again.Revision != first.Revision || !again.Succeeded || again.Err != nil {
				t.Fatalf("%s: %+v", when, again)
			}
			if got := h.get("k", 0); got.Version != 1 {
				t.Fatalf("%s: applied twice: %+v", when, got)
			}
		}
		check("at once")
		if err := h.machine.Close(); err != nil {
			t.Fatal(err)
		}
		h.reopen(o)
		check("after a restart")
		other, _ := memory()
		to := open(t, other)
		transfer(t, h.machine, to)
		h.machine = to
		check("after a snapshot")
		header.Low, header.Sequence = 2, 2
		h.propose(header, Put([]byte("k"), []byte("2")))
		if r := h.propose(session.Header{Session: id, Sequence: 1, Low: 1}, Put([]byte("k"), []byte("1"))); !errors.Is(r.Err, ErrForgotten) {
			t.Fatalf("below low: %+v", r)
		}
		if r := h.propose(session.Header{Session: 99, Sequence: 1, Low: 1}, Put([]byte("k"), []byte("1"))); !errors.Is(r.Err, ErrExpired) {
			t.Fatalf("unknown session: %+v", r)
		}
	})
}

func TestSnapshotBetweenStores(t *testing.T) {
	memoryOptions, _ := memory()
	from := newHarness(t, Options{Dir: t.TempDir(), ClusterID: 5})
	for i := range 500 {
		from.do(Put([]byte{byte(i), 0, byte(i)}, make([]byte, i)))
	}
	from.do(DeleteRange(Span([]byte{10}, []byte{20})))
	from.do(Compact(100))
	onMemory, onBolt := open(t, memoryOptions), open(t, Options{Dir: t.TempDir()})
	transfer(t, from.machine, onMemory)
	transfer(t, onMemory, onBolt)
	want := hashOf(t, from.machine)
	for _, m := range []*Machine{onMemory, onBolt} {
		if got := hashOf(t, m); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if m.ClusterID() != 5 || m.Durable() != m.Applied().Index {
			t.Errorf("cluster %s, durable %d", m.ClusterID(), m.Durable())
		}
	}
}

// The first of a part is not the first of all: a transaction does not sort what is too large for it, and says so.
func TestATransactionDoesNotSortAPart(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	value := make([]byte, 1<<20)
	for i := range MaxTxnReadBytes/len(value) + 2 {
		value[0] = byte(i)
		h.do(Put(fmt.Appendf(nil, "k%03d", i), bytes.Clone(value)))
	}
	r, err := h.machine.Read(context.Background(), &Txn{Success: []Op{
		RangeOp(RangeRequest{Keys: All(), Sort: SortDescending, Target: SortByValue, Limit: 1}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if out := r.Ops[0].Range; !out.More || len(out.Items) != 0 {
		t.Fatalf("%d items, the first is %s, more is %v", len(out.Items), out.Items[0].Key, out.More)
	}
}
