package raft

import "github.com/raftkv/raftkv/raft/tracker"

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
	// ClusterVersion is the feature level that is committed.
	ClusterVersion uint32

	// LogEntries and LogBytes are those of the log in memory.
	LogEntries uint64
	LogBytes   int
	// UncommittedBytes are a leader's proposals that are not committed; ApplyingBytes the committed entries handed out that were
	// not reported applied.
	UncommittedBytes, ApplyingBytes int
	// PendingReads wait for a round, for its answers, or for the leader; GatedMessages for term and vote to be stored.
	PendingReads, GatedMessages int
	// UnstoredRequests are on their way to stable storage, the oldest for StorageWaitTicks; StorageStalled says that this is too
	// long (Config.StorageStallTicks).
	UnstoredRequests int
	StorageWaitTicks uint64
	StorageStalled   bool
	// LeaseTicks is for how long a leader may still answer reads without a round; zero when it may not.
	LeaseTicks uint64

	// Progress is what a leader knows of the other members.
	Progress map[NodeID]FollowerStatus
}

// FollowerStatus is what a leader knows of one member.
type FollowerStatus struct {
	Match, Next Index
	State       string
	Active      bool
	// CaughtUp says that it is active, lacks at most PromoteLagEntries, and nothing that was committed two election timeouts ago: a
	// learner may be promoted.
	CaughtUp         bool
	InflightMessages int
	InflightBytes    int
	// LagEntries and LagBytes are what is not known to be on its stable storage; of what was compacted only the entries count.
	LagEntries uint64
	LagBytes   int
	// SnapshotPending says that it needs a snapshot, which is on its way.
	SnapshotPending bool
	// HeardTicksAgo is how long ago it was last heard from.
	HeardTicksAgo uint64
	Learner       bool
}

// Status returns a picture of the core.
func (c *Core) Status() Status {
	s := Status{
		ID: c.id, Role: c.Role(), Term: c.term, Vote: c.vote, Leader: c.leader,
		LogStart: c.log.start, Last: c.log.last(), Stored: c.log.stored, Commit: c.commit, Applied: c.applied,
		Membership: c.membership().Clone(), ConfigIndex: c.configIndex(), ConfigCommitted: c.configIndex() <= c.commit,
		CommittedInTerm: c.committedInTerm(), TransferTo: c.transferTo, ClusterVersion: c.versions.at(c.commit),
		LogEntries: uint64(c.log.last().Index - c.log.start.Index), LogBytes: c.log.bytes(),
		UncommittedBytes: c.uncommittedBytes, ApplyingBytes: c.applyingBytes,
		PendingReads:  len(c.reads.waiting) + len(c.reads.inFlight) + len(c.asked),
		GatedMessages: len(c.gated), UnstoredRequests: len(c.log.writes),
		StorageWaitTicks: c.oldestWriteTicks(), StorageStalled: c.storageStalled(),
	}
	if c.role != RoleLeader {
		return s
	}
	if until := c.leaseUntil(); until > c.clock {
		s.LeaseTicks = min(until-c.clock, uint64(c.cfg.ElectionTicks))
	}
	s.Progress = make(map[NodeID]FollowerStatus, len(c.peers))
	for _, id := range c.peers {
		p := c.progress[id]
		s.Progress[id] = FollowerStatus{
			Match: Index(p.Match), Next: Index(p.Next), State: p.State.String(),
			Active: c.active(id), CaughtUp: c.caughtUp(id),
			InflightMessages: p.Inflight.Len(), InflightBytes: p.Inflight.Bytes(),
			LagEntries: uint64(s.Last.Index) - p.Match, LagBytes: c.log.size(max(Index(p.Match), s.LogStart.Index)+1, s.Last.Index),
			SnapshotPending: p.State == tracker.Snapshot, HeardTicksAgo: c.now - p.HeardTick, Learner: !c.electorate.has(id),
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

// EntryPlaceBytes is what an entry of the log takes in memory beside its data. With small ones that is most of it.
const EntryPlaceBytes = 56

// LogMemory returns what the log in memory takes, in bytes, with the places of its entries.
func (c *Core) LogMemory() int {
	return c.log.bytes() + EntryPlaceBytes*int(c.log.last().Index-c.log.start.Index)
}

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
