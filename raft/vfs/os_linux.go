package vfs

import (
	"os"
	"syscall"
)

// syncData leaves out the times of the inode, which costs a journal commit on most file systems.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// blockBytes is the unit of the numbers of blocks. Bsize is that of good reads and writes, which differs on some file systems of a network.
func blockBytes(s syscall.Statfs_t) int64 {
	if s.Frsize > 0 {
		return int64(s.Frsize)
	}
	return int64(s.Bsize)
}

func reserve(f *os.File, size int64) error {
	const extendAndReserve = 0
	return syscall.Fallocate(int(f.Fd()), extendAndReserve, 0, size)
}
