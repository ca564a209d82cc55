package joining

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// noteName is the note's file in the data directory. It counts for the member and the incarnation that it names, and means nothing to others that the
// directory may come to speak for.
const noteName = "invitation"

var noteKind = sealedfile.Kind{Magic: "raftkv-invitation", Format: 1}

// note says what this directory was invited to be.
type note struct {
	Cluster     raft.ClusterID   `json:"cluster"`
	Member      raft.NodeID      `json:"member"`
	Incarnation raft.Incarnation `json:"incarnation"`
	Vote        bool             `json:"vote"`
}

// about tells whether the note is about the member that the directory is.
func (n note) about(id identity.Identity) bool {
	return n.Member != 0 && n == note{Cluster: id.ClusterID, Member: id.MemberID, Incarnation: id.Incarnation, Vote: n.Vote}
}

// write makes the note durable.
func (n note) write(dir string) error {
	document, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return noteKind.Write(filepath.Join(dir, noteName), document)
}

// readNote returns the note, the zero one if there is none.
func readNote(dir string) (note, error) {
	path := filepath.Join(dir, noteName)
	document, err := noteKind.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, nil
	}
	if err != nil {
		return note{}, err
	}
	var n note
	if err := json.Unmarshal(document, &n); err != nil {
		return note{}, fmt.Errorf("file %s: %w", path, err)
	}
	return n, nil
}
