package raft

import (
	"fmt"

	"github.com/raftkv/raftkv/raft/quorum"
	"github.com/raftkv/raftkv/raft/tracker"
)

// campaign starts an election, at first without touching the term (thesis §9.6): a member that cannot win does
// not disturb those that have a leader.
func (c *Core) campaign(trigger string) {
	c.transition(RolePreCandidate, trigger)
	c.leader = 0
	c.failReads()
	c.resetElectionTimer()
	clear(c.votes)
	c.votes[c.id] = true
	if c.electorate.tally(c.votes) == quorum.Won {
		c.becomeCandidate(trigger, false)
		return
	}
	c.requestVotes(MsgPreVote, c.term+1, false)
}

// becomeCandidate starts a real election in a new term (§5.2). The member's own vote counts once it is stored.
func (c *Core) becomeCandidate(trigger string, transfer bool) {
	c.setTerm(c.term+1, c.id)
	c.transition(RoleCandidate, trigger)
	c.leader = 0
	c.failReads()
	c.resetElectionTimer()
	clear(c.votes)
	c.send(Message{Type: MsgVoteResponse, To: c.id})
	c.requestVotes(MsgVote, c.term, transfer)
}

func (c *Core) requestVotes(kind MessageType, term Term, transfer bool) {
	last := c.log.last()
	for _, id := range c.electorate.all {
		if id != c.id {
			c.send(Message{Type: kind, To: id, Term: term, Index: last.Index, LogTerm: last.Term, Transfer: transfer})
		}
	}
}

// stepVoteRequest grants a vote to at most one candidate in a term (§5.2), whose log is at least as up to date as
// this member's (§5.4.1). A learner answers too: it may be a voter that has not heard of its promotion.
func (c *Core) stepVoteRequest(m Message) {
	var free bool
	if m.Type == MsgPreVote {
		free = m.Term > c.term
	} else {
		free = c.vote == m.From || (c.vote == 0 && c.leader == 0)
	}
	last := c.log.last()
	upToDate := m.LogTerm > last.Term || (m.LogTerm == last.Term && m.Index >= last.Index)
	answer := Message{Type: MsgVoteResponse, To: m.From}
	if m.Type == MsgPreVote {
		answer.Type = MsgPreVoteResponse
	}
	if !free || !upToDate {
		answer.Reject = true
		c.send(answer)
		return
	}
	if m.Type == MsgPreVote {
		answer.Term = m.Term
	} else {
		if c.vote == 0 {
			c.vote = m.From
			c.hardDirty = true
		}
		c.electionElapsed = 0
	}
	c.send(answer)
}

func (c *Core) stepVoteResponse(m Message) {
	switch {
	case m.Type == MsgPreVoteResponse && c.role == RolePreCandidate && (m.Reject || m.Term == c.term+1):
	case m.Type == MsgVoteResponse && c.role == RoleCandidate:
	default:
		return
	}
	if _, counted := c.votes[m.From]; !counted {
		c.votes[m.From] = !m.Reject
	}
	switch c.electorate.tally(c.votes) {
	case quorum.Won:
		if c.role == RolePreCandidate {
			c.becomeCandidate(TriggerPreVoteWon, false)
		} else {
			c.becomeLeader()
		}
	case quorum.Lost:
		c.becomeFollower(c.term, 0, TriggerElectionLost)
	}
}

func (c *Core) becomeFollower(term Term, leader NodeID, trigger string) {
	if term > c.term {
		c.setTerm(term, 0)
	}
	if c.role == RoleLeader && c.transferTo != 0 {
		trigger = c.transferTrigger
	}
	c.transition(RoleFollower, trigger)
	if leader != c.leader {
		c.failReads()
	}
	c.leaveLeadership()
	c.leader = leader
	c.resetElectionTimer()
}

func (c *Core) setTerm(term Term, vote NodeID) {
	if term <= c.term {
		broken("the term would go from %d to %d", c.term, term)
	}
	c.term, c.vote = term, vote
	c.hardDirty = true
	c.verified, c.ackPending = 0, false
}

