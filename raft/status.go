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

// Commit returns the commit index.
func (c *Core) Commit() Index { return c.commit }

// AppliedIndex returns the index up to which the state machine was reported to have applied the log.
func (c *Core) AppliedIndex() Index { return c.applied }

// ConfigIndex returns the log index of the membership in force.
func (c *Core) ConfigIndex() Index { return c.configIndex() }

// LogBytes returns the bytes of the log in memory.
func (c *Core) LogBytes() int { return c.log.bytes() }

// LogStart returns the position behind which the log in memory begins.
func (c *Core) LogStart() Position { return c.log.start }

// CompactionPoint returns up to where the log may be compacted so that the applied entries that are left are at most
// keepEntries, and at most keepBytes together with those that are not applied yet. It returns at most limit.
func (c *Core) CompactionPoint(limit Index, keepEntries uint64, keepBytes int) Index {
	point := Index(0)
	if uint64(c.applied) > keepEntries {
		point = c.applied - Index(keepEntries)
	}
	return min(max(point, c.log.firstKeeping(keepBytes)), limit, c.applied)
}

// View is the part of the status that changes seldom, cheap to take and to compare.
type View struct {
	Role            Role
	Term            Term
	Leader          NodeID
	ConfigIndex     Index
	ConfigCommitted bool
	CommittedInTerm bool
	TransferPending bool
	// Joint says that a membership change of more than one vote is under way.
	Joint bool
	// ActiveMask has bit i set when a leader heard from member i of the membership within an election timeout.
	ActiveMask uint64
}

// View returns the part of the status that changes seldom.
func (c *Core) View() View {
	v := View{
		Role: c.Role(), Term: c.term, Leader: c.leader,
		ConfigIndex: c.configIndex(), ConfigCommitted: c.configIndex() <= c.commit,
		CommittedInTerm: c.role == RoleLeader && c.committedInTerm(), TransferPending: c.transferTo != 0,
		Joint: c.isJoint(),
	}
	if c.role == RoleLeader {
		for i, m := range c.membership().Members {
			if c.active(m.ID) {
				v.ActiveMask |= 1 << i
			}
		}
	}
	return v
}
