package member

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// A member that has found its store damaged must not serve from it again, just because it was started again and has not yet come across the
// damage anew. A file in its directory says so. The next start then reads the whole store before anything is served: it refuses if
// that is damaged, and takes the file away if it is sound, since what was found may have been the memory's or the cable's fault.

// damagedName is that file, in a member's directory. Its document is what was found, in words.
const damagedName = "damaged"

var damagedKind = sealedfile.Kind{Magic: "raftkv-damaged", Format: 1}

// Failed is that of replica.Failing.
func (m *Machine) Failed() <-chan struct{} { return m.machine.Failed() }

// Failure is that of replica.Failing.
func (m *Machine) Failure() error { return m.machine.Failure() }

// Close closes the store, and leaves a note if it was found damaged.
func (m *Machine) Close() error {
	var err error
	var corrupt *kv.CorruptError
	if errors.As(m.machine.Failure(), &corrupt) {
		err = damagedKind.Write(filepath.Join(m.dir, damagedName), []byte(corrupt.Error()))
	}
	return errors.Join(err, m.machine.Close())
}

// settleDamage reads the whole store if an earlier run has found it damaged.
func settleDamage(dir string, m *kv.Machine, logger *slog.Logger) error {
	file := filepath.Join(dir, damagedName)
	found, err := damagedKind.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	logger.Warn("an earlier run has found the store damaged: reading all of it before it is used", "found", string(found))
	read, err := m.Verify(context.Background(), func(context.Context) error { return nil })
	if err != nil {
		return fmt.Errorf("the store was found damaged by an earlier run, and is (only if no other member has the data, remove %s and start again, to save what can be read): %w",
			file, err)
	}
	logger.Warn("the whole store was read and is sound: what was found was not on the disk", "records", read.Records)
	return errors.Join(os.Remove(file), sealedfile.SyncDir(dir))
}
