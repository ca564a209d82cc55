package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// Names in a data directory.
const (
	lockName      = "LOCK"
	identityName  = "identity"
	memberName    = "member"
	stagingName   = "member.new"
	removedPrefix = "removed-"
	// unfinishedName marks a directory that is being filled for a new cluster. What else is in it means nothing as long as it stands.
	unfinishedName = "unfinished"
	// lostAndFound is what mkfs puts into the root of a fresh volume.
	lostAndFound = "lost+found"
)

// maxSetAside bounds the search for a free name; a directory is set aside once in the life of a member.
const maxSetAside = 10_000

// ErrLocked says that another process uses the directory.
var ErrLocked = errors.New("the data directory is in use")

// ErrForeign says that the directory belongs to someone else, or that nobody can tell whose it is.
var ErrForeign = errors.New("the data directory cannot be used")

// Dir is a locked data directory.
type Dir struct {
	path string
	lock *os.File
	id   Identity
	// step lets a test crash before a step.
	step func(name string) error
}

// Open locks the directory, makes it when it is missing, and completes what a crash left half done. name is the node's.
func Open(path, name string) (*Dir, error) {
	return open(path, name, func(string) error { return nil })
}

// OpenUnfinished opens a directory in which there is nothing, to be filled for a new cluster. Until Finish nobody else opens it, also
// after a crash: a node that took it for an empty one would begin without the state that it was to have. Of two who fill one directory at the same
// time one does; the other gets os.ErrExist, or ErrLocked, also when the first has finished. An error leaves what others have in the directory.
func OpenUnfinished(path, name string) (_ *Dir, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := makeDir(path, sealedfile.SyncDir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	d := &Dir{path: path, step: func(string) error { return nil }}
	f, err := os.OpenFile(d.file(unfinishedName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("mark the data directory as unfinished: %w", err)
	}
	own := []string{unfinishedName} // what is this call's, the mark last
	defer func() {
		if err != nil {
			for _, n := range own {
				if gone := os.Remove(d.file(n)); !errors.Is(gone, os.ErrNotExist) {
					err = errors.Join(err, gone)
				}
			}
			if d.lock != nil {
				err = errors.Join(err, d.Close())
			}
		}
	}()
	if err := errors.Join(f.Close(), sealedfile.SyncDir(path)); err != nil {
		return nil, fmt.Errorf("mark the data directory as unfinished: %w", err)
	}
	if d.lock, err = takeLock(d.file(lockName)); err != nil {
		return nil, err
	}
	// Others may have begun and finished since the directory was looked at.
	present, err := d.list()
	if err != nil {
		return nil, err
	}
	delete(present, unfinishedName)
	if len(present) != 0 {
		return nil, fmt.Errorf("%w: %s holds %s", os.ErrExist, path, strings.Join(sortedNames(present), ", "))
	}
	own = []string{identityName, lockName, unfinishedName}
	return d, d.write(Identity{Incarnation: drawIncarnation(), Name: name})
}

// Finish makes a directory that OpenUnfinished opened a node's.
func (d *Dir) Finish() error {
	if err := os.Remove(d.file(unfinishedName)); err != nil {
		return err
	}
	return sealedfile.SyncDir(d.path)
}

func open(path, name string, step func(string) error) (_ *Dir, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := makeDir(path, sealedfile.SyncDir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	d := &Dir{path: path, step: step}
	if d.lock, err = takeLock(filepath.Join(path, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	// A process that was killed may have given files their names without having lived to sync them, and what they say is relied on from here on.
	if err := sealedfile.SyncDir(path); err != nil {
		return nil, err
	}
	present, err := d.list()
	if err != nil {
		return nil, err
	}
	if present[unfinishedName] {
		return nil, fmt.Errorf("%w: %s was being filled from a snapshot, and that was not finished: remove all that is in it, then restore again",
			ErrForeign, path)
	}
	if !present[identityName] {
		if len(present) != 0 {
			return nil, fmt.Errorf("%w: %s has no file %q but holds %s: name an empty directory by --data-dir, or restore the file",
				ErrForeign, path, identityName, strings.Join(sortedNames(present), ", "))
		}
		return d, d.write(Identity{Incarnation: drawIncarnation(), Name: name})
	}
	if d.id, err = read(d.file(identityName)); err != nil {
		return nil, err
	}
	if d.id.Name != name {
		return nil, fmt.Errorf("%w: %s belongs to the node %q, this one is %q: give --name %s, or another --data-dir",
			ErrForeign, path, d.id.Name, name, d.id.Name)
	}
	return d, d.recover(present)
}

func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: another process holds %s (%w): stop it first, or give this node its own --data-dir", ErrLocked, path, err)
	}
	return f, nil
}

// list returns what is in the directory and means something.
func (d *Dir) list() (map[string]bool, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	present := map[string]bool{}
	for _, e := range entries {
		if n := e.Name(); n != lockName && n != lostAndFound && !(e.Type().IsRegular() && sealedfile.IsTemporary(n)) {
			present[n] = true
		}
	}
	return present, nil
}

func sortedNames(set map[string]bool) []string {
	var out []string
	for n := range set {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// recover makes up for the steps that a crash cut off; see the package's comment.
func (d *Dir) recover(present map[string]bool) error {
	if d.id.Empty() {
		if present[memberName] {
			return fmt.Errorf("%w: %s holds a member's data, but %s says that it speaks for no member: restore the file, or set the data aside by hand",
				ErrForeign, d.file(memberName), d.file(identityName))
		}
		return os.RemoveAll(d.file(stagingName))
	}
	if present[successorName] {
		_, err := d.completeSuccession()
		return err
	}
	if err := os.RemoveAll(d.file(successorStagingName)); err != nil {
		return err
	}
	switch found, err := d.isSetAside(); {
	case err != nil:
		return err
	case present[memberName]:
		return nil
	case present[stagingName]:
		return d.activate()
	case found:
		return d.renew()
	}
	return fmt.Errorf("%w: %s says member %s, but its log and state are gone from %s. Starting without them could lose acknowledged writes. "+
		"Restore them, or start with an empty --data-dir, remove the member from the cluster and add the node as a new one", ErrForeign, d.file(identityName), d.id.MemberID, d.file(memberName))
}

// isSetAside tells whether a directory holds the data of the present incarnation that was set aside.
func (d *Dir) isSetAside() (bool, error) {
	asides, err := d.asides()
	if err != nil {
		return false, err
	}
	for _, m := range asides {
		id, err := read(filepath.Join(m, identityName))
		if err != nil || id.Incarnation != d.id.Incarnation {
			continue // whatever it is, it is not what this incarnation left
		}
		if _, err := os.Stat(filepath.Join(m, memberName)); err == nil {
			return true, nil
		}
	}
	return false, nil
}

// Identity returns whom the directory speaks for.
func (d *Dir) Identity() Identity { return d.id }

// Path returns the directory itself.
func (d *Dir) Path() string { return d.path }

// MemberPath returns the directory of the member's log and state.
func (d *Dir) MemberPath() string { return d.file(memberName) }

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

func (d *Dir) write(id Identity) error {
	if err := d.step("write identity"); err != nil {
		return err
	}
	if err := write(d.file(identityName), id); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	d.id = id
	return nil
}

// BecomeMember makes an empty directory a member's. prepare fills the given, empty directory with the member's first log and
// state and must leave them on stable storage; it may have been called before, for an attempt that came to nothing.
func (d *Dir) BecomeMember(cluster raft.ClusterID, member raft.NodeID, clusterToken string, prepare func(dir string) error) error {
	if !d.id.Empty() {
		return fmt.Errorf("the directory belongs to member %s already", d.id.MemberID)
	}
	if cluster == 0 || member == 0 {
		return errors.New("a member needs a cluster ID and a member ID")
	}
	staging := d.file(stagingName)
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	if err := prepare(staging); err != nil {
		return fmt.Errorf("prepare the member's data: %w", err)
	}
	if err := errors.Join(sealedfile.SyncDir(staging), sealedfile.SyncDir(d.path)); err != nil {
		return err
	}
	id := d.id
	id.ClusterID, id.MemberID, id.ClusterToken = cluster, member, clusterToken
	if err := d.write(id); err != nil {
		return err
	}
	return d.activate()
}

func (d *Dir) activate() error {
	if err := d.step("activate"); err != nil {
		return err
	}
	if err := os.Rename(d.file(stagingName), d.file(memberName)); err != nil {
		return err
	}
	return sealedfile.SyncDir(d.path)
}

// SetAside moves a removed member's data to a directory of its own, whose path it returns, and draws a new incarnation: from then
// on the directory is empty. extra names further files in the directory that go with the data.
func (d *Dir) SetAside(extra ...string) (string, error) {
	if d.id.Empty() {
		return "", errors.New("the directory speaks for no member")
	}
	aside, err := d.moveAside(func() ([]string, error) { return extra, nil })
	if err != nil {
		return "", err
	}
	return aside, d.renew()
}

// moveAside moves the member's data, and what else others names, to a directory of their own.
func (d *Dir) moveAside(others func() ([]string, error)) (string, error) {
	aside, err := d.reserve()
	if err != nil {
		return "", err
	}
	extra, err := others()
	if err != nil {
		return "", err
	}
	if err := write(filepath.Join(aside, identityName), d.id); err != nil {
		return "", err
	}
	if err := errors.Join(sealedfile.SyncDir(aside), sealedfile.SyncDir(d.path)); err != nil {
		return "", err
	}
	// The member's data goes last: its place tells how far this came.
	for _, name := range append(append([]string(nil), extra...), memberName) {
		if err := d.step("move " + name); err != nil {
			return "", err
		}
		if err := os.Rename(d.file(name), filepath.Join(aside, name)); err != nil && !(name != memberName && errors.Is(err, fs.ErrNotExist)) {
			return "", err
		}
	}
	return aside, errors.Join(sealedfile.SyncDir(aside), sealedfile.SyncDir(d.path))
}

// reserve makes the directory to move to, or finds the one that an interrupted attempt made.
func (d *Dir) reserve() (string, error) {
	if err := d.step("reserve"); err != nil {
		return "", err
	}
	for n := 1; n <= maxSetAside; n++ {
		aside := d.file(fmt.Sprintf("%s%s-%d", removedPrefix, d.id.MemberID, n))
		err := os.Mkdir(aside, 0o700)
		if err == nil {
			return aside, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if _, err := os.Stat(filepath.Join(aside, memberName)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if id, err := read(filepath.Join(aside, identityName)); errors.Is(err, fs.ErrNotExist) || (err == nil && id.Incarnation == d.id.Incarnation) {
			return aside, nil
		}
	}
	return "", fmt.Errorf("%s holds %d directories that were set aside for member %s: move some away", d.path, maxSetAside, d.id.MemberID)
}

// renew draws a new incarnation after the data was moved to aside.
func (d *Dir) renew() error {
	return d.write(Identity{Incarnation: drawIncarnation(), Name: d.id.Name})
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }
