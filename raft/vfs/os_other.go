//go:build !linux

package vfs

import (
	"os"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

// blockBytes is the unit of the numbers of blocks.
func blockBytes(s syscall.Statfs_t) int64 { return int64(s.Bsize) }

// reserve has no portable form: the caller writes zeros instead.
func reserve(*os.File, int64) error { return syscall.EOPNOTSUPP }
