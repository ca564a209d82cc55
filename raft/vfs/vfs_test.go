package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
)

// TestBothDisksBehaveAlike holds what users of FS rely on against the real file system and the one in memory.
func TestBothDisksBehaveAlike(t *testing.T) {
	for name, disk := range map[string]FS{"os": OS{}, "mem": NewMem(1)} {
		t.Run(name, func(t *testing.T) {
			root := "."
			if name == "os" {
				root = t.TempDir()
			}
			behave(t, disk, filepath.Join(root, "a", "b"))
		})
	}
}

func behave(t *testing.T, disk FS, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(err, kind error) {
		t.Helper()
		if !errors.Is(err, kind) {
			t.Fatalf("got %v, want %v", err, kind)
		}
	}
	_, err := disk.Create(filepath.Join(dir, "x"))
	want(err, fs.ErrNotExist)
	must(disk.MkdirAll(dir))
	must(disk.MkdirAll(dir))
	x := filepath.Join(dir, "x")
	_, err = disk.Open(x)
	want(err, fs.ErrNotExist)
	_, err = disk.Size(x)
	want(err, fs.ErrNotExist)
	want(disk.Remove(x), fs.ErrNotExist)
	want(disk.Rename(x, x+"2"), fs.ErrNotExist)

	f, err := disk.Create(x)
	must(err)
	_, err = disk.Create(x)
	want(err, fs.ErrExist)
	_, err = f.WriteAt([]byte("hello"), 3)
	must(err)
	must(f.Preallocate(100))
	must(f.Preallocate(50))
	content := func(file File) []byte {
		t.Helper()
		n, err := file.Size()
		must(err)
		b := make([]byte, n)
		got, err := file.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) || got != len(b) {
			t.Fatalf("read %d of %d bytes: %v", got, n, err)
		}
		return b
	}
	if b := content(f); len(b) != 100 || !bytes.Equal(b[:9], []byte("\x00\x00\x00hello\x00")) || !bytes.Equal(b[9:], make([]byte, 91)) {
		t.Fatalf("content %q", b)
	}
	_, err = f.ReadAt(make([]byte, 10), 95)
	want(err, io.EOF)
	_, err = f.ReadAt(make([]byte, 1), 100)
	want(err, io.EOF)
	must(f.Truncate(5))
	must(f.Truncate(8))
	if b := content(f); string(b) != "\x00\x00\x00he\x00\x00\x00" {
		t.Fatalf("content %q", b)
	}
	must(f.Sync())
	must(f.Close())

	r, err := disk.OpenRead(x)
	must(err)
	if _, err := r.WriteAt([]byte("no"), 0); err == nil {
		t.Fatal("wrote to a file opened for reading")
	}
	must(r.Close())
	other, err := disk.Create(filepath.Join(dir, "y"))
	must(err)
	must(other.Close())
	must(disk.Rename(x, filepath.Join(dir, "y")))
	names, err := disk.List(dir)
	must(err)
	if !slices.Equal(names, []string{"y"}) {
		t.Fatalf("names %q", names)
	}
	size, err := disk.Size(filepath.Join(dir, "y"))
	must(err)
	if size != 8 {
		t.Fatalf("size %d", size)
	}
	must(disk.SyncDir(dir))

	lock, err := disk.Lock(dir)
	must(err)
	_, err = disk.Lock(dir)
	want(err, ErrLocked)
	must(lock.Close())
	lock, err = disk.Lock(dir)
	must(err)
	must(lock.Close())
	free, err := disk.FreeSpace(dir)
	must(err)
	if free <= 0 {
		t.Fatalf("%d bytes free", free)
	}
	must(disk.Remove(filepath.Join(dir, "y")))
	if names, err := disk.List(dir); err != nil || len(names) != 0 {
		t.Fatalf("names %q, %v", names, err)
	}
}

func TestCapacityIsMoreThanWhatIsFree(t *testing.T) {
	dir := t.TempDir()
	free, err := OS{}.FreeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	if capacity, err := (OS{}).Capacity(dir); err != nil || capacity < free {
		t.Fatalf("%d bytes, of which %d are free, %v", capacity, free, err)
	}
	if _, err := (OS{}).Capacity(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the capacity of nothing: %v", err)
	}
}

// TestWritingZerosReservesLikePreallocate is the way of file systems that cannot reserve blocks.
func TestWritingZerosReservesLikePreallocate(t *testing.T) {
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := f.WriteAt([]byte("abc"), 0); err != nil {
		t.Fatal(err)
	}
	const size = 3<<20 + 17
	if err := writeZeros(f.(osFile).File, size); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if string(b[:3]) != "abc" || !bytes.Equal(b[3:], make([]byte, size-3)) {
		t.Fatal("the content is not what was there, then zeros")
	}
}
