package bootstrap

import "github.com/raftkv/raftkv/raft"

// FirstClusterVersion is the feature level of every new cluster. It is not this build's: members of different builds must begin
// with the same state. The leader raises it.
const FirstClusterVersion = 1

// The state that every first member starts from stands in for one entry, which no log holds.
const (
	firstIndex = raft.Index(1)
	firstTerm  = raft.Term(1)
)

// AdminFirstID is the ID of the member that an administrator's bootstrap makes.
const AdminFirstID = raft.NodeID(1)

// FirstState describes the state that the given members start from. It is the same on all of them.
func FirstState(members ...raft.Member) raft.SnapshotMeta {
	membership := raft.NewMembership(members...)
	membership.Index = firstIndex
	return raft.SnapshotMeta{Index: firstIndex, Term: firstTerm, Membership: membership, ClusterVersion: FirstClusterVersion}
}
