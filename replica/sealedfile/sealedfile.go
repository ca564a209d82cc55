package sealedfile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// MaxBytes bounds a file.
const MaxBytes = 1 << 20

// temporarySuffix marks a file that is being written. One that a crash left behind means nothing.
const temporarySuffix = ".tmp"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind is one kind of document.
type Kind struct {
	// Magic is the head's first word.
	Magic string
	// Format is the version that this build writes, and the highest that it reads.
	Format uint32
}

// Error says what is wrong with a file and where.
type Error struct {
	File   string
	Offset int64
	// Newer says that the file is whole but of a format that this build does not know.
	Newer  bool
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("file %s, offset %d: %s", e.File, e.Offset, e.Reason)
}

// IsTemporary tells whether a directory entry is what an interrupted Write leaves.
func IsTemporary(name string) bool { return filepath.Ext(name) == temporarySuffix }

// Write replaces the file at path. When it returns nil the document is on stable storage.
func (k Kind) Write(path string, document []byte) (err error) {
	if len(document) > MaxBytes/2 {
		return fmt.Errorf("write %s: %d bytes, the limit is %d", path, len(document), MaxBytes/2)
	}
	temporary := path + temporarySuffix
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	_, err = f.Write(append([]byte(k.head(document)), document...))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	if err = os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// head is "magic format length checksum\n"; the checksum covers the three words before it and the document.
func (k Kind) head(document []byte) string {
	words := fmt.Sprintf("%s %d %d", k.Magic, k.Format, len(document))
	sum := crc32.Update(crc32.Checksum([]byte(words), castagnoli), castagnoli, document)
	return fmt.Sprintf("%s %08x\n", words, sum)
}

// Read returns the document at path. The error is an *Error when the content is at fault, and os.ErrNotExist is kept.
func (k Kind) Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxBytes {
		return nil, &Error{File: path, Offset: MaxBytes, Reason: fmt.Sprintf("%d bytes long, no such file is longer than %d", info.Size(), MaxBytes)}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	line, document, ok := bytes.Cut(raw, []byte("\n"))
	if !bytes.HasPrefix(line, []byte(k.Magic+" ")) {
		return nil, &Error{File: path, Reason: fmt.Sprintf("does not begin with %q: damaged, or not a file of this kind", k.Magic)}
	}
	headless := line[len(k.Magic)+1:]
	var format uint32
	var length int
	var sum uint32
	if _, err := fmt.Sscanf(string(headless), "%d", &format); err != nil {
		return nil, &Error{File: path, Offset: int64(len(k.Magic) + 1), Reason: "the format version is damaged"}
	}
	if format > k.Format || format == 0 {
		return nil, &Error{File: path, Offset: int64(len(k.Magic) + 1), Newer: true, Reason: fmt.Sprintf(
			"format version %d, this build reads up to version %d: run the newer version of raftkv that wrote it", format, k.Format)}
	}
	if _, err := fmt.Sscanf(string(headless), "%d %d %x", &format, &length, &sum); err != nil || !ok {
		return nil, &Error{File: path, Offset: int64(len(k.Magic) + 1), Reason: "the head line is damaged"}
	}
	if length != len(document) {
		return nil, &Error{File: path, Offset: int64(len(raw)), Reason: fmt.Sprintf("%d bytes follow the head line, which says %d", len(document), length)}
	}
	if want := (Kind{Magic: k.Magic, Format: format}).head(document); want != string(line)+"\n" {
		return nil, &Error{File: path, Offset: int64(len(line) + 1), Reason: "the checksum does not match: the file is damaged"}
	}
	return document, nil
}

// SyncDir makes the entries of a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
