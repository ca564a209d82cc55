package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// Names of what takes the place of a member in its own directory.
const (
	successorName        = "successor"
	successorStagingName = "successor.new"
)

// Succeed makes a member's directory that of a new member, of another cluster and with an incarnation of its own, and sets the old
// member's data aside. prepare fills the given, empty directory with the new member's log and state and must leave them on stable
// storage; it may read the old member's, in MemberPath, and must not change what they mean. It returns where the old data is.
func (d *Dir) Succeed(cluster raft.ClusterID, member raft.NodeID, prepare func(dir string, next Identity) error) (aside string, err error) {
	if d.id.Empty() {
		return "", errors.New("the directory speaks for no member")
	}
	if cluster == 0 || cluster == d.id.ClusterID || member == 0 {
		return "", fmt.Errorf("the successor of cluster %s needs a cluster ID of its own and a member ID", d.id.ClusterID)
	}
	staging := d.file(successorStagingName)
	if err := os.RemoveAll(staging); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(staging, memberName), 0o700); err != nil {
		return "", err
	}
	next := Identity{Incarnation: drawIncarnation(), Name: d.id.Name, ClusterID: cluster, MemberID: member}
	if err := prepare(filepath.Join(staging, memberName), next); err != nil {
		return "", fmt.Errorf("prepare the new member's data: %w", err)
	}
	if err := write(filepath.Join(staging, identityName), next); err != nil {
		return "", err
	}
	if err := errors.Join(sealedfile.SyncDir(filepath.Join(staging, memberName)), sealedfile.SyncDir(staging)); err != nil {
		return "", err
	}
	if err := d.step("succeed"); err != nil {
		return "", err
	}
	if err := os.Rename(staging, d.file(successorName)); err != nil {
		return "", err
	}
	if err := sealedfile.SyncDir(d.path); err != nil {
		return "", err
	}
	return d.completeSuccession()
}

// completeSuccession carries out what a successor's directory asks for. It may be repeated after a crash.
func (d *Dir) completeSuccession() (aside string, err error) {
	successor := d.file(successorName)
	next, err := read(filepath.Join(successor, identityName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", os.RemoveAll(successor) // its removal, which is the last step, was cut off
	}
	if err != nil {
		return "", err
	}
	if d.id.Incarnation != next.Incarnation {
		found, err := d.isSetAside()
		if err == nil && !found {
			aside, err = d.moveAside(d.others)
		}
		if err != nil {
			return "", err
		}
		if err := d.write(next); err != nil {
			return "", err
		}
	}
	if err := d.step("activate the successor"); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(successor, memberName), d.MemberPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := sealedfile.SyncDir(d.path); err != nil {
		return "", err
	}
	if err := d.step("remove the successor"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(successor); err != nil {
		return "", err
	}
	return aside, sealedfile.SyncDir(d.path)
}

// others are the files in the directory that belong to the member besides its log and state.
func (d *Dir) others() ([]string, error) {
	present, err := d.list()
	if err != nil {
		return nil, err
	}
	for _, n := range []string{identityName, memberName, stagingName, successorName, successorStagingName} {
		delete(present, n)
	}
	var out []string
	for _, n := range sortedNames(present) {
		if !strings.HasPrefix(n, removedPrefix) {
			out = append(out, n)
		}
	}
	return out, nil
}
