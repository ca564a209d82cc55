package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/replica/sealedfile"
)

// names is a disk that knows which names of directories below root are durable.
type names struct {
	root    string
	durable map[string]bool
	// killAt is the number of the sync before which the process is killed; zero for none.
	killAt, syncs int
}

func (n *names) sync(dir string) error {
	if n.syncs++; n.syncs == n.killAt {
		return errCrash
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n.durable[filepath.Join(dir, e.Name())] = true
	}
	return nil
}

// lost gives the levels of a path that a loss of power would take.
func (n *names) lost(path string) (out []string) {
	for ; path != n.root; path = filepath.Dir(path) {
		if !n.durable[path] {
			out = append(out, path)
		}
	}
	return out
}

// TestEveryLevelOfADataDirectoryIsDurable before anything is put into it, also where processes before were killed at any point, and each start is the first that comes through.
func TestEveryLevelOfADataDirectoryIsDurable(t *testing.T) {
	for first := range 6 {
		for second := range 6 {
			root := t.TempDir()
			path := filepath.Join(root, "a", "b", "c")
			disk := &names{root: root, durable: map[string]bool{}}
			for _, killAt := range []int{first, second, 0} {
				disk.killAt, disk.syncs = killAt, 0
				err := makeDir(path, disk.sync)
				if err != nil && !errors.Is(err, errCrash) || err != nil && killAt == 0 {
					t.Fatal(err)
				}
				if lost := disk.lost(path); err == nil && len(lost) > 0 {
					t.Errorf("killed before sync %d and then %d (zero: not): the loss of power takes %v", first, second, lost)
				}
			}
			if !isDir(path) {
				t.Error("it is not there")
			}
		}
	}
}

// TestADirectoryThatIsThereNeedsNoRightsAboveIt: a volume may be mounted below a directory that the node cannot read.
func TestADirectoryThatIsThereNeedsNoRightsAboveIt(t *testing.T) {
	path := t.TempDir()
	refused := func(above string, why error) func(string) error {
		return func(dir string) error {
			if dir == above {
				return fmt.Errorf("sync: %w", &fs.PathError{Op: "open", Path: dir, Err: why})
			}
			return sealedfile.SyncDir(dir)
		}
	}
	for _, x := range []struct {
		why   error
		fatal bool
	}{{syscall.EACCES, false}, {syscall.EPERM, false}, {syscall.EINVAL, false}, {syscall.EROFS, false}, {syscall.EIO, true}, {syscall.ENOSPC, true}} {
		if err := makeDir(path, refused(filepath.Dir(path), x.why)); (err != nil) != x.fatal || x.fatal && !errors.Is(err, x.why) {
			t.Errorf("%v above a directory that is there: %v", x.why, err)
		}
		below := filepath.Join(path, x.why.Error(), "below")
		if err := makeDir(below, refused(filepath.Dir(below), x.why)); !errors.Is(err, x.why) {
			t.Errorf("%v above a directory that was made: %v", x.why, err)
		}
	}
}

func TestADataDirectoryThatCannotBeMade(t *testing.T) {
	root := t.TempDir()
	file, dangling := filepath.Join(root, "file"), filepath.Join(root, "dangling")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(filepath.Join(root, "nothing", "here"), dangling)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "a"), filepath.Join(file, "a", "b"), dangling, filepath.Join(dangling, "a")} {
		if err := makeDir(path, sealedfile.SyncDir); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

// TestOfManyWhoMakeADirectoryNoneFails while they race.
func TestOfManyWhoMakeADirectoryNoneFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "c", "d")
	done := make(chan error)
	for range 8 {
		go func() { done <- makeDir(path, sealedfile.SyncDir) }()
	}
	var errs []error
	for range 8 {
		errs = append(errs, <-done)
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		t.Error(errs)
	}
}
