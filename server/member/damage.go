package member

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

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

// Close closes the store. If it was found damaged, also by what closing it does, the note is there when Close returns.
func (m *Machine) Close() error {
	err := m.machine.Close()
	return errors.Join(err, m.damage.close())
}

// damageNote writes the file as soon as the store is found damaged: the process may not live until it is closed.
type damageNote struct {
	file    string
	machine *kv.Machine
	closing chan struct{}
	once    sync.Once
	watch   sync.WaitGroup

	mu      sync.Mutex
	written bool
}

func newDamageNote(dir string, m *kv.Machine, logger *slog.Logger) *damageNote {
	d := &damageNote{file: filepath.Join(dir, damagedName), machine: m, closing: make(chan struct{})}
	d.watch.Go(func() {
		select {
		case <-m.Failed():
			if err := d.write(); err != nil {
				logger.Error("that the store is damaged could not be noted; it is tried again when the store is closed", "error", err)
			}
		case <-d.closing:
		}
	})
	return d
}

// write writes the file, if that is to be done.
func (d *damageNote) write() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var corrupt *kv.CorruptError
	if d.written || !errors.As(d.machine.Failure(), &corrupt) {
		return nil
	}
	if err := damagedKind.Write(d.file, []byte(corrupt.Error())); err != nil {
		return err
	}
	d.written = true
	return nil
}

// close is for when the store is closed. It may be called again.
func (d *damageNote) close() error {
	d.once.Do(func() { close(d.closing) })
	d.watch.Wait()
	return d.write()
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
