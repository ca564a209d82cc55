package raft

import (
	"fmt"
	"strconv"
)

// Term is Raft's logical clock (§5.1). Zero means "before any election".
type Term uint64

// Index is a position in the log; the first entry has index 1 (§5.3). Zero means "none".
type Index uint64

// NodeID is the ID of a member: one incarnation of one data directory. It is given out
// when the member is added and is never used again. Zero means "none".
type NodeID uint64

// ClusterID tells clusters apart. Zero means "none".
type ClusterID uint64

// Incarnation is the random number that a data directory draws when it is first used.
// The membership binds every NodeID to one Incarnation. Zero means "none".
type Incarnation uint64

// The text form of the four identifiers is lower-case hexadecimal without a prefix; zero is "0".

func (id NodeID) String() string     { return strconv.FormatUint(uint64(id), 16) }
func (c ClusterID) String() string   { return strconv.FormatUint(uint64(c), 16) }
func (i Incarnation) String() string { return strconv.FormatUint(uint64(i), 16) }

// MarshalText writes the hexadecimal text form.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText writes the hexadecimal text form.
func (c ClusterID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalText writes the hexadecimal text form.
func (i Incarnation) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads the hexadecimal text form; empty means zero.
func (id *NodeID) UnmarshalText(text []byte) error {
	v, err := parseHex("member ID", text)
	*id = NodeID(v)
	return err
}

// UnmarshalText reads the hexadecimal text form; empty means zero.
func (c *ClusterID) UnmarshalText(text []byte) error {
	v, err := parseHex("cluster ID", text)
	*c = ClusterID(v)
	return err
}

// UnmarshalText reads the hexadecimal text form; empty means zero.
func (i *Incarnation) UnmarshalText(text []byte) error {
	v, err := parseHex("incarnation", text)
	*i = Incarnation(v)
	return err
}

func parseHex(what string, text []byte) (uint64, error) {
	if len(text) == 0 {
		return 0, nil
	}
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q: want at most 16 hexadecimal digits", what, text)
	}
	return v, nil
}

// EntryType says who interprets an entry's data.
type EntryType uint8

const (
	// EntryNormal carries a command of the state machine.
	EntryNormal EntryType = iota + 1
	// EntryEmpty is the no-op that a leader appends at the start of its term (§8).
	EntryEmpty
	// EntryMembership carries the encoded Membership that is in force from this entry on (§6).
	EntryMembership
	// EntryClusterVersion carries the feature level that every member can read, as a big-endian uint32.
	EntryClusterVersion
)

func (t EntryType) String() string {
	switch t {
	case EntryNormal:
		return "normal"
	case EntryEmpty:
		return "empty"
	case EntryMembership:
		return "membership"
	case EntryClusterVersion:
		return "cluster-version"
	}
	return "entry-type-" + strconv.Itoa(int(t))
}

// Entry is one slot of the replicated log. Data is never changed after the entry was made: log,
// wire and WAL share it.
type Entry struct {
	Term  Term
	Index Index
	Type  EntryType
	Data  []byte
}

// HardState is what a member must have on stable storage before any message of its term leaves
// (Figure 2, "persistent state"). The log's entries are stored beside it.
type HardState struct {
	Term Term
	Vote NodeID
}

// SnapshotMeta describes a state machine's state: everything up to and including Index is in it (§7).
type SnapshotMeta struct {
	Index Index
	Term  Term
	// Membership is the one in force at Index.
	Membership Membership
	// ClusterVersion is the feature level in force at Index.
	ClusterVersion uint32
}

// Role is what a member does at present (§5.1).
type Role uint8

// A learner is a follower that has no vote.
const (
	RoleFollower Role = iota
	RolePreCandidate
	RoleCandidate
	RoleLeader
	RoleLearner
)

func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RolePreCandidate:
		return "pre-candidate"
	case RoleCandidate:
		return "candidate"
	case RoleLeader:
		return "leader"
	case RoleLearner:
		return "learner"
	}
	return "role-" + strconv.Itoa(int(r))
}
