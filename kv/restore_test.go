package kv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// ancestor is a machine of an old cluster, with everything that a state can hold.
func ancestor(t *testing.T, version byte) *harness {
	t.Helper()
	h := newHarness(t, Options{Disk: store.NewMemory(), Synchronous: true, ClusterID: 7})
	h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, version})
	h.do(OpenSession(1, 1))
	h.do(Put([]byte("a"), []byte("1")))
	h.do(Put([]byte("a"), []byte("2")))
	h.do(Put([]byte("gone"), []byte("x")))
	h.do(Delete([]byte("gone")))
	if version >= leaseVersion {
		h.do(GrantLease(5, 60))
		leased := PutOp([]byte("leased"), []byte("l"))
		leased.Lease = 5
		h.do(Transaction(Txn{Success: []Op{leased}}))
		h.do(RaiseAlarm(Alarm{Member: 1, Type: AlarmNoSpace}))
	}
	return h
}

// file is a snapshot as a machine streams it, and the same as etcd's clients save it.
func (h *harness) file() (stream, file []byte) {
	h.t.Helper()
	s, err := h.machine.Snapshot(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		h.t.Fatal(err)
	}
	stream = bytes.Clone(b.Bytes())
	for b.Len()%snapshotFileAlign != 0 {
		b.WriteByte(0)
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	return stream, b.Bytes()
}

func TestARestoredStateIsThatOfTheSnapshotUnderANewCluster(t *testing.T) {
	const bump = 1000
	for _, x := range []struct {
		name    string
		version byte
		disk    bool // on bbolt
		whole   bool // a file with its checksum
		mark    bool
	}{{"stream", CompareVersion, false, false, true}, {"file", CompareVersion, true, true, true}, {"history kept", CompareVersion, true, true, false},
		{"format 2", 2, false, true, true}, {"format 1", 1, false, true, true}} {
		t.Run(x.name, func(t *testing.T) {
			old := ancestor(t, x.version)
			content, file := old.file()
			if x.whole {
				content = file
			}
			o := Options{Disk: store.NewMemory(), Synchronous: true, ClusterID: 8}
			if x.disk {
				o = Options{Dir: t.TempDir(), ClusterID: 8}
			}
			h := newHarness(t, o)
			before, _ := old.machine.Revision()
			got, err := h.machine.Restore(bytes.NewReader(content), RestoreOptions{BumpRevision: bump, MarkCompacted: x.mark})
			want := Restored{Cluster: 7, Meta: old.machine.Applied(), Before: before, Revision: before + bump, Checked: x.whole}
			if x.mark {
				want.Compacted = want.Revision
			}
			got.Meta.Membership, want.Meta.Membership = raft.Membership{}, raft.Membership{}
			if err != nil || got.Cluster != want.Cluster || got.Meta.Index != want.Meta.Index || got.Before != want.Before || got.Revision != want.Revision ||
				got.Compacted != want.Compacted || got.Checked != want.Checked {
				t.Fatalf("%+v, %v; want %+v", got, err, want)
			}
			check := func() {
				t.Helper()
				if revision, compacted := h.machine.Revision(); revision != want.Revision || compacted != want.Compacted || h.machine.ClusterID() != 8 {
					t.Errorf("revision %d, compacted %d, cluster %s", revision, compacted, h.machine.ClusterID())
				}
				if kv := h.get("a", 0); string(kv.Value) != "2" || kv.Version != 2 || kv.ModRevision != FirstRevision+2 || kv.CreateRevision != FirstRevision+1 {
					t.Errorf("%+v", kv)
				}
				if h.get("gone", 0).Found {
					t.Error("a deleted key is back")
				}
				_, err := h.machine.Get(context.Background(), []byte("a"), FirstRevision+1)
				if errors.Is(err, ErrCompacted) != x.mark {
					t.Errorf("a read at an old revision: %v", err)
				}
				if len(h.machine.Alarms()) != 0 {
					t.Errorf("alarms of the old cluster: %+v", h.machine.Alarms())
				}
			}
			check()
			h.log = make([]raft.Entry, got.Meta.Index) // its log begins behind that
			if x.version >= leaseVersion {
				if l, ok := h.machine.Lease(5); !ok || l.TTL != 60 || h.get("leased", 0).Lease != 5 {
					t.Errorf("the lease: %+v, %v", l, ok)
				}
			}
			if err := h.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
			if x.disk {
				if err := h.machine.Close(); err != nil {
					t.Fatal(err)
				}
				h.reopen(h.machine.options)
				check()
			}
			if r := h.propose(session.Header{Session: 2, Sequence: 1, Low: 1}, Put([]byte("late"), nil)); !errors.Is(r.Err, ErrExpired) {
				t.Errorf("a session of the old cluster: %+v", r)
			}
			if r := h.do(Put([]byte("b"), nil)); r.Err != nil || r.Revision != want.Revision+1 {
				t.Errorf("the next write: %+v", r)
			}
			if x.version >= leaseVersion {
				if r := h.do(RevokeLease(5)); r.Deleted != 1 || h.get("leased", 0).Found {
					t.Errorf("the end of the lease: %+v", r)
				}
			}
			if err := h.machine.Scrub(context.Background(), want.Compacted); err != nil {
				t.Error(err)
			}
			if got := h.get("a", 0); string(got.Value) != "2" {
				t.Errorf("after the removal of history: %+v", got)
			}
		})
	}
}

func TestRestoreRefusesWhatIsNoWholeSnapshot(t *testing.T) {
	stream, file := ancestor(t, CompareVersion).file()
	h := newHarness(t, Options{Disk: store.NewMemory(), Synchronous: true, ClusterID: 8})
	refused := func(what string, content []byte, o RestoreOptions) {
		t.Helper()
		if _, err := h.machine.Restore(bytes.NewReader(content), o); err == nil {
			t.Fatalf("%s was restored", what)
		} else if strings.Contains(err.Error(), "%!") {
			t.Error(err)
		}
		if now := h.machine.Applied(); now.Index != 0 {
			t.Fatalf("%s left a state: %+v", what, now)
		}
	}
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 1 << (i % 8)
		refused("a file with a bit flipped", damaged, RestoreOptions{})
	}
	for n := range len(file) {
		if n != len(stream) {
			refused("a file that ends early", file[:n], RestoreOptions{})
		}
	}
	refused("a file with more behind it", append(bytes.Clone(file), 0), RestoreOptions{})
	refused("a stream with more behind it", append(bytes.Clone(stream), make([]byte, 10_000)...), RestoreOptions{})
	refused("too high a revision", file, RestoreOptions{BumpRevision: MaxRevision})
	refused("one that is past all numbers", file, RestoreOptions{BumpRevision: math.MaxUint64})
	if _, err := h.machine.Restore(bytes.NewReader(file), RestoreOptions{}); err != nil {
		t.Fatalf("the same, whole: %v", err)
	}
	if _, err := h.machine.Restore(bytes.NewReader(file), RestoreOptions{}); err == nil {
		t.Error("restored over a state")
	}
}

