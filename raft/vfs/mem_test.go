package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// memFileOf creates a file of size bytes of fill, all durable.
func memFileOf(t *testing.T, m *Mem, name string, size int, fill byte) File {
	t.Helper()
	f, err := m.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, size, fill)
	if err := errors.Join(f.Sync(), m.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, f File, off int64, n int, fill byte) {
	t.Helper()
	if _, err := f.WriteAt(bytes.Repeat([]byte{fill}, n), off); err != nil {
		t.Fatal(err)
	}
}

// contentOf returns a file's bytes; nil when there is no such file.
func contentOf(t *testing.T, m *Mem, name string) []byte {
	t.Helper()
	f, err := m.OpenRead(name)
	if err != nil {
		return nil
	}
	n, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if n > 0 {
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestCrashTearsOnlyWhatWasNotSyncedAndOnlyAtSectors(t *testing.T) {
	const size = 4 * SectorBytes
	seen := map[string]bool{}
	for seed := range uint64(300) {
		m := NewMem(seed)
		f := memFileOf(t, m, "x", size, 'a')
		write(t, f, 100, size-200, 'b')
		write(t, f, SectorBytes+10, SectorBytes, 'c')
		whole := contentOf(t, m, "x")
		m.Crash()
		got := contentOf(t, m, "x")
		if len(got) != size {
			t.Fatalf("%d bytes", len(got))
		}
		picture := ""
		for s := range 4 {
			sector := got[s*SectorBytes:][:SectorBytes]
			old := bytes.Repeat([]byte{'a'}, SectorBytes)
			middle := bytes.Clone(old)
			for i := range middle {
				if at := s*SectorBytes + i; at >= 100 && at < size-100 {
					middle[i] = 'b'
				}
			}
			switch {
			case bytes.Equal(sector, whole[s*SectorBytes:][:SectorBytes]):
				picture += "n"
			case bytes.Equal(sector, old):
				picture += "o"
			case bytes.Equal(sector, middle):
				picture += "m"
			default:
				t.Fatalf("seed %d: sector %d was never like this", seed, s)
			}
		}
		seen[picture] = true
	}
	for _, want := range []string{"oooo", "nnnn", "onon", "nono", "nmon"} {
		if !seen[want] {
			t.Fatalf("never saw %s in %v", want, seen)
		}
	}
}

func TestCrashLosesOrKeepsNames(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		m := NewMem(seed)
		memFileOf(t, m, "old", 1, 'o')
		memFileOf(t, m, "gone", 1, 'g')
		f, err := m.Create("new")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), m.Rename("old", "moved"), m.Remove("gone")); err != nil {
			t.Fatal(err)
		}
		m.Crash()
		names, err := m.List(".")
		if err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprint(names)] = true
	}
	if len(seen) != 8 {
		t.Fatalf("three changes of names gave %d outcomes: %v", len(seen), seen)
	}
	m := NewMem(1)
	memFileOf(t, m, "old", 1, 'o')
	if err := errors.Join(m.Rename("old", "moved"), m.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	m.Crash()
	if contentOf(t, m, "moved") == nil || contentOf(t, m, "old") != nil {
		t.Fatal("a synced rename was lost")
	}
}

func TestADirectoryThatWasNotSyncedTakesItsFilesAlong(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(50) {
		m := NewMem(seed)
		if err := m.MkdirAll("a/b"); err != nil {
			t.Fatal(err)
		}
		f, err := m.Create("a/b/x")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), m.SyncDir("a/b"), m.SyncDir("a")); err != nil {
			t.Fatal(err)
		}
		m.Crash()
		if _, err := m.List("a/b"); err != nil {
			seen[0] = true
			if contentOf(t, m, "a/b/x") != nil {
				t.Fatal("a file without a directory")
			}
			continue
		}
		seen[1] = true
	}
	if len(seen) != 2 {
		t.Fatalf("outcomes %v", seen)
	}
}

