package disk

import (
	"bytes"
	"errors"
	"hash/maphash"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Files returns the paths and contents of all files, without the zeros at the end of a file that were never written.
func (m Image) Files() map[string][]byte {
	out := map[string][]byte{}
	_ = m.walk(func(path string, c *content) error {
		if c != nil {
			out[path] = c.data
		}
		return nil
	})
	return out
}

// walk visits directories before what is in them; their content is nil.
func (m Image) walk(visit func(path string, c *content) error) error {
	var down func(path string, dir Inode) error
	down = func(path string, dir Inode) error {
		entries := m.dirs[dir]
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			i, below := entries[name], filepath.Join(path, name)
			if c, ok := m.files[i]; ok {
				if err := visit(below, &c); err != nil {
					return err
				}
				continue
			}
			if err := visit(below, nil); err != nil {
				return err
			}
			if err := down(below, i); err != nil {
				return err
			}
		}
		return nil
	}
	return down("", Root)
}

// Sum is the same for images that hold the same.
func (m Image) Sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_ = m.walk(func(path string, c *content) error {
		_, _ = h.WriteString(path)
		_ = h.WriteByte(0)
		if c != nil {
			maphash.WriteComparable(&h, c.size)
			_, _ = h.Write(bytes.TrimRight(c.data, "\x00"))
		}
		return nil
	})
	return h.Sum64()
}

// Write writes the image into a directory that exists and is empty. What is zero takes no room there.
func (m Image) Write(dir string) error {
	return m.walk(func(path string, c *content) error {
		path = filepath.Join(dir, path)
		if c == nil {
			return os.Mkdir(path, 0o700)
		}
		return c.writeFile(path)
	})
}

var zeroSector [SectorBytes]byte

func (c *content) writeFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(c.size); err != nil {
		return err
	}
	for at := 0; at < len(c.data); {
		end := at
		for end < len(c.data) && !zeroes(c.data[end:]) {
			end += SectorBytes
		}
		end = min(end, len(c.data))
		if end > at {
			if _, err := f.WriteAt(c.data[at:end], int64(at)); err != nil {
				return err
			}
		}
		for at = end; at < len(c.data) && zeroes(c.data[at:]); at += SectorBytes {
		}
	}
	return nil
}

// zeroes tells whether the first sector of b is empty.
func zeroes(b []byte) bool {
	n := min(len(b), SectorBytes)
	return bytes.Equal(b[:n], zeroSector[:n])
}
