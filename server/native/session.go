package native

import "github.com/raftkv/raftkv/raft"

// A session's ID is an index of its cluster's log, and what takes a cluster's place behind the same addresses, restored from its snapshot or rebuilt
// from a survivor, goes on with the same indexes: a client that lived through that would write into another's session, and be answered with
// what the other has done. So clients are given the ID mixed with that of the cluster. To any other cluster it is a session that has expired.

// sessionMark is above all indexes, so that what is mixed is never zero, which means no session.
const sessionMark = 1 << 63

// outside turns the ID of a session into that which clients know it by, and back.
func outside(session uint64, cluster raft.ClusterID) uint64 {
	if session == 0 {
		return 0
	}
	// Cluster IDs may be chosen and lie close together: spread as by SplitMix64.
	x := uint64(cluster) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return session ^ (x ^ x>>31 | sessionMark)
}
