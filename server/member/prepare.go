package member

import (
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// Names in a member's directory.
const (
	logDir   = "wal"
	stateDir = "kv"
)

// PrepareFirst fills an empty directory with the log and the state of a first member of the cluster. When it returns nil all of
// it is on stable storage.
func PrepareFirst(dir string, id identity.Identity, first raft.Membership, logger *slog.Logger) error {
	entries, err := bootstrap.FirstEntries(first)
	if err != nil {
		return err
	}
	machine, err := kv.Open(kv.Options{Dir: filepath.Join(dir, stateDir), ClusterID: id.ClusterID, Logger: logger})
	if err != nil {
		return err
	}
	_, err = machine.Apply(entries)
	meta := machine.Applied()
	if err = errors.Join(err, machine.Close()); err != nil {
		return err
	}
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(dir, logDir), wal.Options{Identity: logIdentity(id)})
	if err != nil {
		return err
	}
	err = log.Append([]*raft.StoreRequest{{HardState: &raft.HardState{Term: meta.Term}, Snapshot: &meta}})
	return errors.Join(err, log.Close(), sealedfile.SyncDir(dir))
}

// PrepareJoining fills an empty directory for a member that gets everything from the leader.
func PrepareJoining(dir string, id identity.Identity, logger *slog.Logger) error {
	machine, err := kv.Open(kv.Options{Dir: filepath.Join(dir, stateDir), ClusterID: id.ClusterID, Logger: logger})
	if err != nil {
		return err
	}
	if err := machine.Close(); err != nil {
		return err
	}
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(dir, logDir), wal.Options{Identity: logIdentity(id)})
	if err != nil {
		return err
	}
	return errors.Join(log.Close(), sealedfile.SyncDir(dir))
}

func logIdentity(id identity.Identity) wal.Identity {
	return wal.Identity{Cluster: id.ClusterID, Member: id.MemberID, Incarnation: id.Incarnation}
}
