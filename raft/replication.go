package raft

import "github.com/raftkv/raftkv/raft/tracker"

// Propose appends one entry for each element of data to the leader's log, all or none. It returns the index of
// the first; they are in term. The data must not be changed afterwards.
func (c *Core) Propose(data [][]byte) (first Index, term Term, err error) {
	if err := c.mayPropose(); err != nil {
		return 0, 0, err
	}
	size := 0
	for _, d := range data {
		if len(d) > c.cfg.MaxEntryBytes {
			return 0, 0, ErrTooLarge
		}
		size += Entry{Data: d}.EncodedSize()
	}
	if c.uncommittedBytes > 0 && c.uncommittedBytes+size > c.cfg.MaxUncommittedBytes {
		return 0, 0, ErrBusy
	}
	first = c.log.last().Index + 1
	for _, d := range data {
		c.appendOwn(Entry{Type: EntryNormal, Data: d})
	}
	return first, c.term, nil
}

func (c *Core) mayPropose() error {
	switch {
	case c.role != RoleLeader:
		return ErrNotLeader
	case c.transferTo != 0:
		return ErrTransferring
	}
	return nil
}

func (c *Core) appendOwn(e Entry) {
	e.Term, e.Index = c.term, c.log.last().Index+1
	c.log.appendOne(e)
	c.uncommittedBytes += e.EncodedSize()
}

// advanceCommit commits what a quorum has stored, if its last entry is of the leader's own term (§5.4.2).
func (c *Core) advanceCommit() {
	index := Index(c.electorate.reached(c.matchOf))
	if index <= c.commit {
		return
	}
	if t, ok := c.log.term(index); !ok || t != c.term {
		return
	}
	c.uncommittedBytes -= c.log.size(c.commit+1, index)
	c.commitTo(index)
}

// sendAppends brings every follower up to date as far as its window allows. It runs once for all inputs
// since the last effects, so that what came in together goes out together.
func (c *Core) sendAppends() {
	for _, id := range c.peers {
		p, end := c.progress[id], c.endFor(id)
		for c.sendAppend(id, p, end) && Index(p.Next) <= end {
		}
	}
}

// endFor returns the last entry that a follower is to have at present. A learner gets what is committed only. With more it could keep
// the voters from electing a leader for ever: it may be asked for its vote, by one whose log says that it was promoted, and would refuse
// that to all whose logs end before its own, and it may not stand itself. So that nobody who stands for nothing has a newer log than
// all who stand: of the voters of the last committed membership any majority has a member with all that is committed, and that one may
// stand (mayCampaign).
func (c *Core) endFor(id NodeID) Index {
	if c.electorate.has(id) {
		return c.log.last().Index
	}
	return c.commit
}

// sendAppend sends one append message if there is something to say, with entries up to end at most, and tells whether it sent entries.
func (c *Core) sendAppend(id NodeID, p *tracker.Progress, end Index) bool {
	if p.State == tracker.Snapshot {
		return false
	}
	news := Index(p.Next) <= end && p.Ready()
	probe := p.State == tracker.Probe && !p.Paused
	tellCommit := p.State == tracker.Replicate && Index(p.SentCommit) < c.commit
	if !news && !probe && !tellCommit {
		return false
	}
	prev := Index(p.Next) - 1
	prevTerm, ok := c.log.term(prev)
	if !ok {
		if c.active(id) && p.SnapshotDue(c.now) {
			p.BecomeSnapshot()
			c.out.SendSnapshots = append(c.out.SendSnapshots, id)
		}
		return false
	}
	m := Message{Type: MsgAppend, To: id, Index: prev, LogTerm: prevTerm, Commit: c.commit}
	p.SentCommit = uint64(c.commit)
	if news {
		var size int
		m.Entries, size = c.log.limited(prev+1, end, c.cfg.MaxAppendBytes)
		p.Sent(uint64(m.Entries[len(m.Entries)-1].Index), size)
	} else if probe {
		p.Paused = true
	}
	c.send(m)
	return news && p.State == tracker.Replicate
}

func (c *Core) stepAppendResponse(p *tracker.Progress, m Message) {
	if m.Reject {
		if p.Reject(uint64(m.Index), uint64(c.matchHint(m))) {
			p.SentCommit = 0
		}
		return
	}
	if m.Index > c.log.last().Index {
		broken("member %s acknowledged %d, the log ends at %d", m.From, m.Index, c.log.last().Index)
	}
	if !p.Acknowledge(uint64(m.Index)) {
		return
	}
	if p.Restored != 0 && c.caughtUp(m.From) {
		p.Restored = 0
	}
	c.advanceCommit()
	if c.transferTo == m.From {
		c.continueTransfer(p)
	}
}

