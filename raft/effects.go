package raft

// requestBlock is how many store requests are allocated at once.
const requestBlock = 16

// maxGatedReads bounds the questions for a read index that wait for a slow disk.
const maxGatedReads = 64

// StoreRequest is one write to stable storage. Requests are stored in the order of their Seq.
// Many may be stored by one sync; then only the last needs to be reported.
type StoreRequest struct {
	Seq uint64
	// HardState is to be stored when it is not nil.
	HardState *HardState
	// Snapshot, when it is not nil, is a staged snapshot to install: the state machine takes it over and
	// the log starts anew behind it, unless it holds an entry of the same index and term, after which
	// entries are kept. It comes before Entries.
	Snapshot *SnapshotMeta
	// Entries replace everything stored at or after the index of the first of them.
	Entries []Entry
	// done is what to report.
	done Stored
}

// Done returns what to report to Core.Stored when the request is on stable storage.
func (r *StoreRequest) Done() Stored { return r.done }

// Stored reports that all requests up to and including Seq are on stable storage. Term is the core's
// term when the request was made, Last the last entry of the log then.
type Stored struct {
	Seq  uint64
	Term Term
	Last Position
}

// ReadResult says that the read ID may be answered from a state that has applied Index.
type ReadResult struct {
	ID    uint64
	Index Index
}

// Effects is what the core wants done. Store, Messages and Committed may be worked on in parallel:
// what must wait for the store is not in them yet.
//
// The slices Messages, Reads, FailedReads, Transitions and SendSnapshots are the caller's until the next TakeEffects, which
// uses their arrays again. Store, Committed and the entries of requests and messages are the caller's for good. Nothing of
// it may be changed.
type Effects struct {
	Store *StoreRequest
	// Messages may be sent at once and in any order.
	Messages []Message
	// Committed entries are to be applied in order; each is handed out once. They are all in stable
	// storage of this member.
	Committed []Entry
	// Reads may be answered; FailedReads lost their leader and may be asked again.
	Reads       []ReadResult
	FailedReads []uint64
	// Transitions are the role changes since the last effects, oldest first.
	Transitions []Transition
	// SendSnapshots names followers that need a snapshot; report how it went by SnapshotSent.
	SendSnapshots []NodeID
}

// Transition is a change of role, and what brought it about.
type Transition struct {
	From, To Role
	Term     Term
	Trigger  string
}

type applyBatch struct {
	last  Index
	bytes int
}

type gatedMessage struct {
	seq uint64
	msg Message
}

// TakeEffects returns what is to be done since the last call. See Effects for what of it may be kept.
func (c *Core) TakeEffects() Effects {
	if c.role == RoleLeader {
		c.leaveJoint()
		c.startReadRound()
		c.sendAppends()
		c.leaveIfRemoved()
	}
	c.handOut()
	if c.hardDirty || c.install != nil || c.log.offered < c.log.last().Index {
		c.seq++
		r := c.newRequest()
		r.Seq, r.Snapshot = c.seq, c.install
		if c.hardDirty {
			r.HardState = &HardState{c.term, c.vote}
			c.hardDirty, c.hardSeq = false, c.seq
		}
		c.install = nil
		r.Entries = c.log.offer(c.seq, c.now)
		r.done = Stored{Seq: c.seq, Term: c.term, Last: c.log.last()}
		c.out.Store = r
	}
	out := c.out
	c.out, c.spent = c.spent.reset(), out
	return out
}

// newRequest takes a request from a block of them: there is one for every turn that appends, and it is the caller's for good.
func (c *Core) newRequest() *StoreRequest {
	if len(c.requests) == 0 {
		c.requests = make([]StoreRequest, requestBlock)
	}
	r := &c.requests[0]
	c.requests = c.requests[1:]
	return r
}

// reset empties the effects, but keeps the arrays for the next ones.
func (e *Effects) reset() Effects {
	clear(e.Messages) // entries must not be kept alive by it
	return Effects{
		Messages: e.Messages[:0], Reads: e.Reads[:0], FailedReads: e.FailedReads[:0],
		Transitions: e.Transitions[:0], SendSnapshots: e.SendSnapshots[:0],
	}
}

// handOut gives committed entries to the state machine: those that are on this member's own stable storage, and
// not more bytes at a time than the bound.
func (c *Core) handOut() {
	to := min(c.commit, c.log.stored)
	if to <= c.handed || (c.applyingBytes >= c.cfg.MaxApplyBytes && len(c.applying) > 0) {
		return
	}
	entries, size := c.log.limited(c.handed+1, to, c.cfg.MaxApplyBytes-c.applyingBytes)
	c.handed = entries[len(entries)-1].Index
	c.applying = append(c.applying, applyBatch{c.handed, size})
	c.applyingBytes += size
	c.out.Committed = entries
}

// send hands a message out, at once or when the member's term and vote are on stable storage.
func (c *Core) send(m Message) {
	m.From = c.id
	if m.Term == 0 {
		m.Term = c.term
	}
	need := c.hardSeq
	if c.hardDirty {
		need = c.seq + 1
	}
	if need > c.storedSeq {
		c.gate(gatedMessage{need, m})
		return
	}
	c.out.Messages = append(c.out.Messages, m)
}

// gate lets a message wait. Of answers that supersede each other only the latest is kept, so that what waits for
// a slow disk is bounded.
func (c *Core) gate(g gatedMessage) {
	switch g.msg.Type {
	case MsgReadIndex:
		if len(c.gated) >= maxGatedReads {
			return // the read expires and is asked again
		}
	case MsgAppendResponse, MsgHeartbeatResponse, MsgPreVote, MsgPreVoteResponse:
		for i, old := range c.gated {
			if old.msg.Type == g.msg.Type && old.msg.To == g.msg.To && old.msg.Term == g.msg.Term && old.msg.Context <= g.msg.Context {
				c.gated[i].msg = g.msg
				return
			}
		}
	}
	c.gated = append(c.gated, g)
}

func (c *Core) releaseGated() {
	n := 0
	for ; n < len(c.gated) && c.gated[n].seq <= c.storedSeq; n++ {
		switch m := c.gated[n].msg; {
		case m.To == c.id:
			if m.Term == c.term {
				c.stepVoteResponse(m)
			}
		default:
			c.out.Messages = append(c.out.Messages, m)
		}
	}
	c.gated = append(c.gated[:0], c.gated[n:]...)
}
