package raft

// Status is a picture of the core at one moment. It shares nothing with the core.
type Status struct {
	ID     NodeID
	Role   Role
	Term   Term
	Vote   NodeID
	Leader NodeID

	LogStart Position
	Last     Position
	Stored   Index
	Commit   Index
	Applied  Index

	Membership      Membership
	ConfigIndex     Index
	ConfigCommitted bool
	// CommittedInTerm says that a leader has committed an entry of its own term.
	CommittedInTerm bool
	TransferTo      NodeID
	// Progress is what a leader knows of the other members.
	Progress map[NodeID]FollowerStatus
}

// FollowerStatus is what a leader knows of one member.
type FollowerStatus struct {
	Match, Next      Index
	State            string
	Active           bool
	CaughtUp         bool
	InflightMessages int
	InflightBytes    int
	LagEntries       uint64
}

// Status returns a picture of the core.
func (c *Core) Status() Status {
	s := Status{
		ID: c.id, Role: c.Role(), Term: c.term, Vote: c.vote, Leader: c.leader,
		LogStart: c.log.start, Last: c.log.last(), Stored: c.log.stored, Commit: c.commit, Applied: c.applied,
		Membership: c.membership().Clone(), ConfigIndex: c.configIndex(), ConfigCommitted: c.configIndex() <= c.commit,
		CommittedInTerm: c.committedInTerm(), TransferTo: c.transferTo,
	}
	if c.role != RoleLeader {
		return s
	}
	s.Progress = make(map[NodeID]FollowerStatus, len(c.peers))
	for _, id := range c.peers {
		p := c.progress[id]
		s.Progress[id] = FollowerStatus{
			Match: Index(p.Match), Next: Index(p.Next), State: p.State.String(),
			Active: c.active(id), CaughtUp: c.caughtUp(id),
			InflightMessages: p.Inflight.Len(), InflightBytes: p.Inflight.Bytes(),
			LagEntries: uint64(s.Last.Index) - p.Match,
		}
	}
	return s
}

// Role returns what the member does at present; a follower without a vote is a learner.
func (c *Core) Role() Role {
	if c.role == RoleFollower && !c.isVoter {
		return RoleLearner
	}
	return c.role
}

// Term returns the current term.
func (c *Core) Term() Term { return c.term }

// Leader returns the leader of the current term, zero if it is not known.
func (c *Core) Leader() NodeID { return c.leader }

// LogBytes returns the bytes of the log in memory.
func (c *Core) LogBytes() int { return c.log.bytes }

// LogStart returns the position behind which the log in memory begins.
func (c *Core) LogStart() Position { return c.log.start }
