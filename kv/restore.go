package kv

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

// A file of a snapshot, as etcd's clients save what they are sent, is the stream, zeros up to a multiple of snapshotFileAlign bytes, and the
// SHA-256 of all that. The stream alone is one too.
const snapshotFileAlign = 512

// mostFileTail bounds what follows the stream in a file.
const mostFileTail = snapshotFileAlign - 1 + sha256.Size

// restoreName is that of a state that is being restored.
const restoreName = "restore"

// MaxRevision is the highest revision: etcd's clients count in 63 bits.
const MaxRevision = math.MaxInt64

// DefaultBumpRevision is what etcd's documentation advises for BumpRevision: more than is ever written between a snapshot and its restoration,
// or than a member's log lacks of what the others acknowledged.
const DefaultBumpRevision = 1_000_000_000

// RestoreOptions say what becomes of the revisions in a snapshot that a new cluster begins with. What is written after the snapshot was taken
// is lost with the old cluster, and clients may have seen it: they may hold revisions that the new cluster has yet to give to other
// writes. Those that watch or read at them have to be told.
type RestoreOptions struct {
	// BumpRevision is added to the store's revision. It is to be more than was written since the snapshot was taken.
	BumpRevision uint64
	// MarkCompacted gives up the history up to the new revision, so that whoever goes on from an older one is told that it was compacted,
	// and reads everything anew.
	MarkCompacted bool
}

// Restored tells what was restored.
type Restored struct {
	// Cluster and Meta are those of the snapshot.
	Cluster raft.ClusterID
	Meta    raft.SnapshotMeta
	// Before is the revision of the snapshot, Revision and Compacted are those of the state that was made of it.
	Before, Revision, Compacted uint64
	// Checked says that the file had a checksum of its own behind the stream, which has one in any case.
	Checked bool
}

// Restore makes the state of a machine that has none out of a snapshot of another cluster. Keys, their history and the leases with the keys
// that hang on them are taken over; sessions and alarms belong to the members of the old cluster and are left out. The applied index
// remains that of the snapshot: the new cluster's log begins behind it. Errors: *SnapshotError if the file is damaged or no snapshot.
// After an error the machine is as empty as before.
func (m *Machine) Restore(file io.Reader, o RestoreOptions) (Restored, error) {
	if now := m.Applied(); now.Index > 0 {
		return Restored{}, fmt.Errorf("a snapshot can be restored only where there is no state: this one is at index %d", now.Index)
	}
	staging, err := m.disk.Stage(restoreName)
	if err != nil {
		return Restored{}, err
	}
	s := &Stage{machine: m, cluster: m.ClusterID(), staging: staging, restore: &restoring{options: o}}
	if err := s.readFile(file); err != nil {
		return Restored{}, errors.Join(err, s.Abort())
	}
	if err := s.Commit(); err != nil {
		return Restored{}, errors.Join(err, s.Abort())
	}
	return s.restore.result, m.adoptRestored()
}

// restoring is what a Stage needs to know to restore.
type restoring struct {
	options RestoreOptions
	result  Restored
}

// readFile reads the stream and what is behind it.
func (s *Stage) readFile(file io.Reader) error {
	sum := &trailingSum{sum: sha256.New()}
	if _, err := io.Copy(s, io.TeeReader(file, sum)); err != nil {
		return err
	}
	if !s.ended {
		return errSnapshot("its end is missing")
	}
	tail := s.buffer[s.parsed:]
	s.buffer = s.buffer[:s.parsed]
	var err error
	s.restore.result.Checked, err = checkTail(tail, sum)
	return err
}

// checkTail checks what follows the stream in a file: nothing, or zeros and a checksum of the file, in which case it returns true.
func checkTail(tail []byte, sum *trailingSum) (bool, error) {
	if len(tail) == 0 {
		return false, nil
	}
	if len(tail) < sha256.Size || sum.length%snapshotFileAlign != sha256.Size || len(bytes.Trim(tail[:len(tail)-sha256.Size], "\x00")) > 0 {
		return false, errSnapshot("what follows its end is neither nothing nor a checksum of the file")
	}
	if !bytes.Equal(sum.sum.Sum(nil), sum.last) {
		return false, errSnapshot("the checksum of the file does not match")
	}
	return true, nil
}

// rewrite makes the header that of the new cluster's state.
func (r *restoring) rewrite(h *header, cluster raft.ClusterID) error {
	l := &h.logical
	if r.options.BumpRevision > MaxRevision || l.revision > MaxRevision-r.options.BumpRevision {
		return fmt.Errorf("revision %d cannot be raised by %d: the highest is %d", l.revision, r.options.BumpRevision, uint64(MaxRevision))
	}
	r.result = Restored{Cluster: h.cluster, Meta: l.meta, Before: l.revision}
	h.cluster = cluster
	l.revision += r.options.BumpRevision
	if r.options.MarkCompacted {
		l.compacted = l.revision
	}
	l.alarms, l.running = nil, 0
	r.result.Revision, r.result.Compacted = l.revision, l.compacted
	return nil
}

// adoptRestored puts what was restored in force.
func (m *Machine) adoptRestored() error {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.unusable(); err != nil {
		return err
	}
	old := m.current.store
	s, err := m.disk.Adopt(restoreName)
	if err == nil {
		err = m.load(s)
	}
	if err != nil {
		return m.failLocked(fmt.Errorf("put the restored state in force: %w", err))
	}
	m.retire(old)
	m.log.Info("a snapshot was restored", "index", m.current.meta.Index, "revision", m.current.revision, "compacted", m.current.compacted)
	return nil
}

// Succeed makes the state, after all that was applied, that with which a new cluster begins, as Restore does of a snapshot's: its revisions are raised, the
// history is marked as compacted, and the old members' alarms are left out. It is durable when Succeed returns. Errors are fatal for the
// machine.
func (m *Machine) Succeed(o RestoreOptions) (Restored, error) {
	if err := m.FlushNow(); err != nil {
		return Restored{}, err
	}
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.unusable(); err != nil {
		return Restored{}, err
	}
	if m.current.meta.Index != m.header.logical.meta.Index {
		return Restored{}, errors.New("entries were applied while the state was made that of a new cluster")
	}
	r := restoring{options: o}
	h, s := m.header, m.current.store
	if err := r.rewrite(&h, m.cluster); err != nil {
		return Restored{}, err
	}
	var b store.Batch
	err := h.put(&b)
	if err == nil {
		err = s.Commit(&b)
	}
	if err == nil {
		err = m.load(s)
	}
	if err != nil {
		return Restored{}, m.failLocked(fmt.Errorf("raise the revisions: %w", err))
	}
	m.log.Info("the revisions were raised", "before", r.result.Before, "revision", r.result.Revision, "compacted", r.result.Compacted)
	return r.result, nil
}

// trailingSum sums all but the last bytes of what is written, as many as a checksum has.
type trailingSum struct {
	sum    hash.Hash
	last   []byte
	length int64
}

func (t *trailingSum) Write(p []byte) (int, error) {
	t.length += int64(len(p))
	t.last = append(t.last, p...)
	if n := len(t.last) - sha256.Size; n > 0 {
		_, _ = t.sum.Write(t.last[:n]) // a hash returns no error
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(p), nil
}
