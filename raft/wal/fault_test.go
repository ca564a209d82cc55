package wal

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// failing is a disk of which one operation fails: the one that comes after left others. Whether it has been done all the same
// is drawn, as with a real disk whose answer is lost.
type failing struct {
	vfs.FS
	mem  *vfs.Mem
	left int
	done bool
}

func (f *failing) step(op func() error) error {
	f.left--
	if f.left != 0 {
		return op()
	}
	if f.done {
		return errors.Join(op(), syscall.EIO)
	}
	return syscall.EIO
}

func (f *failing) Create(name string) (vfs.File, error) { return f.file(f.FS.Create, name) }
func (f *failing) Open(name string) (vfs.File, error)   { return f.file(f.FS.Open, name) }
func (f *failing) OpenRead(name string) (vfs.File, error) {
	return f.file(f.FS.OpenRead, name)
}

func (f *failing) file(open func(string) (vfs.File, error), name string) (out vfs.File, err error) {
	err = f.step(func() (err error) {
		out, err = open(name)
		return err
	})
	return failingFile{out, f}, err
}

func (f *failing) Rename(a, b string) error { return f.step(func() error { return f.FS.Rename(a, b) }) }
func (f *failing) Remove(name string) error { return f.step(func() error { return f.FS.Remove(name) }) }
func (f *failing) MkdirAll(d string) error  { return f.step(func() error { return f.FS.MkdirAll(d) }) }
func (f *failing) SyncDir(d string) error   { return f.step(func() error { return f.FS.SyncDir(d) }) }

func (f *failing) List(dir string) (names []string, err error) {
	err = f.step(func() (err error) {
		names, err = f.FS.List(dir)
		return err
	})
	return names, err
}

func (f *failing) Lock(dir string) (lock io.Closer, err error) {
	f.left--
	if f.left == 0 {
		return nil, syscall.EIO
	}
	return f.FS.Lock(dir)
}

type failingFile struct {
	vfs.File
	disk *failing
}

func (f failingFile) ReadAt(p []byte, at int64) (n int, err error) {
	f.disk.left--
	if f.disk.left == 0 {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, at)
}

func (f failingFile) WriteAt(p []byte, at int64) (n int, err error) {
	f.disk.left--
	if f.disk.left != 0 {
		return f.File.WriteAt(p, at)
	}
	part := len(p)
	if !f.disk.done {
		part = max(0, (int(at)+len(p)/2)/vfs.SectorBytes*vfs.SectorBytes-int(at))
	}
	n, _ = f.File.WriteAt(p[:part], at)
	return n, syscall.EIO
}

// Sync, where it fails, takes for stored what it has not stored.
func (f failingFile) Sync() error {
	f.disk.left--
	if f.disk.left != 0 || f.disk.done {
		err := f.File.Sync()
		if f.disk.left == 0 {
			err = syscall.EIO
		}
		return err
	}
	f.disk.mem.SetHook(func(vfs.Op) error { return syscall.EIO })
	defer f.disk.mem.SetHook(nil)
	return f.File.Sync()
}
func (f failingFile) Preallocate(size int64) error {
	return f.disk.step(func() error { return f.File.Preallocate(size) })
}

func (f failingFile) Truncate(size int64) error {
	return f.disk.step(func() error { return f.File.Truncate(size) })
}

func (f failingFile) Close() error { return f.disk.step(f.File.Close) }

// TestAnyOperationMayFail lets each single operation of the disk in a short life of a log fail, and each one of the start that follows
// without a loss of power. What the first start that succeeds has found is still there after the power was lost, and nothing
// that was acknowledged is missing.
func TestAnyOperationMayFail(t *testing.T) {
	outcomes := map[string]int{}
	for first := 1; ; first++ {
		whole := false
		for second := 1; ; second++ {
			again := outcomes["start failed"]
			for how := first % 2; how < 4; how += 2 { // whether the first was done changes with each
				whole = failingLife(t, first, second, how, outcomes)
			}
			if whole || outcomes["start failed"] == again {
				break
			}
		}
		if whole {
			break
		}
	}
	t.Log(outcomes)
	if outcomes["failed"] == 0 || outcomes["start failed"] == 0 {
		t.Fatalf("the disk was too good: %v", outcomes)
	}
}

func failingLife(t *testing.T, first, second, how int, outcomes map[string]int) (whole bool) {
	t.Helper()
	mem := newDisk(uint64(first)<<20 ^ uint64(second)<<4 ^ uint64(how))
	w := newWriter(21)
	w.maxData = 700
	disk := &failing{FS: mem, mem: mem, left: first, done: how&1 != 0}
	durable, tried, err := failingScript(disk, w)
	if err == nil && disk.left > 0 {
		return true
	}
	if err == nil {
		outcomes["nobody had to notice"]++
	}
	outcomes["failed"]++
	disk = &failing{FS: mem, mem: mem, left: second, done: how&2 != 0}
	_, got, err := Open(disk, testDir, testOptions())
	if err != nil {
		outcomes["start failed"]++
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("%d, %d, %d: %v", first, second, how, err)
		}
		if _, got, err = Open(mem, testDir, testOptions()); err != nil {
			t.Fatalf("%d, %d, %d: the start after that: %v", first, second, how, err)
		}
	}
	seen, err := found(durable, []model{tried}, got, w.gone, &coverage{})
	if err != nil {
		t.Fatalf("%d, %d, %d: %v", first, second, how, err)
	}
	mem.Crash()
	l, got, err := Open(mem, testDir, testOptions())
	if err != nil {
		t.Fatalf("%d, %d, %d: after the loss of power: %v", first, second, how, err)
	}
	if err := seen.differs(got, w.gone); err != nil {
		t.Fatalf("%d, %d, %d: what a start has found is gone: %v", first, second, how, err)
	}
	w.now = seen
	for range 5 {
		if err := l.Append(requests(w.request())); err != nil {
			t.Fatal(err)
		}
	}
	mem.Crash()
	if _, got, err = Open(mem, testDir, testOptions()); err != nil {
		t.Fatalf("%d, %d, %d: %v", first, second, how, err)
	}
	if err := w.now.differs(got, w.gone); err != nil {
		t.Fatalf("%d, %d, %d: %v", first, second, how, err)
	}
	return false
}

func failingScript(disk vfs.FS, w *writer) (durable, tried model, err error) {
	l, _, err := Open(disk, testDir, testOptions())
	if err != nil {
		return model{}, model{}, err
	}
	for i := range 20 {
		tried, durable = w.now.clone(), w.now.clone()
		if i%5 == 4 {
			p := w.position()
			w.now.compact(p, w.gone)
			durable.compact(p, w.gone)
			if err := l.Compact(p); err != nil {
				_ = l.Close()
				return durable, durable, err
			}
			continue
		}
		r := w.request()
		tried.store(r)
		if err := l.Append([]*raft.StoreRequest{r}); err != nil {
			_ = l.Close()
			return durable, tried, err
		}
	}
	return w.now, w.now, l.Close()
}
