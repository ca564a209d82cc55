package raft

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft/tracker"
)

// A membership is in force from the moment it is in the log, committed or not (§6). At most one is uncommitted. It differs
// from the one before it by at most one vote, so that any two quorums of neighbours overlap (thesis §4.1), or one of
// the two is joint and needs the quorums of both (thesis §4.3).

func (c *Core) membership() Membership { return c.memberships.last().value }

// configIndex returns the log index of the membership in force.
func (c *Core) configIndex() Index { return c.memberships.last().index }

// ProposeChanges appends the membership that the changes lead to, all of them or none. They were decided on the membership
// at configIndex and are refused when that is not the one in force. It returns the IDs of the members concerned and
// the index of the new membership; for changes that are in force already, the index of that.
//
// When more than one vote moves, the new membership is joint, and the leader ends the joint phase by an entry of its own as
// soon as the first is committed: the changes are complete when a membership that is not joint is committed.
func (c *Core) ProposeChanges(configIndex Index, changes []Change) ([]NodeID, Index, error) {
	if err := c.mayPropose(); err != nil {
		return nil, 0, err
	}
	if configIndex != c.configIndex() {
		return nil, 0, ErrConfigMoved
	}
	if c.configIndex() > c.commit || !c.committedInTerm() || c.isJoint() {
		return nil, 0, ErrChangePending
	}
	next, ids, err := c.membership().ApplyAll(changes)
	if err != nil {
		return nil, 0, err
	}
	if next.Equal(c.membership()) {
		return ids, c.configIndex(), nil
	}
	for i, change := range changes {
		if change.Kind == ChangePromote && !c.electorate.has(ids[i]) && !c.caughtUp(ids[i]) {
			return nil, 0, ErrNotCaughtUp
		}
	}
	if next.Joint() && c.versions.at(c.commit) < JointVersion {
		return nil, 0, ErrJointVersion
	}
	if !next.HasQuorum(c.active) {
		return nil, 0, ErrUnsafeChange
	}
	index, err := c.appendMembership(next)
	return ids, index, err
}

func (c *Core) isJoint() bool { return len(c.electorate.outgoing) > 0 }

// appendMembership appends the entry of a membership, which is in force from there on.
func (c *Core) appendMembership(next Membership) (Index, error) {
	next.Index = c.log.last().Index + 1
	data, err := next.AppendBinary(nil)
	if err != nil {
		return 0, err
	}
	c.appendOwn(Entry{Type: EntryMembership, Data: data})
	c.memberships.push(next.Index, next)
	c.membershipChanged()
	// With fewer voters what was not enough before may be enough now, and nobody may be left to answer.
	c.advanceCommit()
	c.releaseReads()
	return next.Index, nil
}

// leaveJoint ends a joint phase whose beginning is committed (§6). It is the leader's own doing, so that a change is completed
// whoever proposed it and whatever became of them. While leadership is handed over it is left to the successor.
func (c *Core) leaveJoint() {
	if !c.isJoint() || c.configIndex() > c.commit || !c.committedInTerm() || c.transferTo != 0 {
		return
	}
	if _, err := c.appendMembership(c.membership().Leave()); err != nil {
		broken("the end of a joint membership: %v", err)
	}
}

// ProposeClusterVersion appends the feature level that every member can read, and returns the index of its entry. It only ever rises, since
// what was written at a level must stay readable: for one that is not above the last in the log, committed or not, it returns where that was
// brought and appends nothing.
func (c *Core) ProposeClusterVersion(version uint32) (Index, error) {
	if err := c.mayPropose(); err != nil {
		return 0, err
	}
	if last := c.versions.last(); version <= last.value {
		return last.index, nil
	}
	c.appendOwn(Entry{Type: EntryClusterVersion, Data: binary.BigEndian.AppendUint32(nil, version)})
	c.versions.push(c.log.last().Index, version)
	return c.log.last().Index, nil
}

const clusterVersionBytes = 4

func (c *Core) committedInTerm() bool {
	t, ok := c.log.term(c.commit)
	return ok && t == c.term
}

