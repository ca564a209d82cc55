package bootstrap

import (
	"encoding/binary"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// FirstClusterVersion is the feature level of every new cluster. It is not this build's: members of different builds must begin
// with the same state. The leader raises it.
const FirstClusterVersion = 1

// The first state is what two entries of term 1 make: the cluster version, then the membership. No log holds them: they are
// applied on each of the first members by itself, and their logs begin behind them.
const (
	versionIndex    = raft.Index(1)
	membershipIndex = raft.Index(2)
	firstTerm       = raft.Term(1)
)

// FirstPosition is where the log of every first member begins.
var FirstPosition = raft.Position{Index: membershipIndex, Term: firstTerm}

// AdminFirstID is the ID of the member that an administrator's bootstrap makes.
const AdminFirstID = raft.NodeID(1)

// FirstMembership is the membership that the given members start with.
func FirstMembership(members ...raft.Member) raft.Membership {
	m := raft.NewMembership(members...)
	m.Index = membershipIndex
	return m
}

// FirstEntries make the first state when they are applied to an empty one. They are the same on all first members.
func FirstEntries(m raft.Membership) ([]raft.Entry, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("the first membership: %w", err)
	}
	members, err := m.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return []raft.Entry{
		{Term: firstTerm, Index: versionIndex, Type: raft.EntryClusterVersion, Data: binary.BigEndian.AppendUint32(nil, FirstClusterVersion)},
		{Term: firstTerm, Index: membershipIndex, Type: raft.EntryMembership, Data: members},
	}, nil
}
