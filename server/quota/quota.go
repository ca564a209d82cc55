// Package quota fits how large a node's store may become to the file system that holds it.
package quota

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/raftkv/raftkv/raft/vfs"
)

const (
	// Most is the quota where there is room enough: etcd's default.
	Most = 2 << 30
	// Least is the quota however small the file system is: with less no use of a store would be left.
	Least = 16 << 20
	// part is the part of a file system that the store may take: a snapshot that is received, or a copy that is made to defragment, is as much again
	// next to it, and the rest is for pages that are free inside of the file, and for the log.
	part = 4
)

// Fit returns the quota, in bytes, of a store on a file system of a capacity. One that was given, which is one above zero, is taken as it is, since who gives it may
// know more. A capacity that is not positive is not known.
func Fit(given, capacity int64) int64 {
	switch {
	case given > 0:
		return given
	case capacity <= 0:
		return Most
	}
	return min(max(capacity/part, Least), Most)
}

// Of returns the quota of a store in a directory, which need not be there yet. It is of use with an error too: then the size of the file system is not
// known.
func Of(given int64, dir string) (int64, error) {
	if given > 0 {
		return given, nil
	}
	capacity, err := capacityOf(filepath.Clean(dir))
	return Fit(given, capacity), err
}

// capacityOf asks the nearest directory that is there: those that will be made are on its file system.
func capacityOf(dir string) (int64, error) {
	for {
		capacity, err := vfs.OS{}.Capacity(dir)
		above := filepath.Dir(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || above == dir {
			return capacity, err
		}
		dir = above
	}
}
