package identity

import (
	"os"
	"path/filepath"
	"strings"
)

// asides are the directories of data that was set aside, by their names. The data directory's own path may be any, so it is no pattern.
func (d *Dir) asides() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), removedPrefix) {
			out = append(out, d.file(e.Name()))
		}
	}
	return out, nil
}

// LastAside returns the directory of the data of the member that was set aside last; it is empty if none was.
func (d *Dir) LastAside() (string, error) {
	asides, err := d.asides()
	if err != nil {
		return "", err
	}
	last := ""
	var newest os.FileInfo
	for _, m := range asides {
		// It is written when the data is set aside, and never again.
		info, err := os.Stat(filepath.Join(m, identityName))
		if err == nil && (newest == nil || info.ModTime().After(newest.ModTime())) {
			last, newest = filepath.Join(m, memberName), info
		}
	}
	return last, nil
}

// Ignored tells whether a name in a directory means nothing: that of what mkfs puts into the root of a fresh volume.
func Ignored(name string) bool { return name == lostAndFound }
