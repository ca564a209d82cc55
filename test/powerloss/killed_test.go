//go:build linux

package powerloss

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/test/powerloss/disk"
)

// TestWhatAStartFindsOutlivesThePower: a node is killed between a commit's last write and its sync, or stops because the sync failed, and is
// started again with all of it in the cache of the file system. From then on it counts as durable, the log is cut behind it, and only then the power
// is lost.
func TestWhatAStartFindsOutlivesThePower(t *testing.T) {
	const file = "kv.db"
	made := t.TempDir()
	commit(t, made, "before")
	before, err := os.ReadFile(filepath.Join(made, file))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, made, "after")
	later, err := os.ReadFile(filepath.Join(made, file))
	if err != nil {
		t.Fatal(err)
	}

	d, dir := mountDisk(t)
	var fs vfs.OS
	f, err := fs.Create(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
	}
	write(before)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := fs.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	write(later)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	writes := d.Writes(file)
	s := open(t, dir)
	if got := value(t, s); got != "after" {
		t.Fatalf("the start finds %q", got)
	}
	image := after(d, disk.Lost)
	if d.Writes(file) == writes {
		t.Error("nothing was written again: where the sync had failed, another one does nothing")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left := t.TempDir()
	if err := os.WriteFile(filepath.Join(left, file), image[file], 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, left)
	if got := value(t, s); got != "after" {
		t.Errorf("the start had found what was committed last, the loss of power left %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) store.Store {
	t.Helper()
	d, err := store.NewDirectory(dir, store.DirectoryOptions{QuotaBytes: quotaBytes})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const committedBucket, committedKey = store.Bucket(1), "key"

func commit(t *testing.T, dir, value string) {
	t.Helper()
	s := open(t, dir)
	var b store.Batch
	b.Put(committedBucket, []byte(committedKey), []byte(value))
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, s store.Store) string {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	out := string(v.Get(committedBucket, []byte(committedKey)))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAnIdentityThatAStartFindsOutlivesThePower: the same, for a node that is killed between giving its identity's file its name and syncing
// the directory. The next process speaks for that identity.
func TestAnIdentityThatAStartFindsOutlivesThePower(t *testing.T) {
	made := t.TempDir()
	first, err := identity.Open(made, "node")
	if err != nil {
		t.Fatal(err)
	}
	drawn := first.Identity().Incarnation
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	const file = "identity"
	content, err := os.ReadFile(filepath.Join(made, file))
	if err != nil {
		t.Fatal(err)
	}

	d, dir := mountDisk(t)
	f, err := vfs.OS{}.Create(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	next, err := identity.Open(dir, "node")
	if err != nil {
		t.Fatal(err)
	}
	image := after(d, disk.Lost)
	if got := next.Identity().Incarnation; got != drawn {
		t.Errorf("incarnation %s is read as %s", drawn, got)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image[file], content) {
		t.Errorf("the start had found an identity, the loss of power left %q of it", image[file])
	}
}
