package replica

import (
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// logDir is the log's place in a member's directory.
const logDir = "wal"

// preparation fills an empty directory for a member.
type preparation struct {
	open   func(Place) (Machine, error)
	logger *slog.Logger
}

// first makes the log and the state of a first member of the cluster. When it returns nil all of it is on stable storage.
func (p preparation) first(dir string, id identity.Identity, first raft.Membership) error {
	entries, err := bootstrap.FirstEntries(first)
	if err != nil {
		return err
	}
	return p.fill(dir, id, func(m Machine) error {
		_, err := m.Apply(entries)
		return err
	})
}

// joining makes those of a member that gets everything from the leader.
func (p preparation) joining(dir string, id identity.Identity) error { return p.fill(dir, id, nil) }

// fill makes log and state. begin, if it is not nil, gives the state what it begins with; the log begins behind that.
func (p preparation) fill(dir string, id identity.Identity, begin func(Machine) error) error {
	machine, err := p.open(Place{Dir: dir, Cluster: id.ClusterID, New: true, Logger: p.logger})
	if err != nil {
		return err
	}
	var start []*raft.StoreRequest
	if begin != nil {
		err = begin(machine)
		meta := machine.Applied()
		start = append(start, &raft.StoreRequest{HardState: &raft.HardState{Term: meta.Term}, Snapshot: &meta})
	}
	if err = errors.Join(err, machine.Close()); err != nil {
		return err
	}
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(dir, logDir), wal.Options{Identity: logIdentity(id)})
	if err != nil {
		return err
	}
	if len(start) > 0 {
		err = log.Append(start)
	}
	return errors.Join(err, log.Close(), sealedfile.SyncDir(dir))
}

func logIdentity(id identity.Identity) wal.Identity {
	return wal.Identity{Cluster: id.ClusterID, Member: id.MemberID, Incarnation: id.Incarnation}
}
