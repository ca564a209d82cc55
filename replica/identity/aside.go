package identity

import (
	"os"
	"path/filepath"
)

// LastAside returns the directory of the data of the member that was set aside last; it is empty if none was.
func (d *Dir) LastAside() (string, error) {
	matches, err := filepath.Glob(d.file(removedPrefix + "*"))
	if err != nil {
		return "", err
	}
	last := ""
	var newest os.FileInfo
	for _, m := range matches {
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
