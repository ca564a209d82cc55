package raft

import (
	"encoding/binary"
	"slices"

	"github.com/raftkv/raftkv/raft/tracker"
)

// A membership is in force from the moment it is in the log, committed or not (§6). At most one is
// uncommitted, and each moves at most one vote, so that any two quorums of neighbours overlap (thesis §4.1).

func (c *Core) membership() Membership { return c.memberships[len(c.memberships)-1].membership }

// configIndex returns the log index of the membership in force.
func (c *Core) configIndex() Index { return c.memberships[len(c.memberships)-1].index }

// ProposeChange appends the membership that the change leads to. It was decided on the membership at
// configIndex and is refused when that is not the one in force. It returns the ID of the member concerned and the
// index of the new membership; for a change that is in force already, the index of that.
func (c *Core) ProposeChange(configIndex Index, change Change) (NodeID, Index, error) {
	if err := c.mayPropose(); err != nil {
		return 0, 0, err
	}
	if configIndex != c.configIndex() {
		return 0, 0, ErrConfigMoved
	}
	if c.configIndex() > c.commit || !c.committedInTerm() {
		return 0, 0, ErrChangePending
	}
	next, id, err := c.membership().Apply(change)
	if err != nil {
		return 0, 0, err
	}
	if next.Equal(c.membership()) {
		return id, c.configIndex(), nil
	}
	if change.Kind == ChangePromote && !c.caughtUp(id) {
		return 0, 0, ErrNotCaughtUp
	}
	if !c.quorumActive(next.Voters()) {
		return 0, 0, ErrUnsafeChange
	}
	index := c.log.last().Index + 1
	next.Index = index
	data, err := next.AppendBinary(nil)
	if err != nil {
		return 0, 0, err
	}
	c.appendOwn(Entry{Type: EntryMembership, Data: data})
	c.memberships = append(c.memberships, membershipAt{index, next})
	c.membershipChanged()
	// With fewer voters what was not enough before may be enough now, and nobody may be left to answer.
	c.advanceCommit()
	c.releaseReads()
	return id, index, nil
}

// ProposeClusterVersion appends the feature level that every member can read.
func (c *Core) ProposeClusterVersion(version uint32) (Index, error) {
	if err := c.mayPropose(); err != nil {
		return 0, err
	}
	c.appendOwn(Entry{Type: EntryClusterVersion, Data: binary.BigEndian.AppendUint32(nil, version)})
	return c.log.last().Index, nil
}

func (c *Core) committedInTerm() bool {
	t, ok := c.log.term(c.commit)
	return ok && t == c.term
}

func (c *Core) caughtUp(id NodeID) bool {
	p := c.progress[id]
	return p != nil && c.active(id) && p.State == tracker.Replicate && Index(p.Match)+PromoteLagEntries >= c.log.last().Index
}

func (c *Core) noteMembership(e Entry) error {
	if e.Type != EntryMembership {
		return nil
	}
	var m Membership
	if err := m.UnmarshalBinary(e.Data); err != nil {
		return err
	}
	if m.Index != e.Index {
		broken("the membership of entry %d says that it is entry %d", e.Index, m.Index)
	}
	c.memberships = append(c.memberships, membershipAt{e.Index, m})
	return nil
}

func (c *Core) dropMembershipsFrom(index Index) {
	n := len(c.memberships)
	for n > 1 && c.memberships[n-1].index >= index {
		n--
	}
	if n < len(c.memberships) {
		c.memberships = c.memberships[:n:n]
		c.membershipChanged()
	}
}

// membershipChanged brings what is derived from the membership up to date.
func (c *Core) membershipChanged() {
	m := c.membership()
	c.voters = m.Voters()
	c.isVoter = slices.Contains(c.voters, c.id)
	if c.role != RoleLeader {
		return
	}
	c.peers = c.peers[:0]
	for _, x := range m.Members {
		if x.ID == c.id {
			continue
		}
		c.peers = append(c.peers, x.ID)
		if c.progress[x.ID] == nil {
			window := tracker.NewInflight(c.cfg.MaxInflightMessages, c.cfg.MaxInflightBytes)
			c.progress[x.ID] = tracker.New(uint64(c.log.last().Index)+1, c.now, window)
		}
	}
	for id := range c.progress {
		if !slices.Contains(c.peers, id) {
			delete(c.progress, id)
		}
	}
	if c.transferTo != 0 && !slices.Contains(c.voters, c.transferTo) {
		c.transferTo = 0
	}
}

// mayCampaign tells whether the member may stand for election: a voter, or one whose removal is not known to be
// committed. The others may need its log and its vote until then; its own vote does not count (thesis §4.2.2).
func (c *Core) mayCampaign() bool {
	if c.isVoter {
		return true
	}
	n := len(c.memberships)
	if n < 2 || c.configIndex() <= c.commit {
		return false
	}
	m, ok := c.memberships[n-2].membership.Find(c.id)
	return ok && !m.Learner
}

// leaveIfRemoved ends the leadership of a member that is no voter any more, once that is committed: until
// then it leads without counting itself (thesis §4.2.2).
func (c *Core) leaveIfRemoved() {
	if c.isVoter || c.configIndex() > c.commit {
		return
	}
	if best := c.bestSuccessor(); best != 0 {
		c.send(Message{Type: MsgTimeoutNow, To: best})
	}
	c.becomeFollower(c.term, 0, "the member has no vote any more")
}
