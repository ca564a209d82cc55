package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/raftkv/raftkv/replica/sealedfile"
)

// A member that is fenced never runs again, whatever happens next: a file in its directory says so before it stops. Then it goes the way
// of a member that was removed. Its directory is set aside, with that file in it, and the replica is empty: the cluster adds it as a new
// member, with a copy of the others' state, and removes the old ID.

// fencedName is that file, in a member's directory. Its document is the reason, in words.
const fencedName = "fenced"

var fencedKind = sealedfile.Kind{Magic: "raftkv-fenced", Format: 1}

// Fence ends this member for good: its state is not to be trusted, and reason says why. When it returns nil that is on stable storage. The
// replica ends with ErrRemoved, and its data is set aside.
func (r *Replica) Fence(reason string) error {
	if r.now() == nil {
		return fmt.Errorf("%w: there is no member to be fenced", ErrUnavailable)
	}
	if err := fencedKind.Write(filepath.Join(r.dir.MemberPath(), fencedName), []byte(reason)); err != nil {
		return fmt.Errorf("fence the member: %w", err)
	}
	r.logger.Error("this member is fenced: it stops, and its directory will be set aside", "reason", reason)
	r.setFenced(reason)
	r.door.noteRemoved()
	return nil
}

func (r *Replica) setFenced(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fenced = reason
}

// settleFence sets a fenced member's directory aside if a crash came before that, and finds out whether the member that an empty directory
// held last was fenced.
func (r *Replica) settleFence() error {
	if !r.dir.Identity().Empty() {
		reason, err := readFence(r.dir.MemberPath())
		if err != nil || reason == "" {
			return err
		}
		r.logger.Error("the member in this directory was fenced and does not run again", "reason", reason)
		if err := r.setAside(); err != nil {
			return err
		}
	}
	aside, err := r.dir.LastAside()
	if err != nil || aside == "" {
		return err
	}
	reason, err := readFence(aside)
	if err != nil || reason == "" {
		return err
	}
	r.setFenced(fmt.Sprintf("%s; its data was set aside in %s", reason, filepath.Dir(aside)))
	return nil
}

// readFence returns why the member of a directory was fenced, nothing if it was not.
func readFence(dir string) (string, error) {
	document, err := fencedKind.Read(filepath.Join(dir, fencedName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(document), err
}
