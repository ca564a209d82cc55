package raft

import (
	"slices"

	"github.com/raftkv/raftkv/raft/quorum"
)

// electorate is who decides: the voters of the membership in force and, while that is joint, those of the outgoing
// configuration as well. Every decision needs a majority of each (§6).
type electorate struct {
	voters, outgoing []NodeID
	all              []NodeID // both, sorted
	scratch          []uint64
}

func electorateOf(m Membership) electorate {
	return electorate{voters: m.Voters(), outgoing: m.OutgoingVoters(), all: m.Electors()}
}

func (e *electorate) has(id NodeID) bool { return slices.Contains(e.all, id) }

// isSole tells whether id alone makes every quorum.
func (e *electorate) isSole(id NodeID) bool { return len(e.all) == 1 && e.all[0] == id }

// reached returns the highest value that a quorum has reached.
func (e *electorate) reached(of func(NodeID) uint64) uint64 {
	value := e.majorityReached(e.voters, of)
	if len(e.outgoing) > 0 {
		value = min(value, e.majorityReached(e.outgoing, of))
	}
	return value
}

func (e *electorate) majorityReached(voters []NodeID, of func(NodeID) uint64) uint64 {
	e.scratch = e.scratch[:0]
	for _, id := range voters {
		e.scratch = append(e.scratch, of(id))
	}
	return quorum.Committed(e.scratch)
}

func (e *electorate) hasQuorum(has func(NodeID) bool) bool {
	return e.reached(func(id NodeID) uint64 {
		if has(id) {
			return 1
		}
		return 0
	}) == 1
}

// tally tells how an election stands; votes holds the answers that have come.
func (e *electorate) tally(votes map[NodeID]bool) quorum.Outcome {
	outcome := majorityTally(e.voters, votes)
	if len(e.outgoing) > 0 {
		outcome = quorum.Both(outcome, majorityTally(e.outgoing, votes))
	}
	return outcome
}

func majorityTally(voters []NodeID, votes map[NodeID]bool) quorum.Outcome {
	granted, refused := 0, 0
	for _, id := range voters {
		if yes, ok := votes[id]; ok && yes {
			granted++
		} else if ok {
			refused++
		}
	}
	return quorum.Vote(len(voters), granted, refused)
}
