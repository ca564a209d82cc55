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

// TestANameThatWasNotSyncedDoesNotFoolTheNextProcess: the process dies between the rename of a segment and the sync
// of its directory; the next one finds the segment and must make its name durable before it relies on it.
func TestANameThatWasNotSyncedDoesNotFoolTheNextProcess(t *testing.T) {
	for seed := range uint64(50) {
		disk := newDisk(seed)
		l, _ := mustOpen(t, disk)
		h := raft.HardState{Term: 1}
		disk.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpSyncDir {
				return syscall.EIO
			}
			return nil
		})
		big := strings.Repeat("x", MinSegmentBytes)
		if err := l.Append(requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 1, big)})); err == nil {
			t.Fatal("the sync did not fail")
		}
		disk.SetHook(nil)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, first := mustOpen(t, disk); len(first.Entries) != 1 {
			t.Fatalf("found %d entries", len(first.Entries))
		}
		disk.Crash()
		if _, second := mustOpen(t, disk); len(second.Entries) != 1 || second.HardState != h {
			t.Fatalf("seed %d: what Open had promised is gone: %+v", seed, second)
		}
	}
}

// TestARepairIsReportedOnce: a torn tail is gone for good once it was cut off, also from where the next frames go.
func TestARepairIsReportedOnce(t *testing.T) {
	repaired := 0
	for seed := range uint64(100) {
		disk := newDisk(seed)
		l, _ := mustOpen(t, disk)
		disk.CutPowerAfter(1)
		h := raft.HardState{Term: 1}
		err := l.Append(requests(&raft.StoreRequest{HardState: &h, Entries: entriesFrom(1, 1, strings.Repeat("x", 3000))}))
		if !errors.Is(err, vfs.ErrPowerLost) {
			t.Fatal(err)
		}
		disk.Crash()
		l, got := mustOpen(t, disk)
		name := filepath.Join(testDir, segmentName(1))
		if got.Repaired != "" {
			repaired++
			if !strings.Contains(got.Repaired, name) || len(got.Entries) != 0 {
				t.Fatalf("recovered %+v", got)
			}
		}
		file, err := disk.OpenRead(name)
		if err != nil {
			t.Fatal(err)
		}
		rest := make([]byte, l.size-l.end)
		if _, err := file.ReadAt(rest, l.end); err != nil || !isZero(rest) {
			t.Fatalf("seed %d: something is left behind the end, %v", seed, err)
		}
		disk.Crash()
		if _, got = mustOpen(t, disk); got.Repaired != "" {
			t.Fatalf("seed %d: repaired again: %s", seed, got.Repaired)
		}
	}
	if repaired < 10 {
		t.Fatalf("%d torn writes in 100 crashes", repaired)
	}
}

// TestTheBlankHeaderMayBeInTheSectorThatIsMissing: in a recycled file a frame may be whole while the blank header behind it did not reach
// the disk, so that old bytes follow: it ends with the sector before, or the file held its last bytes already.
func TestTheBlankHeaderMayBeInTheSectorThatIsMissing(t *testing.T) {
	for _, beyond := range []int64{0, 1, 8, 13} {
		repaired := 0
		for seed := range uint64(60) {
			disk := newDisk(seed)
			l := recycledLog(t, disk)
			last, term := l.last, l.hardState.Term
			overhead := int64(frameHeaderBytes + recordHeaderBytes + 5) // type, term, index and length of the entry's data
			sector := align(l.end+overhead+vfs.SectorBytes) / vfs.SectorBytes * vfs.SectorBytes
			held := make([]byte, beyond)
			if _, err := l.file.ReadAt(held, sector); err != nil {
				t.Fatal(err)
			}
			data := strings.Repeat("x", int(sector-l.end-overhead)) + string(held)
			disk.CutPowerAfter(1)
			if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(last+1, term, data)})); !errors.Is(err, vfs.ErrPowerLost) {
				t.Fatal(err)
			}
			if end := l.end + align(int64(len(l.buffer)-frameHeaderBytes)); end != sector+align(beyond) {
				t.Fatalf("the frame ends at %d, not %d bytes behind %d", end, beyond, sector)
			}
			disk.Crash()
			_, got := mustOpen(t, disk)
			if n := got.Start.Index + raft.Index(len(got.Entries)); n != last && n != last+1 {
				t.Fatalf("seed %d: recovered up to %d, want %d or the one after", seed, n, last)
			}
			if got.Repaired != "" && len(got.Entries) > 0 && got.Entries[len(got.Entries)-1].Index == last+1 {
				repaired++
			}
		}
		if repaired == 0 {
			t.Fatalf("%d bytes in the sector of the blank header: it was never missing", beyond)
		}
	}
}

// recycledLog returns a log whose newest segment is a file that was another one before, with some batches in it.
func recycledLog(t testing.TB, disk *vfs.Mem) *Log {
	t.Helper()
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 1}
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h})); err != nil {
		t.Fatal(err)
	}
	for i := raft.Index(1); l.header.fresh || l.end < MinSegmentBytes/2; i++ {
		if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(i, 1, strings.Repeat("r", 90))})); err != nil {
			t.Fatal(err)
		}
		if i > 20 {
			if err := l.Compact(raft.Position{Index: i - 20, Term: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

// TestSegmentsOfEntriesThatWereReplacedGo: what was cut off holds no segment back.
func TestSegmentsOfEntriesThatWereReplacedGo(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 1}
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h})); err != nil {
		t.Fatal(err)
	}
	for i := raft.Index(1); i <= 100; i++ {
		if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(i, 1, strings.Repeat("d", 200))})); err != nil {
			t.Fatal(err)
		}
	}
	h.Term = 2
	batch := &raft.StoreRequest{HardState: &h, Entries: entriesFrom(3, 2, strings.Repeat("n", MinSegmentBytes))}
	if err := l.Append(requests(batch)); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(raft.Position{Index: 2, Term: 1}); err != nil {
		t.Fatal(err)
	}
	if len(l.segments) > 2 { // that of the entry, and perhaps one that the start record has begun
		t.Fatalf("%d segments are left for one entry", len(l.segments))
	}
	disk.Crash()
	_, got := mustOpen(t, disk)
	if got.Start != (raft.Position{Index: 2, Term: 1}) || len(got.Entries) != 1 || got.Entries[0].Index != 3 {
		t.Fatalf("recovered from %+v %d entries", got.Start, len(got.Entries))
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

func TestALogThatMustExistIsNotBegunAnew(t *testing.T) {
	disk := newDisk(1)
	options := testOptions()
	options.MustExist = true
	var corrupt *CorruptError
	if _, _, err := Open(disk, testDir, options); !errors.As(err, &corrupt) || corrupt.File != testDir {
		t.Fatalf("a missing directory: %v", err)
	}
	if _, err := disk.List(testDir); err == nil {
		t.Fatal("the refusal made the directory")
	}
	l, _, err := Open(disk, testDir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, _, err = Open(disk, testDir, options)
	if err != nil {
		t.Fatalf("an empty log that was begun before: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
