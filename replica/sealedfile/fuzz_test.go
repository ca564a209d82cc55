package sealedfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead reads a file of any bytes: what is accepted is what Write would have left, byte for byte; all else is an *Error
// that names the file.
func FuzzRead(f *testing.F) {
	kind := Kind{Magic: "raftkv-test", Format: 2}
	older := Kind{Magic: kind.Magic, Format: 1}
	document := []byte("a document\nof two lines\n")
	f.Add([]byte(kind.head(document) + string(document)))
	f.Add([]byte(older.head(nil)))
	f.Add([]byte(Kind{Magic: kind.Magic, Format: 3}.head(document) + string(document)))
	f.Add([]byte("raftkv-test 2 -1 00000000\n"))
	f.Add([]byte("raftkv-test 2"))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := kind.Read(path)
		if err != nil {
			var damaged *Error
			if !errors.As(err, &damaged) || damaged.File != path || damaged.Reason == "" || damaged.Offset < 0 || damaged.Offset > int64(len(raw))+1 && len(raw) >= len(kind.Magic) {
				t.Fatalf("%#v", err)
			}
			return
		}
		if !bytes.Equal(raw, append([]byte(kind.head(got)), got...)) && !bytes.Equal(raw, append([]byte(older.head(got)), got...)) {
			t.Fatalf("%q is not what any version would have written for %q", raw, got)
		}
	})
}
