package wal

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

func entriesFrom(first raft.Index, term raft.Term, data ...string) []raft.Entry {
	out := make([]raft.Entry, len(data))
	for i, d := range data {
		out[i] = raft.Entry{Term: term, Index: first + raft.Index(i), Type: raft.EntryNormal, Data: []byte(d)}
	}
	return out
}

func requests(r ...*raft.StoreRequest) []*raft.StoreRequest { return r }

func TestRealFilesKeepWhatWasAppended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	options := Options{Identity: testIdentity, SegmentBytes: 64 << 10}
	w := newWriter(1)
	w.maxData = 4000
	for range 4 {
		l, got, err := Open(vfs.OS{}, dir, options)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.now.differs(got, w.gone); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if err := l.Append(requests(w.request(), w.request())); err != nil {
				t.Fatal(err)
			}
			if i%20 == 0 {
				p := w.position()
				w.now.compact(p, w.gone)
				if err := l.Compact(p); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingToStoreTouchesNothing(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 3, Vote: 1}
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h})); err != nil {
		t.Fatal(err)
	}
	before := disk.Changes()
	if err := l.Append(requests(&raft.StoreRequest{}, &raft.StoreRequest{HardState: &h})); err != nil {
		t.Fatal(err)
	}
	if n := disk.Changes() - before; n != 0 {
		t.Fatalf("%d changes of the disk to store what is there already", n)
	}
}

func TestABatchIsOneWriteAndOneSync(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	counts := map[vfs.OpKind]int{}
	disk.SetHook(func(op vfs.Op) error { counts[op.Kind]++; return nil })
	h := raft.HardState{Term: 3, Vote: 1}
	batch := requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 3, "a", "b")},
		&raft.StoreRequest{Entries: entriesFrom(3, 3, "c")}, &raft.StoreRequest{Entries: entriesFrom(2, 3, "d")})
	if err := l.Append(batch); err != nil {
		t.Fatal(err)
	}
	if len(counts) != 2 || counts[vfs.OpWrite] != 1 || counts[vfs.OpSync] != 1 {
		t.Fatalf("operations by kind: %v", counts)
	}
}

func TestALockedLogIsRefused(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": newDisk(1), "os": vfs.OS{}} {
		dir := testDir
		if name == "os" {
			dir = filepath.Join(t.TempDir(), testDir)
		}
		l, _, err := Open(fs, dir, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(fs, dir, testOptions()); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("%s: a second Open gave %v", name, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, _, err = Open(fs, dir, testOptions())
		if err != nil {
			t.Fatalf("%s: after Close: %v", name, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(nil); !errors.Is(err, ErrClosed) {
			t.Fatalf("%s: append to a closed log gave %v", name, err)
		}
	}
}

func TestAnotherMembersLogIsRefused(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before := disk.Changes()
	other := testOptions()
	other.Identity.Member = 7
	_, _, err := Open(disk, testDir, other)
	var wrong *IdentityError
	if !errors.As(err, &wrong) || wrong.Found != testIdentity || wrong.Want != other.Identity {
		t.Fatalf("got %v", err)
	}
	for _, id := range []Identity{testIdentity, other.Identity} {
		if !strings.Contains(err.Error(), id.String()) {
			t.Fatalf("the message does not name %s: %v", id, err)
		}
	}
	unchangedButMkdir(t, disk, before)
}

// unchangedButMkdir checks that only MkdirAll of what was there was asked of the disk.
func unchangedButMkdir(t *testing.T, disk *vfs.Mem, before int) {
	t.Helper()
	if n := disk.Changes() - before; n != 1 {
		t.Fatalf("%d changes of the disk by a refused Open", n)
	}
}

func TestBadRequestsAreRefusedForEver(t *testing.T) {
	term := func(n raft.Term) *raft.HardState { return &raft.HardState{Term: n, Vote: 1} }
	for name, bad := range map[string]*raft.StoreRequest{
		"gap":            {Entries: entriesFrom(5, 2, "x")},
		"term goes back": {Entries: entriesFrom(3, 1, "x")},
		"hard state":     {HardState: term(1)},
		"second vote":    {HardState: &raft.HardState{Term: 2, Vote: 2}},
		"index zero":     {Entries: entriesFrom(0, 2, "x")},
	} {
		disk := newDisk(1)
		l, _ := mustOpen(t, disk)
		if err := l.Append(requests(&raft.StoreRequest{HardState: term(2), Entries: entriesFrom(1, 2, "a", "b")})); err != nil {
			t.Fatal(err)
		}
		before := disk.Changes()
		err := l.Append(requests(bad))
		if err == nil {
			t.Fatalf("%s: stored", name)
		}
		if again := l.Append(nil); again != err {
			t.Fatalf("%s: then %v", name, again)
		}
		if disk.Changes() != before {
			t.Fatalf("%s: something was written", name)
		}
	}
}

func TestAFailedSyncIsForEver(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		disk := newDisk(1)
		l, _ := mustOpen(t, disk)
		h := raft.HardState{Term: 1}
		if err := l.Append(requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 1, "a")})); err != nil {
			t.Fatal(err)
		}
		broken := true
		disk.SetHook(func(op vfs.Op) error {
			if broken && op.Kind == kind {
				broken = false
				return syscall.EIO
			}
			return nil
		})
		err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(2, 1, "b")}))
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
		before := disk.Changes()
		if again := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(2, 1, "b")})); again != err {
			t.Fatalf("then %v", again)
		}
		if again := l.Compact(raft.Position{Index: 1, Term: 1}); again != err {
			t.Fatalf("then %v", again)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if disk.Changes() != before {
			t.Fatal("a failed log has changed the disk")
		}
	}
}