func TestAFailedSyncMarksTheDataClean(t *testing.T) {
	lost := false
	for seed := range uint64(60) {
		m := NewMem(seed)
		f := memFileOf(t, m, "x", 2*SectorBytes, 'a')
		write(t, f, 0, 2*SectorBytes, 'b')
		fail := true
		m.SetHook(func(op Op) error {
			if fail && op.Kind == OpSync {
				return syscall.EIO
			}
			return nil
		})
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
		fail = false
		write(t, f, SectorBytes+5, 1, 'c')
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		m.Crash()
		b := contentOf(t, m, "x")
		lost = lost || b[0] == 'a'
		if b[SectorBytes] != 'b' || b[SectorBytes+5] != 'c' {
			t.Fatalf("seed %d: a sector that was written and synced again has %q", seed, b[SectorBytes:][:8])
		}
	}
	if !lost {
		t.Fatal("a second sync has always saved what the first one failed to")
	}
}

func TestTheSameSeedCrashesAlike(t *testing.T) {
	run := func() []byte {
		m := NewMem(77)
		f := memFileOf(t, m, "x", 64*SectorBytes, 'a')
		for i := range int64(40) {
			write(t, f, i*300, 900, byte(i))
			if i%9 == 0 {
				m.Crash()
				var err error
				if f, err = m.Open("x"); err != nil {
					t.Fatal(err)
				}
			}
		}
		m.Crash()
		return contentOf(t, m, "x")
	}
	if !bytes.Equal(run(), run()) {
		t.Fatal("two runs differ")
	}
}

func TestPowerCutStopsEverythingAndStalesHandles(t *testing.T) {
	m := NewMem(1)
	f := memFileOf(t, m, "x", 10, 'a')
	lock, err := m.Lock(".")
	if err != nil {
		t.Fatal(err)
	}
	m.CutPowerAfter(1)
	write(t, f, 0, 1, 'b')
	if err := f.Sync(); !errors.Is(err, ErrPowerLost) {
		t.Fatalf("sync: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrPowerLost) {
		t.Fatalf("read: %v", err)
	}
	m.Crash()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrStale) {
		t.Fatalf("read: %v", err)
	}
	if err := lock.Close(); !errors.Is(err, ErrStale) {
		t.Fatalf("unlock: %v", err)
	}
	if _, err := m.Lock("."); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDisk(t *testing.T) {
	m := NewMem(1)
	f := memFileOf(t, m, "x", 10, 'a')
	m.SetCapacity(20)
	if err := f.Preallocate(21); !IsNoSpace(err) {
		t.Fatalf("got %v", err)
	}
	if err := f.Preallocate(20); err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, 20, 'b')
	if _, err := f.WriteAt([]byte{1}, 20); !IsNoSpace(err) {
		t.Fatalf("got %v", err)
	}
	if free, _ := m.FreeSpace("."); free != 0 {
		t.Fatalf("%d bytes free", free)
	}
	if err := m.Remove("x"); err != nil {
		t.Fatal(err)
	}
	if free, _ := m.FreeSpace("."); free != 20 {
		t.Fatalf("%d bytes free", free)
	}
}

func TestAHookMayStall(t *testing.T) {
	m := NewMem(1)
	f := memFileOf(t, m, "x", 10, 'a')
	release, entered := make(chan struct{}), make(chan struct{})
	m.SetHook(func(op Op) error {
		if op.Kind == OpSync {
			close(entered)
			<-release
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-entered
	write(t, f, 0, 1, 'b') // the disk is not blocked as a whole
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFlipBitAndClone(t *testing.T) {
	m := NewMem(1)
	f := memFileOf(t, m, "x", 2, 0)
	if err := f.Preallocate(100); err != nil {
		t.Fatal(err)
	}
	c := m.Clone(2)
	if err := c.FlipBit("x", 8*50+3); err != nil {
		t.Fatal(err)
	}
	if err := c.FlipBit("x", 8*100); err == nil {
		t.Fatal("flipped a bit outside of the file")
	}
	c.Crash()
	if b := contentOf(t, c, "x"); b[50] != 8 || len(b) != 100 {
		t.Fatalf("byte 50 is %d of %d", b[50], len(b))
	}
	if b := contentOf(t, m, "x"); b[50] != 0 {
		t.Fatal("the clone shares its content")
	}
}
