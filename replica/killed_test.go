package replica

import (
	"errors"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/vfs"
)

// A process ends between the renaming of an image and the sync of its directory. What the next one finds counts as durable, so that the log is cut behind
// it: it must not vanish with the power.
func TestAnImageThatAStartFindsOutlivesThePower(t *testing.T) {
	for seed := range uint64(20) {
		fs := vfs.NewMem(seed)
		if err := errors.Join(fs.MkdirAll(testDir), fs.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		m, _, err := openTally(t, fs, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply([]raft.Entry{proposal(t, 1, session.Header{}, wrap([]byte("name")))}); err != nil {
			t.Fatal(err)
		}
		killed := errors.New("the process is gone")
		fs.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpSyncDir {
				return killed
			}
			return nil
		})
		if err := m.save(); !errors.Is(err, killed) {
			t.Fatal(err)
		}
		_ = m.Close()
		fs.SetHook(nil)

		next, _, err := openTally(t, fs, false)
		if err != nil {
			t.Fatal(err)
		}
		durable := next.Durable()
		if durable != 1 {
			t.Fatalf("the next process finds a state of index %d", durable)
		}
		fs.Crash()
		_ = next.Close()
		last, _, err := openTally(t, fs, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := last.Durable(); got != durable {
			t.Fatalf("seed %d: index %d was durable, the loss of power left %d", seed, durable, got)
		}
		_ = last.Close()
	}
}