// TestAFailedSyncDoesNotFoolTheNextProcess is the trap of Linux: after a failed fdatasync the pages count as clean,
// the next process reads from them what the disk does not have, and its own fdatasync succeeds.
func TestAFailedSyncDoesNotFoolTheNextProcess(t *testing.T) {
	for seed := range uint64(50) {
		disk := newDisk(seed)
		l, _ := mustOpen(t, disk)
		h := raft.HardState{Term: 1}
		disk.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		})
		long := strings.Repeat("x", 1500)
		if err := l.Append(requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 1, long)})); err == nil {
			t.Fatal("the sync did not fail")
		}
		disk.SetHook(nil)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, first := mustOpen(t, disk)
		if len(first.Entries) != 1 {
			t.Fatalf("the page cache has %d entries", len(first.Entries))
		}
		disk.Crash()
		_, second := mustOpen(t, disk)
		if len(second.Entries) != 1 || second.HardState != h {
			t.Fatalf("seed %d: what Open had promised is gone: %+v", seed, second)
		}
	}
}

func TestAFullDiskLosesNothing(t *testing.T) {
	for capacity := int64(MinSegmentBytes + 100); capacity < 8*MinSegmentBytes; capacity += 1777 {
		disk, w := newDisk(3), newWriter(3)
		disk.SetCapacity(capacity)
		l, _ := mustOpen(t, disk)
		var err error
		durable := w.now.clone()
		for range 10000 {
			if err = l.Append(requests(w.request())); err != nil {
				break
			}
			durable = w.now.clone()
		}
		var full *FullError
		if !errors.As(err, &full) || full.Free >= full.Needed || !vfs.IsNoSpace(err) {
			t.Fatalf("got %v", err)
		}
		if again := l.Append(nil); again != err {
			t.Fatalf("then %v", again)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		disk.Crash()
		disk.SetCapacity(1 << 40)
		l, got := mustOpen(t, disk)
		if err := durable.differs(got, w.gone); err != nil {
			t.Fatal(err)
		}
		w.now = durable
		if err := l.Append(requests(w.request())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLargeEntriesGetALargeSegment(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 1}
	big := strings.Repeat("y", 3*MinSegmentBytes)
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 1, "a", big, "c")})); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(4, 1, "d")})); err != nil {
		t.Fatal(err)
	}
	disk.Crash()
	_, got := mustOpen(t, disk)
	if len(got.Entries) != 4 || string(got.Entries[1].Data) != big || string(got.Entries[3].Data) != "d" {
		t.Fatalf("recovered %d entries", len(got.Entries))
	}
}

func TestCompactionKeepsTheDiskBounded(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 1}
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h})); err != nil {
		t.Fatal(err)
	}
	const segments = 6
	disk.SetCapacity(segments * MinSegmentBytes)
	data := strings.Repeat("z", 700)
	for i := raft.Index(1); i <= 1000; i++ {
		if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(i, 1, data)})); err != nil {
			t.Fatal(err)
		}
		if i > 5 {
			if err := l.Compact(raft.Position{Index: i - 5, Term: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Compact(raft.Position{Index: 2000, Term: 1}); err == nil {
		t.Fatal("compacted past the end")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, got := mustOpen(t, disk)
	if last := got.Start.Index + raft.Index(len(got.Entries)); last != 1000 {
		t.Fatalf("last entry %d", last)
	}
}