// becomeLeader takes over the term: its first entry commits what earlier terms left behind (§5.4.2, §8).
func (c *Core) becomeLeader() {
	c.transition(RoleLeader, TriggerElectionWon)
	c.leader = c.id
	c.heartbeatElapsed = 0
	c.transferTo = 0
	c.reads = leaderReads{}
	clear(c.promises)
	c.leaseGivenUp = false
	clear(c.progress)
	c.membershipChanged()
	c.uncommittedBytes = c.log.size(c.commit+1, c.log.last().Index)
	c.beginRounds()
	c.appendOwn(Entry{Type: EntryEmpty})
	c.broadcastHeartbeat()
}

func (c *Core) leaveLeadership() {
	c.transferTo = 0
	c.uncommittedBytes = 0
	clear(c.progress)
	c.peers = c.peers[:0]
}

func (c *Core) tickLeader() {
	c.expireReads()
	if c.transferTo != 0 && c.now >= c.transferDeadline {
		c.transferTo = 0
	}
	c.relieveStalledDisk()
	c.tickRounds()
	c.heartbeatElapsed++
	if c.heartbeatElapsed < c.cfg.HeartbeatTicks {
		return
	}
	c.heartbeatElapsed = 0
	// A leader that a quorum does not answer makes room for another (thesis §6.2).
	if !c.electorate.hasQuorum(c.active) {
		c.becomeFollower(c.term, 0, TriggerQuorumSilent)
		return
	}
	c.broadcastHeartbeat()
}

// active tells whether the member was heard from within an election timeout.
func (c *Core) active(id NodeID) bool {
	if id == c.id {
		return true
	}
	p := c.progress[id]
	return p != nil && c.now-p.HeardTick <= uint64(c.cfg.ElectionTicks)
}

func (c *Core) transition(to Role, trigger string) {
	if to == c.role {
		return
	}
	c.out.Transitions = append(c.out.Transitions, Transition{From: c.role, To: to, Term: c.term, Trigger: trigger})
	c.role = to
}

// Transfer hands leadership to a voter (thesis §3.10); zero picks the one that is most caught up. Proposals
// are refused until it is done or an election timeout has passed.
func (c *Core) Transfer(to NodeID) error { return c.handOver(to, TriggerTransferred) }

func (c *Core) handOver(to NodeID, trigger string) error {
	if c.role != RoleLeader {
		return ErrNotLeader
	}
	if to == 0 {
		to = c.bestSuccessor()
		if to == 0 {
			return fmt.Errorf("%w: no other voter is active", ErrTransferRefused)
		}
	}
	if to == c.id {
		return nil
	}
	p := c.progress[to]
	if m, ok := c.membership().Find(to); !ok || m.Learner || p == nil {
		return fmt.Errorf("%w: member %s has no vote, or is about to lose it, and cannot lead", ErrTransferRefused, to)
	}
	c.transferTo, c.transferTrigger = to, trigger
	c.transferDeadline = c.now + uint64(c.cfg.ElectionTicks)
	c.continueTransfer(p)
	return nil
}

// bestSuccessor returns the active voter that is most caught up, of the incoming configuration while the membership is joint.
func (c *Core) bestSuccessor() NodeID {
	var best NodeID
	for _, id := range c.electorate.voters {
		if id != c.id && c.active(id) && (best == 0 || c.progress[id].Match > c.progress[best].Match) {
			best = id
		}
	}
	return best
}

// continueTransfer lets the successor start its election once it has the whole log.
func (c *Core) continueTransfer(p *tracker.Progress) {
	if Index(p.Match) == c.log.last().Index {
		c.giveLeaseUp()
		c.send(Message{Type: MsgTimeoutNow, To: c.transferTo})
	}
}

// LeaderGone tells a follower that the process that leads has ended: its port is closed, or another process
// answers there. The follower forgets the leader, so that it grants pre-votes at once, and stands for election itself after a
// short random time instead of a whole election timeout. Nothing rests on it: pre-vote and vote are as always, and while the follower
// has promised the leader its lease, nothing happens.
func (c *Core) LeaderGone(id NodeID) {
	if c.role != RoleFollower || c.leader != id || id == 0 || c.promised() {
		return
	}
	c.failReads()
	c.leader = 0
	c.leaderGone = true
	c.electionElapsed = 0
	c.electionTimeout = 1 + c.cfg.Random(c.cfg.ElectionTicks/2)
}
