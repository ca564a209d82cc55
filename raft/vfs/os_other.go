//go:build !linux

package vfs

import (
	"os"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

// reserve has no portable form: the caller writes zeros instead.
func reserve(*os.File, int64) error { return syscall.EOPNOTSUPP }
