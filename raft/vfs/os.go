package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// OS is the machine's file system.
type OS struct{}

var _ FS = OS{}

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// Create implements FS.
func (OS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open implements FS.
func (OS) Open(name string) (File, error) { return openFile(name, os.O_RDWR) }

// OpenRead implements FS.
func (OS) OpenRead(name string) (File, error) { return openFile(name, os.O_RDONLY) }

func openFile(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// List implements FS.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// MkdirAll implements FS.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, dirMode) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Lock implements FS. It locks the directory itself, so no lock file is left behind.
func (OS) Lock(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = ignoringInterrupts(func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// Size implements FS.
func (OS) Size(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// FreeSpace implements FS.
func (OS) FreeSpace(dir string) (int64, error) {
	s, err := statfs(dir)
	return int64(s.Bavail) * blockBytes(s), err
}

// Capacity returns the bytes that the file system of dir has, free or not.
func (OS) Capacity(dir string) (int64, error) {
	s, err := statfs(dir)
	return int64(s.Blocks) * blockBytes(s), err
}

func statfs(dir string) (s syscall.Statfs_t, err error) {
	if err := ignoringInterrupts(func() error { return syscall.Statfs(dir, &s) }); err != nil {
		return syscall.Statfs_t{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s, nil
}

type osFile struct{ *os.File }

func (f osFile) Sync() error {
	if err := ignoringInterrupts(func() error { return syncData(f.File) }); err != nil {
		return &os.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Preallocate(size int64) error {
	err := ignoringInterrupts(func() error { return reserve(f.File, size) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = writeZeros(f.File, size)
	}
	if err != nil {
		return &os.PathError{Op: "preallocate", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// writeZeros reserves blocks where the file system cannot do so without writing.
func writeZeros(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const chunkBytes = 1 << 20
	zeros := make([]byte, chunkBytes)
	for off := info.Size(); off < size; off += chunkBytes {
		if _, err := f.WriteAt(zeros[:min(chunkBytes, size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func ignoringInterrupts(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
