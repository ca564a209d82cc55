package vfs

import (
	"errors"
	"io"
	"syscall"
)

// SectorBytes is the unit that a disk writes whole or not at all.
const SectorBytes = 512

// ErrLocked says that another process, or another user in this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS is a tree of files. Errors satisfy errors.Is with fs.ErrNotExist and fs.ErrExist where they apply.
type FS interface {
	// Create makes a new empty file for reading and writing. It fails when the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	// Rename moves a file within a directory, in place of whatever had the new name. It is atomic, but
	// not durable before SyncDir.
	Rename(oldName, newName string) error
	// Remove unlinks a file. It is not durable before SyncDir.
	Remove(name string) error
	// List returns the names in a directory, sorted, without the directory.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents. An existing one is no error.
	MkdirAll(dir string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a directory, or fails at once with ErrLocked. It ends with Close or the process.
	Lock(dir string) (io.Closer, error)
	// Size returns a file's length in bytes.
	Size(name string) (int64, error)
	// FreeSpace returns the bytes that may still be written below dir.
	FreeSpace(dir string) (int64, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the data and the length durable (fdatasync). After an error nothing is known about what was
	// written since the last good Sync; calling it again does not help.
	Sync() error
	// Preallocate makes the file at least size bytes long and reserves the blocks. New bytes read as zero.
	Preallocate(size int64) error
	// Truncate sets the length. New bytes read as zero.
	Truncate(size int64) error
	// Size returns the length in bytes.
	Size() (int64, error)
}

// IsNoSpace tells whether an error means that the disk or a quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
