package wal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

const testDir = "wal"

var testIdentity = Identity{Cluster: 0xc1, Member: 2, Incarnation: 0x1234}

func testOptions() Options {
	return Options{Identity: testIdentity, SegmentBytes: MinSegmentBytes, Inline: true}
}

// model is what a log should hold, in the plainest form.
type model struct {
	hardState raft.HardState
	start     raft.Position
	entries   []raft.Entry
	snapshot  *raft.SnapshotMeta
}

func (m model) clone() model {
	m.entries = slices.Clone(m.entries)
	return m
}

func (m model) last() raft.Index { return m.start.Index + raft.Index(len(m.entries)) }

func (m model) term(i raft.Index) raft.Term {
	if i == m.start.Index {
		return m.start.Term
	}
	return m.entries[i-m.start.Index-1].Term
}

func (m *model) store(r *raft.StoreRequest) {
	if r.HardState != nil {
		m.hardState = *r.HardState
	}
	if s := r.Snapshot; s != nil {
		m.snapshot = s
		if s.Index >= m.start.Index {
			if s.Index <= m.last() && m.term(s.Index) == s.Term {
				m.entries = slices.Clone(m.entries[s.Index-m.start.Index:])
			} else {
				m.entries = nil
			}
			m.start = raft.Position{Index: s.Index, Term: s.Term}
		}
	}
	if len(r.Entries) > 0 {
		m.entries = append(m.entries[:r.Entries[0].Index-m.start.Index-1:r.Entries[0].Index-m.start.Index-1], r.Entries...)
	}
}

// compact also notes what goes, since it may come back when the log is opened again.
func (m *model) compact(p raft.Position, gone map[raft.Index]raft.Entry) {
	if p.Index > m.start.Index {
		for _, e := range m.entries[:p.Index-m.start.Index] {
			gone[e.Index] = e
		}
		m.entries = slices.Clone(m.entries[p.Index-m.start.Index:])
		m.start = p
	}
}

// differs tells how what was recovered differs from the model. A log that was compacted may start earlier, with
// entries that were compacted.
func (m model) differs(got Recovered, gone map[raft.Index]raft.Entry) error {
	if got.HardState != m.hardState {
		return fmt.Errorf("hard state %+v, want %+v", got.HardState, m.hardState)
	}
	if (got.Snapshot == nil) != (m.snapshot == nil) || got.Snapshot != nil && !sameMeta(*got.Snapshot, *m.snapshot) {
		return fmt.Errorf("snapshot %+v, want %+v", got.Snapshot, m.snapshot)
	}
	if got.Start.Index > m.start.Index || got.Start.Index == m.start.Index && got.Start.Term != m.start.Term {
		return fmt.Errorf("start %+v, want at most %+v", got.Start, m.start)
	}
	if last := got.Start.Index + raft.Index(len(got.Entries)); last != m.last() {
		return fmt.Errorf("last entry %d, want %d", last, m.last())
	}
	for i, e := range got.Entries {
		if e.Index != got.Start.Index+raft.Index(i)+1 {
			return fmt.Errorf("entry %d at the place of %d", e.Index, got.Start.Index+raft.Index(i)+1)
		}
		want := gone[e.Index]
		if e.Index > m.start.Index {
			want = m.entries[e.Index-m.start.Index-1]
		} else if e.Index == m.start.Index && e.Term != m.start.Term {
			return fmt.Errorf("entry %d has term %d, the log started behind it with term %d", e.Index, e.Term, m.start.Term)
		}
		if !sameEntry(e, want) {
			return fmt.Errorf("entry %d is %v, want %v", e.Index, e, want)
		}
	}
	return nil
}

func sameEntry(a, b raft.Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

func sameMeta(a, b raft.SnapshotMeta) bool {
	return a.Index == b.Index && a.Term == b.Term && a.ClusterVersion == b.ClusterVersion && a.Membership.Equal(b.Membership)
}

// writer makes up what a core might ask to store.
type writer struct {
	random *rand.Rand
	// now is the model after all requests that were made.
	now  model
	gone map[raft.Index]raft.Entry
	// maxData bounds the length of an entry's data.
	maxData int
}

func newWriter(seed uint64) *writer {
	return &writer{random: rand.New(rand.NewPCG(seed, 1)), gone: map[raft.Index]raft.Entry{}, maxData: 300}
}

// request makes the next request and plays it on now.
func (w *writer) request() *raft.StoreRequest {
	r := &raft.StoreRequest{}
	h := w.now.hardState
	switch w.random.IntN(6) {
	case 0:
		h = raft.HardState{Term: h.Term + 1, Vote: raft.NodeID(w.random.IntN(3))}
		r.HardState = &h
	case 1:
		if h.Vote == 0 {
			h.Vote = 3
		}
		r.HardState = &h
	}
	if h.Term == 0 {
		h = raft.HardState{Term: 1}
		r.HardState = &h
	}
	// What takes the place of other entries is of a later term, by log matching (§5.3).
	cut := w.random.IntN(4) == 0
	install := w.random.IntN(12) == 0
	if install {
		r.Snapshot = w.snapshot(h.Term)
	}
	if cut || install {
		h = raft.HardState{Term: h.Term + 1}
		r.HardState = &h
	}
	at := w.now.clone()
	at.store(r)
	if n := w.random.IntN(5); n > 0 {
		first := at.last() + 1
		if cut && first > at.start.Index+1 {
			first -= raft.Index(w.random.IntN(int(min(20, first-at.start.Index))))
		}
		r.Entries = w.entries(first, h.Term, n)
	}
	w.now.store(r)
	return r
}

// snapshot describes one that the log holds, or one far ahead of it, or one that contradicts it.
func (w *writer) snapshot(term raft.Term) *raft.SnapshotMeta {
	m := w.now
	meta := &raft.SnapshotMeta{ClusterVersion: 1, Membership: raft.NewMembership(
		raft.Member{ID: 1, Incarnation: 9, Name: fmt.Sprint("m", m.last()), PeerAddress: "m:2380"})}
	switch {
	case len(m.entries) > 0 && w.random.IntN(2) == 0:
		meta.Index = m.start.Index + 1 + raft.Index(w.random.IntN(len(m.entries)))
		meta.Term = m.term(meta.Index)
		if w.random.IntN(3) == 0 {
			meta.Term = max(term, meta.Term)
		}
	default:
		meta.Index = m.last() + 1 + raft.Index(w.random.IntN(50))
		meta.Term = term
	}
	return meta
}

func (w *writer) entries(first raft.Index, term raft.Term, n int) []raft.Entry {
	out := make([]raft.Entry, n)
	for i := range out {
		data := make([]byte, w.random.IntN(w.maxData+1))
		for j := range data {
			data[j] = byte(w.random.Uint32() >> (8 * (j % 4)))
		}
		out[i] = raft.Entry{Term: term, Index: first + raft.Index(i), Type: raft.EntryNormal, Data: data}
	}
	return out
}

// position draws where to compact.
func (w *writer) position() raft.Position {
	i := w.now.start.Index + raft.Index(w.random.IntN(len(w.now.entries)+1))
	return raft.Position{Index: i, Term: w.now.term(i)}
}

func mustOpen(t testing.TB, fs vfs.FS) (*Log, Recovered) {
	t.Helper()
	l, got, err := Open(fs, testDir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return l, got
}

func newDisk(seed uint64) *vfs.Mem { return vfs.NewMem(seed) }
