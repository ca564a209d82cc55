package node

import (
	"context"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Proposed is one proposal of a batch. ProposeAll sets Result and Err, as Propose returns them.
type Proposed struct {
	// Session and Sequence are those of the session header that Data begins with, if its proposer has a session of its own: the node then neither
	// numbers nor renumbers it, and Result tells of a repeat or an expiry. Sequences begin at 1. Both zero mean that Data is a command alone; one
	// without the other is refused with ErrNotNumbered.
	Session, Sequence uint64
	Data              []byte

	Result any
	Err    error
}

// mark is a proposal's place among those of sessions that are not the node's.
type mark struct{ session, sequence uint64 }

// group is a batch of proposals that are waited for together.
type group struct {
	left atomic.Int64
	// done has room for one word: all are answered.
	done chan struct{}
}

func (g *group) answered() {
	if g.left.Add(-1) == 0 {
		g.done <- struct{}{}
	}
}

// ProposeAll replicates a batch, each proposal of which stands for itself, and returns when all are answered or ctx ends. It costs much less than as
// many calls of Propose.
func (n *Node) ProposeAll(ctx context.Context, batch []Proposed) {
	ps := &n.proposals
	var size int64
	for i := range batch {
		size += int64(len(batch[i].Data))
	}
	count, bytes := ps.count.Add(int64(len(batch))), ps.bytes.Add(size)
	defer ps.leave(len(batch), size)
	others := count > int64(len(batch))
	if len(batch) == 0 || count > MaxProposals || (bytes > MaxProposalBytes && others) {
		n.refuseAll(batch, ErrBusy, "busy")
		return
	}
	if ps.stopping.Load() {
		n.refuseAll(batch, ErrStopped, "unavailable")
		return
	}
	waiting := make([]proposal, len(batch))
	items := make([]*proposal, 0, len(batch))
	g := &group{done: doneChannels.Get().(chan struct{})}
	for i := range batch {
		x := &batch[i]
		switch {
		case len(x.Data) > raft.DefaultMaxEntryBytes-64:
			x.Err = ErrTooLarge
			n.cfg.Observer.Refused("too-large")
			continue
		case (x.Session == 0) != (x.Sequence == 0):
			x.Err = ErrNotNumbered
			n.cfg.Observer.Refused("not-numbered")
			continue
		}
		p := &waiting[i]
		p.command, p.group = x.Data, g
		if x.Session != 0 {
			p.owned, p.session, p.sequence, p.data = true, x.Session, x.Sequence, x.Data
		}
		items = append(items, p)
	}
	if len(items) == 0 {
		return
	}
	g.left.Store(int64(len(items)))
	ps.expect(items)
	if !ps.queue.addAll(items) {
		ps.forgetAll(items)
		n.refuseAll(batch, ErrStopped, "unavailable")
		return
	}
	if others {
		poke(n.wake)
	} else {
		n.hasten(true)
	}
	select {
	case <-g.done:
		doneChannels.Put(g.done)
	case <-ctx.Done():
		n.giveUpAll(items)
	}
	for i := range batch {
		if p := &waiting[i]; p.group != nil {
			batch[i].Result, batch[i].Err = p.result, p.err
			n.countRefusal(p.err)
		}
	}
}

func (n *Node) refuseAll(batch []Proposed, err error, why string) {
	for i := range batch {
		batch[i].Err = err
		n.cfg.Observer.Refused(why)
	}
}

// giveUpAll is the end of the wait for proposals of which some are not answered.
func (n *Node) giveUpAll(items []*proposal) {
	fates := make([]uint32, len(items))
	for i, p := range items {
		fates[i] = p.fate.Swap(fateGivenUp)
	}
	n.proposals.forgetAll(items)
	for i, p := range items {
		switch {
		case fates[i] == fateAnswered || p.fate.Load() == fateAnswered:
		case fates[i] == fateSent:
			p.result, p.err = nil, ErrUnknown
		default:
			p.result, p.err = nil, ErrUnavailable
		}
	}
}

// expect enters the proposals that have sessions of their own among those whose results are looked for.
func (p *proposals) expect(items []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range items {
		if x.owned {
			at := mark{x.session, x.sequence}
			x.twin = p.owned[at]
			p.owned[at] = x
		}
	}
}

func (p *proposals) forgetAll(items []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range items {
		p.forgetOne(x)
	}
}

// forgetOwned takes a proposal out from among its twins. The caller holds mu.
func (p *proposals) forgetOwned(x *proposal) {
	at := mark{x.session, x.sequence}
	first := p.owned[at]
	if first == x {
		if x.twin == nil {
			delete(p.owned, at)
		} else {
			p.owned[at] = x.twin
		}
		return
	}
	for y := first; y != nil; y = y.twin {
		if y.twin == x {
			y.twin = x.twin
			return
		}
	}
}

// resolveOwned answers those who wait for a proposal of another session than the node's. An expired one is its proposer's to judge, who knows
// where else it was sent; here it was applied before at most if a snapshot took the place of entries. The caller holds mu.
func (p *proposals) resolveOwned(h session.Header, result any, expired bool) {
	at := mark{h.Session, h.Sequence}
	first := p.owned[at]
	if first == nil {
		return
	}
	delete(p.owned, at)
	for x := first; x != nil; x = x.twin {
		if expired && x.jumped {
			x.answer(nil, ErrUnknown)
			continue
		}
		x.answer(result, nil)
	}
}

// addAll puts items, unless the queue is closed; see add.
func (q *queue[T]) addAll(items []T) (added bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, items...)
	return true
}

// sessionOf is the node's session in a batch, zero if all have their own.
func sessionOf(batch []*proposal) uint64 {
	for _, p := range batch {
		if !p.owned {
			return p.session
		}
	}
	return 0
}