// rounds measure how far behind followers are in time, as the rounds of thesis §4.2.1 do, but for all of them at once: every election
// timeout a round begins, in which a follower has to store what was committed when it began.
type rounds struct {
	// last is the end of the round that began one to two election timeouts ago, present that of the one that began after it, and next
	// the tick at which another begins.
	last, present Index
	next          uint64
}

// beginRounds starts with all that the new leader's log holds: any of it may have been committed long ago.
func (c *Core) beginRounds() {
	end := c.log.last().Index
	c.rounds = rounds{end, end, c.now + uint64(c.cfg.ElectionTicks)}
}

func (c *Core) tickRounds() {
	if r := &c.rounds; c.now >= r.next {
		*r = rounds{r.present, max(r.present, c.commit), c.now + uint64(c.cfg.ElectionTicks)}
	}
}

// caughtUp tells whether a follower lacks little of what it is to have at present, in entries and in time: with large entries, or on a slow
// line, a few may take it longer than a cluster can wait for its vote. Of a learner that is what is committed, however much is on its way
// to the voters.
func (c *Core) caughtUp(id NodeID) bool {
	p := c.progress[id]
	return p != nil && c.active(id) && p.State == tracker.Replicate &&
		Index(p.Match)+PromoteLagEntries >= c.endFor(id) && Index(p.Match) >= c.rounds.last
}

// noteConfigurations takes note of the entries that say something to the core itself.
func (c *Core) noteConfigurations(entries []Entry) error {
	moved := false
	for i := range entries {
		e := &entries[i]
		if e.Type != EntryMembership && e.Type != EntryClusterVersion {
			continue
		}
		if err := c.noteConfiguration(e); err != nil {
			return err
		}
		moved = moved || e.Type == EntryMembership
	}
	if moved {
		c.membershipChanged()
	}
	return nil
}

func (c *Core) noteConfiguration(e *Entry) error {
	switch e.Type {
	case EntryMembership:
		var m Membership
		if err := m.UnmarshalBinary(e.Data); err != nil {
			return err
		}
		if m.Index != e.Index {
			broken("the membership of entry %d says that it is entry %d", e.Index, m.Index)
		}
		c.memberships.push(e.Index, m)
	case EntryClusterVersion:
		if len(e.Data) != clusterVersionBytes {
			return fmt.Errorf("entry %d: a cluster version of %d bytes, want %d", e.Index, len(e.Data), clusterVersionBytes)
		}
		c.versions.push(e.Index, binary.BigEndian.Uint32(e.Data))
	}
	return nil
}

func (c *Core) dropConfigurationsFrom(index Index) {
	c.versions.truncate(index)
	if c.memberships.truncate(index) {
		c.membershipChanged()
	}
}

// membershipChanged brings what is derived from the membership up to date.
func (c *Core) membershipChanged() {
	m := c.membership()
	c.electorate = electorateOf(m)
	c.isVoter = c.electorate.has(c.id)
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
	if c.transferTo != 0 && !slices.Contains(c.electorate.voters, c.transferTo) {
		c.transferTo = 0
	}
}

// mayCampaign tells whether the member may stand for election: a voter, or one whose removal is not known to be
// committed. The others may need its log and its vote until then; its own vote does not count (thesis §4.2.2).
func (c *Core) mayCampaign() bool {
	if c.storageStalled() {
		return false
	}
	if c.isVoter {
		return true
	}
	before, ok := c.memberships.before()
	if !ok || c.configIndex() <= c.commit {
		return false
	}
	m, ok := before.Find(c.id)
	return ok && m.Votes()
}

// leaveIfRemoved ends the leadership of a member that is no voter any more, once that is committed: until
// then it leads without counting itself (thesis §4.2.2).
func (c *Core) leaveIfRemoved() {
	if c.isVoter || c.configIndex() > c.commit {
		return
	}
	if best := c.bestSuccessor(); best != 0 {
		c.giveLeaseUp()
		c.send(Message{Type: MsgTimeoutNow, To: best})
	}
	c.becomeFollower(c.term, 0, TriggerRemoved)
}
