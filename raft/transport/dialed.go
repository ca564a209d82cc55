package transport

import (
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Dialed returns whom a member connects to, itself among them: current is the membership in force, committed the newest known to be committed here, and told the
// newest that another member has told of, which is committed (the zero one if none has). Who is not connected to is not answered either.
func Dialed(current, committed, told raft.Membership) []raft.Member {
	there := dialed(told, told)
	if told.Index > current.Index {
		return there
	}
	here := dialed(current, committed)
	if told.Index > committed.Index {
		// What is in force here may never be committed, and may lack who was added instead.
		for _, m := range there {
			if !slices.ContainsFunc(here, func(x raft.Member) bool { return x.ID == m.ID }) {
				here = append(here, m)
			}
		}
	}
	return here
}

// dialed is all members, and those whose removal is not committed yet. A new learner is left out until it is committed that the ID belongs to its incarnation, by
// its addition or its claim: it would believe for good that the ID is its own. One that is invited is nobody yet.
func dialed(current, committed raft.Membership) []raft.Member {
	var out []raft.Member
	for _, m := range current.Members {
		if old, known := committed.Find(m.ID); !m.Invited() && (known && old.Incarnation == m.Incarnation || !m.Learner) {
			out = append(out, m)
		}
	}
	for _, m := range committed.Members {
		if _, kept := current.Find(m.ID); !kept && !m.Invited() {
			out = append(out, m)
		}
	}
	return out
}
