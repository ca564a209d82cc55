package raft

// Linearizable reads (thesis §6.4): the leader notes its commit index, makes sure by one round of heartbeats that
// no newer leader existed when the round began, and then the read may see any state at or after that index. All
// reads that wait when a round begins share it. A read joins the next round, never one that was sent already:
// answers to that one may be older than the read.

type leaderReads struct {
	round    uint64 // number of the last round that was begun
	index    Index  // what its reads wait for
	inFlight []pendingRead
	waiting  []pendingRead
}

type pendingRead struct {
	from NodeID // zero: asked here
	id   uint64
}

// askedRead is a read that a follower asked its leader.
type askedRead struct {
	id       uint64
	deadline uint64
}

// ReadIndex asks for the index that a linearizable read must wait for. The answer comes as a ReadResult, or the ID
// in FailedReads. IDs must not be used twice.
func (c *Core) ReadIndex(id uint64) error {
	switch {
	case c.role == RoleLeader:
		return c.enqueueRead(pendingRead{id: id})
	case c.leader == 0:
		return ErrNoLeader
	case len(c.asked) >= c.cfg.MaxPendingReads:
		return ErrBusy
	}
	c.asked = append(c.asked, askedRead{id, c.now + uint64(c.cfg.ElectionTicks)})
	c.send(Message{Type: MsgReadIndex, To: c.leader, Context: id})
	return nil
}

func (c *Core) enqueueRead(r pendingRead) error {
	if len(c.reads.waiting)+len(c.reads.inFlight) >= c.cfg.MaxPendingReads {
		return ErrBusy
	}
	c.reads.waiting = append(c.reads.waiting, r)
	return nil
}

func (c *Core) stepReadIndex(m Message) {
	if c.role != RoleLeader || c.enqueueRead(pendingRead{from: m.From, id: m.Context}) != nil {
		c.send(Message{Type: MsgReadIndexResponse, To: m.From, Context: m.Context, Reject: true})
	}
}

// startReadRound begins a round for the reads that wait, if none is under way. Before an entry of its own term is
// committed a leader does not know what is committed (§8): the reads wait for that.
func (c *Core) startReadRound() {
	r := &c.reads
	if len(r.waiting) == 0 || len(r.inFlight) > 0 || !c.committedInTerm() {
		return
	}
	if c.cfg.LeaseReads && c.leaseHolds() {
		return // the next Advance answers them
	}
	r.round++
	r.index = c.commit
	r.inFlight, r.waiting = r.waiting, nil
	if c.electorate.isSole(c.id) {
		c.releaseReads()
		return
	}
	c.broadcastHeartbeat()
}

// releaseReads answers the reads of the round under way once a quorum has acknowledged it.
func (c *Core) releaseReads() {
	r := &c.reads
	if len(r.inFlight) == 0 {
		return
	}
	if !c.electorate.hasQuorum(c.acknowledgedRound) {
		return
	}
	for _, x := range r.inFlight {
		c.answerRead(x, r.index)
	}
	r.inFlight = nil
}

func (c *Core) answerRead(x pendingRead, index Index) {
	if x.from == 0 {
		c.out.Reads = append(c.out.Reads, ReadResult{x.id, index})
	} else {
		c.send(Message{Type: MsgReadIndexResponse, To: x.from, Context: x.id, Index: index})
	}
}

// acknowledgedRound tells whether the member answered the read round under way.
func (c *Core) acknowledgedRound(id NodeID) bool {
	return id == c.id || c.progress[id].ReadRound >= c.reads.round
}

func (c *Core) stepReadIndexResponse(m Message) {
	for i, a := range c.asked {
		if a.id != m.Context {
			continue
		}
		c.asked = append(c.asked[:i], c.asked[i+1:]...)
		if m.Reject {
			c.out.FailedReads = append(c.out.FailedReads, m.Context)
		} else {
			c.out.Reads = append(c.out.Reads, ReadResult{m.Context, m.Index})
		}
		return
	}
}

// expireReads gives up reads whose question or answer was lost.
func (c *Core) expireReads() {
	n := 0
	for ; n < len(c.asked) && c.asked[n].deadline <= c.now; n++ {
		c.out.FailedReads = append(c.out.FailedReads, c.asked[n].id)
	}
	if n > 0 { // a tick costs nothing that grows with what waits
		c.asked = append(c.asked[:0], c.asked[n:]...)
	}
}

// failReads gives up all reads that waited for the leader of the past.
func (c *Core) failReads() {
	for _, a := range c.asked {
		c.out.FailedReads = append(c.out.FailedReads, a.id)
	}
	c.asked = c.asked[:0]
	for _, r := range [][]pendingRead{c.reads.inFlight, c.reads.waiting} {
		for _, x := range r {
			if x.from == 0 {
				c.out.FailedReads = append(c.out.FailedReads, x.id)
			}
		}
	}
	c.reads = leaderReads{}
}
