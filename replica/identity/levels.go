package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// makeDir makes a directory and those above it that are missing, and all of their names durable: without its name nothing that is in it is to be found. A level is
// synced before the next is made, so of what a process leaves that is killed here the last name only may be in the cache of the file system alone. Nobody can tell
// whether it is, so whoever finds the directory syncs that name too.
func makeDir(path string, sync func(dir string) error) error {
	found, missing, err := levels(path)
	if err != nil {
		return err
	}
	if err := sync(filepath.Dir(found)); err != nil && !cannotBeSynced(err) {
		return err
	}
	for _, level := range missing {
		if err := os.Mkdir(level, 0o700); err != nil && !isDir(level) { // another process may have made it meanwhile
			return err
		}
		if err := sync(filepath.Dir(level)); err != nil {
			return err
		}
	}
	return nil
}

// levels gives the part of a path that is there, and the directories that are missing below it, from the top.
func levels(path string) (found string, missing []string, err error) {
	for found = path; ; found = filepath.Dir(found) {
		info, err := os.Stat(found)
		switch {
		case err == nil && !info.IsDir():
			return "", nil, fmt.Errorf("%s is not a directory", found)
		case err == nil:
			slices.Reverse(missing)
			return found, missing, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", nil, err
		}
		missing = append(missing, found)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// cannotBeSynced tells whether a directory was not synced because this process may not open it, or its file system does not do that. Such a one has been there
// without a node's doing, as the place of a mounted volume has: that is no reason not to start.
func cannotBeSynced(err error) bool {
	for _, x := range []error{fs.ErrPermission, syscall.EINVAL, syscall.ENOTSUP, syscall.ENOSYS, syscall.EROFS} {
		if errors.Is(err, x) {
			return true
		}
	}
	return false
}
