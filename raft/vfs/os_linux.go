package vfs

import (
	"os"
	"syscall"
)

// syncData leaves out the times of the inode, which costs a journal commit on most file systems.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

func reserve(f *os.File, size int64) error {
	const extendAndReserve = 0
	return syscall.Fallocate(int(f.Fd()), extendAndReserve, 0, size)
}
