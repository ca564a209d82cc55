package node

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/raftkv/raftkv/raft"
)

// gatherFrom is the number of proposals in flight from which the loop lets their callers run before it takes what waits: it
// costs them nothing, since all of them are ready to run, and one large batch is cheaper for everyone than several small ones.
const gatherFrom = 16

// loop takes turns with the core. A turn never waits for a disk, the network or the state machine: it hands work out and takes
// what comes back, all that waits, and asks the core for effects once.
func (n *Node) loop() {
	ticker := n.cfg.Clock.NewTicker(n.tickLength)
	defer ticker.Stop()
	for {
		ticked := false
		select {
		case <-n.ctx.Done():
			n.turning.Lock()
			n.end()
			n.turning.Unlock()
			return
		case <-ticker.C():
			ticked = true
		case <-n.wake:
			if n.proposals.count.Load() >= gatherFrom {
				runtime.Gosched()
			}
		}
		n.turning.Lock()
		n.settle()
		if ticked {
			n.tickProposals()
			n.tickReads()
			n.compact()
		}
		n.takeNews()
		n.takeProposals()
		n.advance(ticked)
		n.turn()
		n.settle()
		n.turning.Unlock()
	}
}

// hasten has what was just brought in looked at. When nobody is at the core the caller takes the turn itself: a message or a
// stored batch then reaches the next one who waits for it without a switch of goroutines, of which the way of a lone proposal
// would otherwise be made. What comes seldom, changes of role or membership with all that hangs on them, is left to the loop, and
// so are proposals, which it takes in batches, unless this one is alone.
func (n *Node) hasten(proposals bool) {
	if !n.turning.TryLock() {
		poke(n.wake)
		return
	}
	defer n.turning.Unlock()
	defer endOnPanic()
	if n.ended || n.unsettled() {
		poke(n.wake)
		return
	}
	n.takeNews()
	if proposals {
		n.takeProposals()
	}
	n.advance(false)
	n.turn()
	if n.unsettled() {
		poke(n.wake)
	}
}

// endOnPanic, deferred, ends the program when a turn breaks off, whoever lent the goroutine: net/http, for one, recovers from what its
// handlers panic with, and a core that has found a broken invariant must not be asked again. The turn is never given back.
func endOnPanic() {
	if x := recover(); x != nil {
		broken := fmt.Sprintf("%v\n\n%s", x, debug.Stack())
		go panic(broken)
		select {}
	}
}

// takeNews gives the core what came in, but for proposals.
func (n *Node) takeNews() {
	for _, m := range n.inbound.take() {
		if len(m.Entries) > 0 && n.logFull() {
			continue // Raft tolerates loss, and the leader tries again
		}
		if err := n.core.Step(m); err != nil {
			n.log.Warn("a message was refused", "from", m.From.String(), "type", m.Type.String(), "error", err)
		}
	}
	for _, f := range n.requests.take() {
		f()
	}
	n.takeProgress()
	n.takeReads()
}

// turn carries out the core's effects until it has none.
func (n *Node) turn() {
	for {
		e := n.core.TakeEffects()
		if e.Store != nil {
			n.membershipMoved = n.membershipMoved || holdsMembership(e.Store.Entries)
			if e.Store.Snapshot != nil {
				n.installing.Add(1)
			}
			n.stores.put(storeWork{request: e.Store}, 0, 0, 0)
		}
		if len(e.Messages) > 0 {
			n.cfg.Transport.Send(e.Messages)
		}
		if len(e.Committed) > 0 {
			n.applies.put(applyWork{entries: e.Committed}, 0, 0, 0)
		}
		for _, t := range e.Transitions {
			n.log.Info("role changed", "term", uint64(t.Term), "from", t.From.String(), "role", t.To.String(), "trigger", t.Trigger)
			n.cfg.Observer.Transition(t)
		}
		for _, to := range e.SendSnapshots {
			n.sendSnapshot(to)
		}
		n.finishReads(e.Reads, e.FailedReads)
		if e.Store == nil && len(e.Messages) == 0 && len(e.Committed) == 0 {
			n.observeCommits()
			return
		}
	}
}

// unsettled tells whether the summary, or someone who waits for a change of membership, lags behind the core. The core is given
// nothing new before that is settled.
func (n *Node) unsettled() bool {
	return n.membershipMoved || len(n.changes) > 0 || n.core.View() != n.view || n.ready() != n.published.Ready
}

// settle has everyone told who waits for the core to change.
func (n *Node) settle() {
	if n.unsettled() {
		n.finishChanges()
		n.publish(false)
	}
}

// ready tells whether this member has caught up with the leader that it knows.
func (n *Node) ready() bool { return n.core.Leader() != 0 && n.readyTerm == n.core.Term() }

// leaderChanged runs when another leader or term is known than before.
func (n *Node) leaderChanged(leader raft.NodeID) {
	n.cfg.Observer.Leader(leader)
	n.commitMarks = n.commitMarks[:0]
	n.beginEra()
	n.resendProposals()
	n.readers.held = false
	if leader != n.cfg.ID {
		n.stopStreams()
	}
	if leader != 0 {
		n.probeReadiness()
	}
}

func holdsMembership(entries []raft.Entry) bool {
	for i := range entries {
		if entries[i].Type == raft.EntryMembership {
			return true
		}
	}
	return false
}

// noteApplied runs in the loop after the applier has applied a batch.
func (n *Node) noteApplied(index raft.Index) {
	n.core.Applied(index)
	n.releaseReaders(index)
	n.compact()
	if !n.published.ConfigCommitted && n.cfg.StateMachine.Applied().Membership.Index > n.committed.Index {
		n.membershipMoved = true
	}
}
