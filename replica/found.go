package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
)

// Foundation says what Found makes.
type Foundation struct {
	// Dir is the new data directory: it must not be there, or be empty. Name is the replica's.
	Dir, Name string
	// Cluster is the new cluster's ID.
	Cluster raft.ClusterID
	// First gives the addresses of the only member; its ID, incarnation and name are set here.
	First raft.Member
	// FeatureLevel is the highest that the application's build can run at.
	FeatureLevel uint32
	// OpenMachine opens a Machine, in a Place that is New, that holds the state which the cluster begins with, at the index that its log begins
	// behind.
	OpenMachine func(Place) (Machine, error)
	// Logger may be nil.
	Logger *slog.Logger
}

// Found makes the data directory of a new cluster's only voter, offline, from a state that is there: a backup's. Open then runs it, and
// further members are added to it. Errors: ErrNotEmpty if there is anything in the directory. After an error nothing is left of it.
func Found(f Foundation) (id identity.Identity, err error) {
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	if f.Dir == "" || f.Name == "" || f.Cluster == 0 || f.First.PeerAddress == "" || f.OpenMachine == nil {
		return id, errors.New("replica: a Foundation needs a Dir, a Name, a Cluster, the first member's PeerAddress and OpenMachine")
	}
	made, err := mustBeVacant(f.Dir)
	if err != nil {
		return id, err
	}
	return found(f, made)
}

// found fills a directory that was vacant; made says that it was not there.
func found(f Foundation, made bool) (id identity.Identity, err error) {
	dir, err := identity.OpenUnfinished(f.Dir, f.Name)
	if err != nil {
		if errors.Is(err, os.ErrExist) { // what is in it is not this call's to remove
			err = fmt.Errorf("%w: something else has begun to fill it meanwhile: %w", ErrNotEmpty, err)
		} else if made {
			_ = os.Remove(f.Dir) // if there is nothing in it
		}
		return id, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, vacate(f.Dir, made))
		}
	}()
	defer func() { err = errors.Join(err, dir.Close()) }()
	p := preparation{f.OpenMachine, f.Logger}
	as := dir.Identity()
	as.ClusterID, as.MemberID = f.Cluster, bootstrap.AdminFirstID
	first := f.First
	first.ID, first.Name, first.Incarnation, first.Learner = as.MemberID, f.Name, as.Incarnation, false
	err = dir.BecomeMember(f.Cluster, as.MemberID, "", func(at string) error {
		return p.fill(at, as, func(m Machine) error {
			if v := m.Applied().ClusterVersion; v > f.FeatureLevel {
				return fmt.Errorf("the state is of cluster version %d, this build reads up to version %d: use the newer build", v, f.FeatureLevel)
			}
			return moveOn(m, 0, first)
		})
	})
	if err == nil {
		err = dir.Finish()
	}
	return dir.Identity(), err
}

// mustBeVacant tells whether the directory has to be made.
func mustBeVacant(path string) (made bool, err error) {
	found, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	}
	for _, x := range found {
		if !identity.Ignored(x.Name()) {
			return false, fmt.Errorf("%w: %s is in %s, and nothing is ever restored over data: name a directory that is not there, or move this one away",
				ErrNotEmpty, x.Name(), path)
		}
	}
	return false, nil
}

// vacate removes what an attempt has made in a directory that was vacant; the mark that it is unfinished goes last, as names are in order.
func vacate(path string, made bool) error {
	found, err := os.ReadDir(path)
	for _, x := range found {
		if !identity.Ignored(x.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, x.Name())))
		}
	}
	if made {
		if gone := os.Remove(path); !errors.Is(gone, os.ErrExist) { // that it is not empty says that somebody else fills it by now
			err = errors.Join(err, gone)
		}
	}
	return err
}