// TestASurvivorsStateRaisesItsRevisions: what only lost members had told may be any revision up to the raised one. It holds after a restart, and for
// whoever gets the state by a snapshot.
func TestASurvivorsStateRaisesItsRevisions(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
		h.do(Put([]byte("a"), []byte("1")))
		h.do(GrantLease(5, 60))
		h.do(RaiseAlarm(Alarm{Member: 1, Type: AlarmCorrupt}))
		last := h.do(Put([]byte("a"), []byte("2"))).Revision // not flushed
		at := h.machine.Applied()
		got, err := h.machine.Succeed(RestoreOptions{BumpRevision: DefaultBumpRevision, MarkCompacted: true})
		if err != nil || got.Before != last || got.Revision != last+DefaultBumpRevision || got.Compacted != got.Revision {
			t.Fatalf("%+v, %v", got, err)
		}
		if now := h.machine.Applied(); now.Index != at.Index || now.Term != at.Term || h.machine.Durable() != at.Index {
			t.Fatalf("applied %+v after %+v, durable %d", now, at, h.machine.Durable())
		}
		h.do(Put([]byte("b"), []byte("3")))
		same := newHarness(t, Options{Disk: store.NewMemory(), Synchronous: true})
		transfer(t, h.machine, same.machine)
		if err := h.machine.Close(); err != nil {
			t.Fatal(err)
		}
		if o.Disk == nil {
			o.MustExist = true
		}
		again := open(t, o)
		for name, m := range map[string]*Machine{"after a restart": again, "by a snapshot": same.machine} {
			if revision, compacted := m.Revision(); revision != got.Revision+1 || compacted != got.Compacted {
				t.Errorf("%s: revision %d, compacted %d", name, revision, compacted)
			}
			if a, err := m.Get(ctx, []byte("a"), 0); err != nil || string(a.Value) != "2" || a.ModRevision != last || a.Version != 2 {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			if b, err := m.Get(ctx, []byte("b"), 0); err != nil || b.ModRevision != got.Revision+1 {
				t.Errorf("%s: %+v, %v", name, b, err)
			}
			for _, old := range []uint64{FirstRevision + 1, last, last + 1, got.Revision - 1} {
				if _, err := m.Get(ctx, []byte("a"), old); !errors.Is(err, ErrCompacted) {
					t.Errorf("%s: a read at revision %d: %v", name, old, err)
				}
				if _, _, err := m.Events(ctx, EventsRequest{From: old, Match: func([]byte) bool { return true }, MostEvents: 9, MostBytes: 99}); !errors.Is(err, ErrCompacted) {
					t.Errorf("%s: events from revision %d: %v", name, old, err)
				}
			}
			if len(m.Alarms()) != 0 || len(m.LeaseIDs()) != 1 {
				t.Errorf("%s: alarms %v, leases %v", name, m.Alarms(), m.LeaseIDs())
			}
		}
		mine, err := again.HashKV(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := same.machine.HashKV(ctx, 0); err != nil || theirs != mine {
			t.Errorf("%+v and %+v, %v", mine, theirs, err)
		}
	})
}

func TestRevisionsAreNotRaisedPastTheHighest(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	h.do(Put([]byte("a"), []byte("1")))
	if _, err := h.machine.Succeed(RestoreOptions{BumpRevision: MaxRevision, MarkCompacted: true}); err == nil || !strings.Contains(err.Error(), "cannot be raised") {
		t.Fatalf("%v", err)
	}
	if revision, compacted := h.machine.Revision(); revision != 2 || compacted != 0 || h.machine.Failure() != nil {
		t.Errorf("revision %d, compacted %d, %v", revision, compacted, h.machine.Failure())
	}
}
