package kv

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// TestMembersKeepTheSamePoints: whatever batches they applied in, and whenever they removed history, members can compare at the same
// indexes.
func TestMembersKeepTheSamePoints(t *testing.T) {
	var entries []raft.Entry
	add := func(kind raft.EntryType, data []byte) {
		entries = append(entries, raft.Entry{Term: 1, Index: raft.Index(len(entries) + 1), Type: kind, Data: data})
	}
	do := func(c Command) { add(raft.EntryNormal, proposal(t, session.Header{}, c)) }
	add(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
	const keys = 50
	for i := range uint64(3 * hashPointEvery) {
		key := fmt.Appendf(nil, "k%d", i%keys)
		switch {
		case i%7 == 3:
			do(Delete(key))
		case i%100 == 99:
			do(Compact(i / 2))
		case i%11 == 5:
			do(DeleteRange(Span([]byte("k1"), []byte("k2"))))
		default:
			do(Put(key, binary.AppendUvarint(nil, i)))
		}
	}
	var points [3][]RunningHash
	for i, batch := range []int{1, 700, 90} {
		o, _ := memory()
		m := open(t, o)
		for at := 0; at < len(entries); at += batch {
			if _, err := m.Apply(entries[at:min(at+batch, len(entries))]); err != nil {
				t.Fatal(err)
			}
			if i == 2 { // this one removes at once what compaction gives up
				for range 2 {
					if err := m.FlushNow(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		points[i] = m.HashPoints()
	}
	for i := range points {
		if len(points[i]) != 4 || !slices.Equal(points[0], points[i]) || points[i][0].Hash == points[i][1].Hash ||
			points[i][2].Applied != 3*hashPointEvery || points[i][3].Applied != raft.Index(len(entries)) {
			t.Fatalf("member %d: %+v, the first %+v", i, points[i], points[0])
		}
	}
}

// TestPointsAreKeptFromTheVersionOn: an older build's checksum covers less, so nothing is compared before all members read the version, and
// from there on it does not matter what went into it before.
func TestPointsAreKeptFromTheVersionOn(t *testing.T) {
	run := func(first string) []RunningHash {
		h := newHarness(t, Options{Disk: store.NewMemory(), Synchronous: true})
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion - 1})
		h.do(Put([]byte(first), nil))
		if p := h.machine.HashPoints(); len(p) != 0 {
			t.Errorf("points below the version: %+v", p)
		}
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
		return h.machine.HashPoints()
	}
	a, b := run("a"), run("b")
	if len(a) != 1 || a[0].ClusterVersion != CompareVersion || !slices.Equal(a, b) {
		t.Errorf("%+v, %+v", a, b)
	}
}

// TestRunningChecksumTellsDivergence: members that applied the same have the same one, others do not.
func TestRunningChecksumTellsDivergence(t *testing.T) {
	type history struct {
		value        string
		restart      bool
		lease, alarm bool
		session      bool
	}
	run := func(x history) uint64 {
		h := newHarness(t, Options{Disk: store.NewMemory(), Synchronous: true})
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
		h.do(Put([]byte("k"), []byte(x.value)))
		if x.restart {
			if err := h.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
			h.reopen(h.machine.options)
		}
		other := Put([]byte("other"), nil)
		switch {
		case x.lease:
			h.do(GrantLease(1, 10))
		case x.alarm:
			h.do(RaiseAlarm(Alarm{Member: 1, Type: AlarmNoSpace}))
		case x.session:
			h.do(OpenSession(1, 1))
		default:
			h.do(other)
		}
		points := h.machine.HashPoints()
		return points[len(points)-1].Hash
	}
	right := run(history{value: "a"})
	if run(history{value: "a", restart: true}) != right {
		t.Error("a restart changes the running checksum")
	}
	seen := map[uint64]history{right: {value: "a"}}
	for _, x := range []history{{value: "b"}, {value: "a", lease: true}, {value: "a", alarm: true}, {value: "a", session: true}} {
		sum := run(x)
		if y, same := seen[sum]; same {
			t.Errorf("%+v and %+v have the same running checksum", x, y)
		}
		seen[sum] = x
	}
}

// TestAStoreThatHasGoneWrongShowsAtTheNextWrite: a version that was lost, with all its checksums in order, is found when its key is written
// again.
func TestAStoreThatHasGoneWrongShowsAtTheNextWrite(t *testing.T) {
	run := func(lose bool) uint64 {
		disk := store.NewMemory()
		h := newHarness(t, Options{Disk: disk, Synchronous: true})
		h.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
		h.do(Put([]byte("k"), []byte("1")))
		h.do(Put([]byte("k"), []byte("2")))
		if err := h.machine.FlushNow(); err != nil {
			t.Fatal(err)
		}
		if lose {
			s := h.machine.current.store
			var b store.Batch
			b.Delete(bucketIndex, appendIndexKey(nil, []byte("k"), FirstRevision+2))
			b.Delete(bucketRecords, appendRecordKey(nil, FirstRevision+2, 0))
			if err := s.Commit(&b); err != nil {
				t.Fatal(err)
			}
		}
		h.do(Put([]byte("k"), []byte("3")))
		points := h.machine.HashPoints()
		return points[len(points)-1].Hash
	}
	if run(true) == run(false) {
		t.Error("the loss does not show")
	}
}

// BenchmarkRunningHash is what the running checksum takes of one put of 256 bytes: what it adds for the write, and for the state at a point.
func BenchmarkRunningHash(b *testing.B) {
	o, _ := memory()
	m := open(b, o)
	m.current.meta.ClusterVersion = CompareVersion
	a := applier{machine: m, state: &m.current}
	key, value := benchKey(1), make([]byte, benchValueBytes)
	v, old := version{mod: 8, create: 3, count: 2, value: value}, version{mod: 7, create: 3, count: 1}
	b.Run("write", func(b *testing.B) {
		for range b.N {
			a.noteWrite(key, &v, &old)
		}
	})
	b.Run("point", func(b *testing.B) {
		for range b.N {
			m.points.add(m.current.runningHash(m.sessions.Digest(), m.leases.digest))
		}
	})
}
