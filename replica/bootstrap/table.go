package bootstrap

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// TableFile is the name of the table's file in the data directory.
const TableFile = "static"

var tableKind = sealedfile.Kind{Magic: "raftkv-static", Format: 1}

// Table is what all members of a static cluster store before any of them votes.
type Table struct {
	// Token is a hash of the cluster's token.
	Token string `json:"token"`
	// Members are sorted by name.
	Members []TableMember `json:"members"`
}

// TableMember is one line of the table.
type TableMember struct {
	Name        string           `json:"name"`
	ID          raft.NodeID      `json:"id"`
	Incarnation raft.Incarnation `json:"incarnation"`
	PeerAddress string           `json:"peerAddress"`
}

// TokenHash is what is stored and told of a token.
func TokenHash(token string) string { return hashText("token", token) }

// hashText hashes words so that no two lists of words look the same.
func hashText(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		_ = binary.Write(h, binary.BigEndian, uint64(len(w))) // a hash never fails
		h.Write([]byte(w))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// idBits leaves room above the derived IDs for those that are given out later.
const idBits = 48

// MemberID derives the ID of a static member.
func MemberID(token, name string) raft.NodeID {
	sum := sha256.Sum256([]byte(hashText("member", token, name)))
	return raft.NodeID(binary.BigEndian.Uint64(sum[:8]) >> (64 - idBits))
}

// outline is the table without incarnations.
func outline(token string, members []StaticMember) (Table, error) {
	t := Table{Token: TokenHash(token)}
	names := map[raft.NodeID]string{}
	for _, m := range members {
		id := MemberID(token, m.Name)
		if other, taken := names[id]; taken || id == 0 {
			return Table{}, fmt.Errorf("the names %q and %q give the same member ID with this token: choose another --initial-cluster-token", other, m.Name)
		}
		names[id] = m.Name
		t.Members = append(t.Members, TableMember{Name: m.Name, ID: id, PeerAddress: m.PeerAddress})
	}
	slices.SortFunc(t.Members, func(a, b TableMember) int { return strings.Compare(a.Name, b.Name) })
	return t, nil
}

// Find returns the member of that name.
func (t Table) Find(name string) (TableMember, bool) {
	for _, m := range t.Members {
		if m.Name == name {
			return m, true
		}
	}
	return TableMember{}, false
}

func (t Table) clone() Table {
	t.Members = slices.Clone(t.Members)
	return t
}

func (t Table) equal(o Table) bool { return t.Token == o.Token && slices.Equal(t.Members, o.Members) }

// sameOutline tells whether both were made from the same flags.
func (t Table) sameOutline(o Table) bool {
	return t.Token == o.Token && slices.EqualFunc(t.Members, o.Members, func(a, b TableMember) bool {
		a.Incarnation, b.Incarnation = 0, 0
		return a == b
	})
}

// ClusterID is derived from the whole table, incarnations included: the same names on new directories are another cluster.
func (t Table) ClusterID() raft.ClusterID {
	words := []string{"cluster", t.Token}
	for _, m := range t.Members {
		words = append(words, m.Name, m.ID.String(), m.Incarnation.String(), m.PeerAddress)
	}
	sum := sha256.Sum256([]byte(hashText(words...)))
	return raft.ClusterID(max(1, binary.BigEndian.Uint64(sum[:8])))
}

// Membership is what every member of the table starts with.
func (t Table) Membership() raft.Membership {
	members := make([]raft.Member, 0, len(t.Members))
	for _, m := range t.Members {
		members = append(members, raft.Member{ID: m.ID, Incarnation: m.Incarnation, Name: m.Name, PeerAddress: m.PeerAddress})
	}
	return FirstMembership(members...)
}

func storeTable(path string, t Table) error {
	document, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return tableKind.Write(path, append(document, '\n'))
}

// loadTable returns nil when there is none.
func loadTable(path string) (*Table, error) {
	document, err := tableKind.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the static cluster's table cannot be read: %w; restore the file from a backup of this directory", err)
	}
	var t Table
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		return nil, &sealedfile.Error{File: path, Offset: decoder.InputOffset(), Reason: "the document makes no sense: " + err.Error()}
	}
	return &t, nil
}
