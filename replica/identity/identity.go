package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// kind is the format of the identity file.
var kind = sealedfile.Kind{Magic: "raftkv-identity", Format: 1}

// Identity is whom a data directory speaks for.
type Identity struct {
	Incarnation raft.Incarnation `json:"incarnation"`
	Name        string           `json:"name"`
	// ClusterID and MemberID are zero while the directory is empty.
	ClusterID raft.ClusterID `json:"clusterID"`
	MemberID  raft.NodeID    `json:"memberID"`
	// ClusterToken is a hash of the token of the static cluster, if it is one.
	ClusterToken string `json:"clusterToken,omitempty"`
}

// Empty says that the directory speaks for no member.
func (i Identity) Empty() bool { return i.MemberID == 0 }

func (i Identity) validate(path string) error {
	reason := ""
	switch {
	case i.Incarnation == 0:
		reason = "no incarnation in it"
	case (i.MemberID == 0) != (i.ClusterID == 0):
		reason = "member ID and cluster ID must both be there or neither"
	default:
		return nil
	}
	return &sealedfile.Error{File: path, Reason: reason}
}

// drawIncarnation returns a random number that is not zero.
func drawIncarnation() raft.Incarnation {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		if v := raft.Incarnation(binary.BigEndian.Uint64(b[:])); v != 0 {
			return v
		}
	}
}

func write(path string, id Identity) error {
	document, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return kind.Write(path, append(document, '\n'))
}

// read returns os.ErrNotExist when there is no file.
func read(path string) (Identity, error) {
	document, err := kind.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return Identity{}, err
	}
	if err != nil {
		return Identity{}, fmt.Errorf("the node's identity cannot be read: %w; "+
			"restore the file from a backup of this directory, or start the node with another, empty --data-dir so that it joins as a new member", err)
	}
	var id Identity
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&id); err != nil {
		return Identity{}, &sealedfile.Error{File: path, Offset: decoder.InputOffset(), Reason: "the document makes no sense: " + err.Error()}
	}
	return id, id.validate(path)
}
