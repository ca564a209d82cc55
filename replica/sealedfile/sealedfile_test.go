package sealedfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var kind = Kind{Magic: "raftkv-test", Format: 3}

func TestRoundTripAndReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if _, err := kind.Read(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, doc := range []string{"{\"a\": 1}\n", "", "line\nline\n"} {
		if err := kind.Write(path, []byte(doc)); err != nil {
			t.Fatal(err)
		}
		got, err := kind.Read(path)
		if err != nil || string(got) != doc {
			t.Errorf("wrote %q, read %q, %v", doc, got, err)
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := kind.Write(path, []byte(`{"name":"a"}`)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(whole) * 8 {
		bad := append([]byte(nil), whole...)
		bad[i/8] ^= 1 << (i % 8)
		checkRefused(t, path, bad)
	}
	for n := range len(whole) {
		checkRefused(t, path, whole[:n])
	}
	checkRefused(t, path, append(append([]byte(nil), whole...), 'x'))
}

func checkRefused(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if doc, err := kind.Read(path); !errors.As(err, &e) || e.File != path {
		t.Errorf("%q was read as %q, %v", content, doc, err)
	}
}

func TestNewerFormatNamesBothVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := (Kind{Magic: kind.Magic, Format: 4}).Write(path, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	_, err := kind.Read(path)
	var e *Error
	if !errors.As(err, &e) || !e.Newer || !strings.Contains(err.Error(), "version 4") || !strings.Contains(err.Error(), "version 3") {
		t.Errorf("got %v", err)
	}
	older := Kind{Magic: kind.Magic, Format: 2}
	if err := older.Write(path, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if doc, err := kind.Read(path); err != nil || string(doc) != "{}" {
		t.Errorf("an older format must be read: %q, %v", doc, err)
	}
}
