package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is full is no reason to give a directory up, and whoever reads that it is must not be told to.
func TestAFullDiskIsToldAsThat(t *testing.T) {
	const full = "/dev/full" // every write fails with ENOSPC
	if _, err := os.Stat(full); err != nil {
		t.Fatal(err)
	}
	for name, begin := range map[string]func(*Directory) error{
		fileName:                  func(d *Directory) error { _, err := d.Open(); return err },
		"snapshot" + stagedSuffix: func(d *Directory) error { _, err := d.Adopt("snapshot"); return err },
	} {
		dir := t.TempDir()
		d := must[*Directory](t)(NewDirectory(dir, DirectoryOptions{}))
		ok(t, os.Symlink(full, filepath.Join(dir, name)))
		err := begin(d)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), makeRoom) || strings.Contains(err.Error(), setAside) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