// matchHint finds where the follower's log may match, from the term of its last candidate: every term that
// differs is skipped in one round instead of one entry a round (§5.3).
func (c *Core) matchHint(m Message) Index {
	return c.log.lastNotAbove(m.Hint, m.LogTerm)
}

func (c *Core) broadcastHeartbeat() {
	var sent Index
	if c.cfg.LeaseReads {
		sent = Index(c.clock) + 1
	}
	for _, id := range c.peers {
		c.send(Message{
			Type: MsgHeartbeat, To: id, Index: sent,
			Commit:  min(c.commit, Index(c.progress[id].Match)),
			Context: c.reads.round,
		})
	}
}

func (c *Core) stepHeartbeatResponse(p *tracker.Progress, m Message) {
	if p.HeartbeatAnswered() {
		// Nothing came back for what is in flight: ask where the follower is. It refuses if messages were lost.
		if t, ok := c.log.term(Index(p.Next) - 1); ok {
			c.send(Message{Type: MsgAppend, To: m.From, Index: Index(p.Next) - 1, LogTerm: t, Commit: c.commit})
		} else {
			p.BecomeProbe()
		}
	}
	c.noteLease(m.From, uint64(m.Index), uint64(m.Hint))
	p.ReadRound = max(p.ReadRound, m.Context)
	c.releaseReads()
}

// stepFromLeader takes what the leader of the present term sends.
func (c *Core) stepFromLeader(m Message) {
	if c.role == RoleLeader {
		broken("member %s leads term %d too", m.From, m.Term)
	}
	if c.role != RoleFollower || c.leader != m.From {
		c.becomeFollower(m.Term, m.From, TriggerLeaderKnown)
	}
	c.electionElapsed = 0
	switch m.Type {
	case MsgHeartbeat:
		c.commitTo(m.Commit)
		answer := Message{Type: MsgHeartbeatResponse, To: m.From, Context: m.Context}
		if c.cfg.LeaseReads && m.Index != 0 {
			answer.Index, answer.Hint = m.Index, Index(c.makePromise())
		}
		c.send(answer)
	case MsgAppend:
		c.stepAppend(m)
	case MsgSnapshot:
		c.stepSnapshot(m)
	}
}

// stepAppend is the receiver's side of AppendEntries (Figure 2).
func (c *Core) stepAppend(m Message) {
	if m.Index < c.commit {
		// All that is committed matches; entries that the message has beyond are sent again.
		c.accept(c.commit)
		return
	}
	if !c.log.has(Position{m.Index, m.LogTerm}) {
		hint := c.log.lastNotAbove(m.Index, m.LogTerm)
		t, _ := c.log.term(hint)
		c.send(Message{Type: MsgAppendResponse, To: m.From, Reject: true, Index: m.Index, Hint: hint, LogTerm: t})
		return
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if c.log.has(Position{e.Index, e.Term}) {
			continue
		}
		c.replaceFrom(m.Entries[i:])
		break
	}
	end := m.Index + Index(len(m.Entries))
	c.accept(end)
	c.commitTo(min(m.Commit, end))
}

// replaceFrom appends the entries; what conflicts with the first of them goes (§5.3).
func (c *Core) replaceFrom(entries []Entry) {
	if at := entries[0].Index; at <= c.log.last().Index {
		if at <= c.commit {
			broken("entry %d is committed and would be replaced", at)
		}
		c.log.truncate(at)
		c.dropConfigurationsFrom(at)
	}
	c.log.append(entries)
	if err := c.noteConfigurations(entries); err != nil {
		broken("%v", err)
	}
}

// accept notes that the log equals the leader's up to index. The answer waits until all of it is stored: the leader
// counts nothing else, and one answer then stands for many messages.
func (c *Core) accept(index Index) {
	c.verified = max(c.verified, index)
	if c.verified <= c.log.stored {
		c.acknowledge()
	} else {
		c.ackPending = true
	}
}

// acknowledge tells the leader how much of what it sent is stored.
func (c *Core) acknowledge() {
	c.ackPending = c.log.stored < c.verified
	if c.leader != 0 {
		c.send(Message{Type: MsgAppendResponse, To: c.leader, Index: min(c.verified, c.log.stored)})
	}
}

// Unreachable tells the leader that messages to a follower were lost on the way.
func (c *Core) Unreachable(id NodeID) {
	if p := c.progress[id]; p != nil && p.State == tracker.Replicate {
		p.BecomeProbe()
		p.Paused = true
	}
}
