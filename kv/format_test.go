package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// TestFormatFollowsTheClusterVersion: what an older build does not read is not written while one may be in the cluster.
func TestFormatFollowsTheClusterVersion(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	formats := func() (inStore, inSnapshot uint32, hasLeases bool) {
		t.Helper()
		s, err := h.machine.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		var b bytes.Buffer
		if _, err := s.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		k, _ := s.view.Iterate(bucketLeases).First()
		return binary.BigEndian.Uint32(s.view.Get(bucketMeta, metaFormat)), binary.BigEndian.Uint32(b.Bytes()[len(snapshotMagic):]), k != nil
	}
	h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 1})
	h.do(Put([]byte("k"), []byte("v")))
	if r := h.do(GrantLease(7, 10)); !errors.Is(r.Err, ErrMalformed) {
		t.Errorf("a lease before the cluster version allows it: %v", r.Err)
	}
	if a, b, leases := formats(); a != 1 || b != 1 || leases {
		t.Errorf("formats %d and %d, leases %t", a, b, leases)
	}
	h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 2})
	if r := h.do(GrantLease(7, 10)); r.Err != nil {
		t.Error(r.Err)
	}
	if a, b, leases := formats(); a != 2 || b != 2 || !leases {
		t.Errorf("formats %d and %d, leases %t", a, b, leases)
	}
	h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 3})
	if a, b, leases := formats(); a != 2 || b != 3 || !leases {
		t.Errorf("formats %d and %d, leases %t", a, b, leases)
	}
}

// TestStageRefusesAChangedOrderInEveryFormat: each chunk has its own checksum; the one of the whole finds those that were left out or exchanged.
func TestStageRefusesAChangedOrderInEveryFormat(t *testing.T) {
	for _, version := range []uint32{1, leaseVersion, chainedVersion} {
		meta, stream := snapshotOf(t, version)
		if _, err := receiveFuzz(t, meta, stream, len(stream)/3); err != nil {
			t.Fatalf("cluster version %d: %v", version, err)
		}
		// The records' chunk becomes two, which are then exchanged.
		header := chunkHeaderBytes + int(binary.BigEndian.Uint32(stream[snapshotPreambleBytes:]))
		at := snapshotPreambleBytes + header
		n := int(binary.BigEndian.Uint32(stream[at:]))
		first := decoder{data: stream[at+chunkHeaderBytes+1 : at+chunkHeaderBytes+n]}
		first.byte()
		first.bytes()
		first.bytes()
		half := n - 1 - len(first.data)
		records := stream[at+chunkHeaderBytes+1 : at+chunkHeaderBytes+n]
		a, b := appendFuzzChunk(nil, append([]byte{chunkRecords}, records[:half]...)), appendFuzzChunk(nil, append([]byte{chunkRecords}, records[half:]...))
		sum := newSnapshotSum(binary.BigEndian.Uint32(stream[len(snapshotMagic):]))
		_, _ = sum.Write(stream[:snapshotPreambleBytes])
		for _, c := range [][]byte{stream[snapshotPreambleBytes:at], a, b} {
			sum.chunk(c[:chunkHeaderBytes], c[chunkHeaderBytes:])
		}
		end := append([]byte{chunkEnd}, stream[at+chunkHeaderBytes+n+chunkHeaderBytes+1:][:8]...)
		end = appendFuzzChunk(nil, sum.Sum(end))
		build := func(parts ...[]byte) []byte {
			return bytes.Join(append([][]byte{stream[:at]}, parts...), nil)
		}
		if _, err := receiveFuzz(t, meta, build(a, b, end), 50); err != nil {
			t.Errorf("cluster version %d: the chunks as they were sent: %v", version, err)
		}
		for _, changed := range [][]byte{build(b, a, end), build(a, end), build(a, b, b, end)} {
			if _, err := receiveFuzz(t, meta, changed, 50); err == nil {
				t.Errorf("cluster version %d: chunks that were exchanged, left out or repeated were accepted", version)
			}
		}
	}
}

func TestCommandsAreWrittenInTheLowestFormat(t *testing.T) {
	old := RangeRequest{Keys: All(), Limit: 3, KeysOnly: true, WithCount: true}
	sorted := old
	sorted.Sort = SortDescending
	leased := PutOp([]byte("k"), nil)
	leased.Lease = 7
	for _, x := range []struct {
		name   string
		c      Command
		format byte
		level  uint32
	}{
		{"put", Put([]byte("k"), nil), 1, 0},
		{"compare and put", CompareAndPut([]byte("k"), 3, nil), 1, 0},
		{"compact", Compact(3), 1, 0},
		{"session", OpenSession(1, 2), 1, 0},
		{"range", Transaction(Txn{Success: []Op{RangeOp(old)}}), 1, 0},
		{"sorted range", Transaction(Txn{Success: []Op{RangeOp(sorted)}}), 2, 2},
		{"nested", Transaction(Txn{Failure: []Op{{Kind: OpTxn, Txn: &Txn{Success: []Op{RangeOp(sorted)}}}}}), 2, 2},
		{"leased put", Transaction(Txn{Success: []Op{leased}}), 1, 2},
		{"keep the value", Transaction(Txn{Success: []Op{{Kind: OpPut, Keys: One([]byte("k")), IgnoreValue: true}}}), 2, 2},
		{"grant", GrantLease(1, 2), 2, 2},
		{"expire", ExpireLeases([]Lease{{ID: 1, Renewed: 9}}), 2, 2},
		{"alarm", RaiseAlarm(Alarm{1, AlarmNoSpace}), 2, 2},
	} {
		data, err := x.c.AppendBinary(nil)
		if err != nil || data[0] != x.format || x.c.Level() != x.level {
			t.Errorf("%s: format %d, level %d, %v", x.name, data[0], x.c.Level(), err)
		}
	}
}

// TestReadsAStoreWithoutLeases: a file of an older build has one bucket less, and opening does not write to it.
func TestReadsAStoreWithoutLeases(t *testing.T) {
	o := Options{Dir: t.TempDir(), Synchronous: true}
	h := newHarness(t, o)
	h.do(Put([]byte("k"), []byte("v")))
	if err := h.machine.Close(); err != nil {
		t.Fatal(err)
	}
	h.reopen(o)
	if got := h.get("k", 0); !got.Found || len(h.machine.LeaseIDs()) != 0 || h.machine.Stats().Commits != 0 {
		t.Fatalf("%+v, %+v", got, h.machine.Stats())
	}
}

// TestExpiryYieldsToRenewal: a lease whose renewal was applied before the revocation that was decided without it lives on.
func TestExpiryYieldsToRenewal(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 2})
	h.do(GrantLease(7, 10))
	put := PutOp([]byte("k"), nil)
	put.Lease = 7
	h.do(Transaction(Txn{Success: []Op{put}}))
	before, _ := h.machine.Lease(7)
	h.do(RenewLeases([]LeaseID{7, 8}))
	h.do(ExpireLeases([]Lease{before}))
	now, ok := h.machine.Lease(7)
	if !ok || !h.get("k", 0).Found {
		t.Fatal("the lease was revoked although it had been renewed")
	}
	if r := h.do(ExpireLeases([]Lease{now})); r.Deleted != 1 || r.Revision != 3 || h.get("k", 0).Found {
		t.Fatalf("%+v", r)
	}
}
