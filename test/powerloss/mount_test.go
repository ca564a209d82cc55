//go:build linux

package powerloss

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/test/powerloss/disk"
)

// TestTheKernelPassesEverythingOn uses the file system as a node does and looks at what the disk has seen.
func TestTheKernelPassesEverythingOn(t *testing.T) {
	d, dir := mountDisk(t)
	var fs vfs.OS
	sub := filepath.Join(dir, "sub", "below")
	if err := errors.Join(fs.MkdirAll(sub), fs.SyncDir(dir), fs.SyncDir(filepath.Dir(sub))); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(filepath.Join(sub, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 10
	if err := f.Preallocate(size); err != nil {
		t.Fatal(err)
	}
	mapped := mapFile(t, filepath.Join(sub, "f"), size)
	written := bytes.Repeat([]byte("0123456789abcdef"), 512)
	if _, err := f.WriteAt(written, 1000); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mapped[1000:][:len(written)], written) {
		t.Error("a map of the file does not show what was written")
	}
	if got := after(d, disk.Lost); len(got) != 0 {
		t.Errorf("%d files are durable before any sync", len(got))
	}
	if err := errors.Join(f.Sync(), fs.Rename(filepath.Join(sub, "f"), filepath.Join(sub, "g")), fs.SyncDir(sub)); err != nil {
		t.Fatal(err)
	}
	if got := after(d, disk.Lost)["sub/below/g"]; len(got) < 1000+len(written) || !bytes.Equal(got[1000:][:len(written)], written) {
		t.Error("what was synced is not durable")
	}
	if n, err := fs.Size(filepath.Join(sub, "g")); err != nil || n != size {
		t.Errorf("the file has %d bytes, %v", n, err)
	}
	lock, err := fs.Lock(sub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lock(sub); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := errors.Join(lock.Close(), os.RemoveAll(filepath.Join(dir, "sub"))); err != nil {
		t.Fatal(err)
	}
	if names, err := fs.List(dir); err != nil || len(names) != 0 {
		t.Errorf("%v is left, %v", names, err)
	}
	if got := after(d, disk.Lost); len(got) != 1 {
		t.Errorf("removed without a sync, and %d files are there after a power cut", len(got))
	}
}

func after(d *disk.Disk, fate disk.Fate) map[string][]byte {
	r := d.Replay()
	r.Advance(r.Operations())
	return r.Image(fate, rand.New(rand.NewPCG(1, 1))).Files()
}

func mapFile(t *testing.T, path string, size int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(mapped); err != nil {
			t.Error(err)
		}
	})
	return mapped
}
