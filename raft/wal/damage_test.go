package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// smallLog makes a log of three segments with truncations, an install and a compaction, and returns the
// states that it went through.
func smallLog(t testing.TB, disk *vfs.Mem, closed bool) []model {
	t.Helper()
	l, _ := mustOpen(t, disk)
	w := newWriter(11)
	w.maxData = 120
	states := []model{w.now.clone()}
	for range 60 {
		if err := l.Append(requests(w.request())); err != nil {
			t.Fatal(err)
		}
		states = append(states, w.now.clone())
	}
	if closed {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return states
}

// TestEachByteThatRots inverts one bit of each byte of a small log. Whatever is found must have been true
// once: all of it, if the log was closed in order; all or all but the last batch, if not.
func TestEachByteThatRots(t *testing.T) {
	for _, closed := range []bool{true, false} {
		disk := newDisk(5)
		states := smallLog(t, disk, closed)
		rotten, found, lost := 0, 0, 0
		files, err := list(disk, testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, sequence := range files.segments {
			name := filepath.Join(testDir, segmentName(sequence))
			size, err := disk.Size(name)
			if err != nil {
				t.Fatal(err)
			}
			for at := range size {
				hurt := disk.Clone(uint64(at))
				if err := hurt.FlipBit(name, at*8+at%8); err != nil {
					t.Fatal(err)
				}
				before := hurt.Changes()
				_, got, err := Open(hurt, testDir, testOptions())
				var corrupt *CorruptError
				switch {
				case errors.As(err, &corrupt):
					rotten++
					if !strings.HasPrefix(corrupt.File, testDir) || corrupt.Offset > at {
						t.Fatalf("byte %d of %s: reported as %v", at, name, err)
					}
					unchangedButMkdir(t, hurt, before)
				case err != nil:
					t.Fatalf("byte %d of %s: %v", at, name, err)
				case states[len(states)-1].differs(got, nil) == nil:
					found++
				case !closed && states[len(states)-2].differs(got, nil) == nil:
					lost++
				default:
					t.Fatalf("byte %d of %s: made up %+v", at, name, got)
				}
			}
		}
		t.Logf("closed %t: %d segments, %d refused, %d harmless, %d cost the last batch", closed, len(files.segments), rotten, found, lost)
		if len(files.segments) < 3 || rotten == 0 || found == 0 {
			t.Fatal("the log is too small to show anything")
		}
		if lost > 0 {
			t.Fatalf("%d rotten bits of a fresh file passed for a torn write", lost)
		}
	}
}

// TestEachByteOfARecycledFileThatRots is the same for a segment in a file that was used before, where a torn write
// leaves no zeros. Here damage to the last batch may pass for one, unless the log was closed in order.
func TestEachByteOfARecycledFileThatRots(t *testing.T) {
	for _, closed := range []bool{true, false} {
		disk := newDisk(5)
		l := recycledLog(t, disk)
		last, end, sequence := l.last, l.end, l.header.sequence
		if closed {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		rotten, lost := 0, 0
		for at := range end {
			hurt := disk.Clone(uint64(at))
			if err := hurt.FlipBit(filepath.Join(testDir, segmentName(sequence)), at*8+at%8); err != nil {
				t.Fatal(err)
			}
			_, got, err := Open(hurt, testDir, testOptions())
			var corrupt *CorruptError
			if errors.As(err, &corrupt) {
				rotten++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			switch got.Start.Index + raft.Index(len(got.Entries)) {
			case last:
			case last - 1:
				lost++
			default:
				t.Fatalf("byte %d: recovered up to %d of %d", at, got.Start.Index+raft.Index(len(got.Entries)), last)
			}
		}
		if rotten == 0 || closed && lost > 0 || !closed && lost == 0 {
			t.Fatalf("closed %t: %d refused, %d cost the last batch", closed, rotten, lost)
		}
	}
}

// TestEveryOperationMayBeTheLast cuts the power before each single operation of the disk in a short life of
// a log, and before each one of the recovery that follows.
func TestEveryOperationMayBeTheLast(t *testing.T) {
	outcomes := map[string]int{}
	for cut := 0; ; cut++ {
		if whole := shortLife(t, cut, 1<<30, 0, outcomes); whole {
			break
		}
		for second := 0; ; second++ {
			before := outcomes["second crash"]
			for seed := range uint64(6) {
				shortLife(t, cut, second, seed, outcomes)
			}
			if outcomes["second crash"] == before {
				break
			}
		}
	}
	t.Log(outcomes)
	if outcomes["repaired"] == 0 || outcomes["second crash"] == 0 {
		t.Fatalf("the lives were too quiet: %v", outcomes)
	}
}

// shortLife appends, rolls, truncates, installs and compacts until the power goes after cut operations, opens the
// log again while the power goes after second ones, and once more. It tells whether the life ended before the first cut.
func shortLife(t *testing.T, cut, second int, seed uint64, outcomes map[string]int) bool {
	t.Helper()
	disk := newDisk(uint64(cut)<<16 ^ uint64(second)<<4 ^ seed)
	w := newWriter(21)
	w.maxData = 700
	disk.CutPowerAfter(cut)
	durable, tried, err := scriptedLife(disk, w)
	if err == nil {
		return true
	}
	if !errors.Is(err, vfs.ErrPowerLost) {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	disk.Crash()
	disk.CutPowerAfter(second)
	_, _, err = Open(disk, testDir, testOptions())
	switch {
	case errors.Is(err, vfs.ErrPowerLost):
		outcomes["second crash"]++
	case err != nil:
		t.Fatalf("cut at %d: %v", cut, err)
	}
	disk.Crash()
	_, got, err := Open(disk, testDir, testOptions())
	if err != nil {
		t.Fatalf("cut at %d, then at %d, seed %d: %v", cut, second, seed, err)
	}
	if got.Repaired != "" {
		outcomes["repaired"]++
	}
	if _, err := found(durable, []model{tried}, got, w.gone, &coverage{}); err != nil {
		t.Fatalf("cut at %d, then at %d, seed %d: %v", cut, second, seed, err)
	}
	return false
}

func scriptedLife(disk *vfs.Mem, w *writer) (durable, tried model, err error) {
	l, _, err := Open(disk, testDir, testOptions())
	if err != nil {
		return model{}, model{}, err
	}
	for i := range 14 {
		tried = w.now.clone()
		durable = w.now.clone()
		if i%5 == 4 {
			p := w.position()
			w.now.compact(p, w.gone)
			durable.compact(p, w.gone)
			if err := l.Compact(p); err != nil {
				return durable, durable, err
			}
			continue
		}
		r := w.request()
		tried.store(r)
		if err := l.Append(requests(r)); err != nil {
			return durable, tried, err
		}
	}
	return w.now, w.now, l.Close()
}

func TestNewerFormatIsRefused(t *testing.T) {
	disk := newDisk(1)
	smallLog(t, disk, true)
	name := filepath.Join(testDir, segmentName(2))
	file, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	h := make([]byte, headerBytes)
	if _, err := file.ReadAt(h, 0); err != nil {
		t.Fatal(err)
	}
	h[11] = formatVersion + 1
	sum := headerChecksum(h)
	h[12], h[13], h[14], h[15] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	if _, err := file.WriteAt(h, 0); err != nil {
		t.Fatal(err)
	}
	before := disk.Changes()
	_, _, err = Open(disk, testDir, testOptions())
	var version *VersionError
	if !errors.As(err, &version) || version.Found != formatVersion+1 || version.Supported != formatVersion || version.File != name {
		t.Fatalf("got %v", err)
	}
	for _, v := range []int{formatVersion, formatVersion + 1} {
		if !strings.Contains(err.Error(), fmt.Sprint("format ", v)) {
			t.Fatalf("the message does not name format %d: %v", v, err)
		}
	}
	unchangedButMkdir(t, disk, before)
}

func TestAMissingSegmentIsRefused(t *testing.T) {
	disk := newDisk(1)
	smallLog(t, disk, true)
	files, err := list(disk, testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range files.segments[:len(files.segments)-1] {
		hurt := disk.Clone(1)
		if err := hurt.Remove(filepath.Join(testDir, segmentName(missing))); err != nil {
			t.Fatal(err)
		}
		before := hurt.Changes()
		_, _, err := Open(hurt, testDir, testOptions())
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || !strings.Contains(corrupt.File, testDir) {
			t.Fatalf("without segment %d: %v", missing, err)
		}
		unchangedButMkdir(t, hurt, before)
	}
}

func TestASegmentThatLostItsEndIsRefused(t *testing.T) {
	disk := newDisk(1)
	smallLog(t, disk, true)
	name := filepath.Join(testDir, segmentName(1))
	file, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	// Zeros look like the end of a segment; the next one knows better.
	if _, err := file.WriteAt(make([]byte, size/2), size-size/2); err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(disk, testDir, testOptions())
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != name {
		t.Fatalf("got %v", err)
	}
}

func TestReadErrorsAreNotDamage(t *testing.T) {
	disk := newDisk(1)
	smallLog(t, disk, true)
	disk.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			return errors.New("the cable is loose")
		}
		return nil
	})
	before := disk.Changes()
	_, _, err := Open(disk, testDir, testOptions())
	var corrupt *CorruptError
	if err == nil || errors.As(err, &corrupt) || !strings.Contains(err.Error(), "the cable is loose") {
		t.Fatalf("got %v", err)
	}
	unchangedButMkdir(t, disk, before)
}

func TestDumpShowsAllAndGoesOnBehindDamage(t *testing.T) {
	disk := newDisk(1)
	l, _ := mustOpen(t, disk)
	h := raft.HardState{Term: 4, Vote: 0xab}
	meta := raft.SnapshotMeta{Index: 9, Term: 4, ClusterVersion: 2}
	if err := l.Append(requests(&raft.StoreRequest{HardState: &h, Snapshot: &meta, Entries: entriesFrom(10, 4, "hello")})); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(11, 4, strings.Repeat("a", MinSegmentBytes))})); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	before := disk.Changes()
	if err := Dump(disk, testDir, &out); err != nil {
		t.Fatal(err)
	}
	if disk.Changes() != before {
		t.Fatal("the dump has changed the disk")
	}
	for _, want := range []string{segmentName(1), segmentName(2), testIdentity.String(), "hard state: term 4, vote ab",
		"snapshot 9, term 4", "entry 10, term 4, normal, 5 bytes", "entry 11, term 4", "closed", "bytes free"} {
		if !strings.Contains(out.String(), want) {
			t.Fatalf("no %q in\n%s", want, &out)
		}
	}
	if err := disk.FlipBit(filepath.Join(testDir, segmentName(1)), 8*(headerBytes+20)); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	err := Dump(disk, testDir, &out)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(out.String(), "entry 11") {
		t.Fatalf("got %v and\n%s", err, &out)
	}
}
