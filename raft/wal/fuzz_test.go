package wal

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// FuzzRecords decodes arbitrary payloads: no input may crash it, and what it decodes encodes to what decodes alike.
func FuzzRecords(f *testing.F) {
	meta := raft.SnapshotMeta{Index: 7, Term: 2, ClusterVersion: 1, Membership: raft.NewMembership(
		raft.Member{ID: 1, Incarnation: 2, Name: "n", PeerAddress: "p:1"})}
	seed, err := appendState(nil, state{hardState: raft.HardState{Term: 3, Vote: 1}, snapshot: &meta, first: 1}, origin{last: 9, end: 100, crc: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, e := range entriesFrom(1, 1, "", "x", "some data") {
		b, err := appendEntry(nil, &e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := replay{entriesFrom: 1}
		r.adopt(state{first: 1})
		r.segments = []segment{{sequence: 1}}
		playErr := r.play(payload, headerBytes)
		if r.from > r.last+1 || len(r.entries) > len(payload) {
			t.Fatalf("the ledger is out of shape: from %d, last %d, %d entries", r.from, r.last, len(r.entries))
		}
		if playErr == nil && len(r.entries) != int(r.last+1-r.from) {
			t.Fatalf("%d entries for [%d, %d]", len(r.entries), r.from, r.last)
		}
		for len(payload) > 0 {
			rec, rest, err := nextRecord(payload)
			if err != nil {
				return
			}
			if len(rest) >= len(payload) {
				t.Fatal("no progress")
			}
			payload = rest
			if rec.kind == recordEntry {
				again, err := appendEntry(nil, &rec.entry)
				if err != nil {
					t.Fatal(err)
				}
				back, _, err := nextRecord(again)
				if err != nil || !sameEntry(back.entry, rec.entry) {
					t.Fatalf("%v became %v, %v", rec.entry, back.entry, err)
				}
			}
		}
	})
}

// FuzzSegment opens a log whose only segment holds arbitrary bytes behind a good beginning.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{}, uint16(200))
	f.Add([]byte("some bytes that are no frame"), uint16(170))
	f.Add(make([]byte, 40), uint16(100))
	f.Fuzz(func(t *testing.T, junk []byte, at uint16) {
		disk := newDisk(1)
		l, _ := mustOpen(t, disk)
		w := newWriter(2)
		w.maxData = 20
		states := []model{w.now.clone()}
		for range 5 {
			if err := l.Append(requests(w.request())); err != nil {
				t.Fatal(err)
			}
			states = append(states, w.now.clone())
		}
		disk = disk.Clone(1)
		file, err := disk.Open(filepath.Join(testDir, segmentName(1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(junk, int64(at)%MinSegmentBytes); err != nil {
			t.Fatal(err)
		}
		_, got, err := Open(disk, testDir, testOptions())
		var corrupt *CorruptError
		var version *VersionError
		if errors.As(err, &corrupt) || errors.As(err, &version) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range states {
			if m.differs(got, nil) == nil {
				return
			}
		}
		t.Fatalf("made up %+v", got)
	})
}
