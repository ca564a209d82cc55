package node

import (
	"github.com/raftkv/raftkv/raft"
)

// loop owns the core. It never waits for a disk, the network or the state machine: it hands work out and takes
// what comes back, all that waits in one turn, and asks the core for effects once a turn.
func (n *Node) loop() {
	ticker := n.cfg.Clock.NewTicker(n.cfg.HeartbeatInterval / ticksPerHeartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C():
			n.core.Tick()
			n.tickProposals()
			n.tickReads()
			n.compact()
		case <-n.inbound.wake:
		case <-n.requests.wake:
		case <-n.proposals.queue.wake:
		case <-n.reads.wake:
		}
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
		n.takeProposals()
		n.takeReads()
		n.turn()
	}
}

// turn carries out the core's effects until it has none.
func (n *Node) turn() {
	for {
		e := n.core.TakeEffects()
		if e.Store != nil {
			n.membershipMoved = n.membershipMoved || holdsMembership(e.Store.Entries)
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
			break
		}
	}
	n.finishChanges()
	n.publish(false)
}

// leaderChanged runs when another leader or term is known than before.
func (n *Node) leaderChanged(leader raft.NodeID) {
	n.cfg.Observer.Leader(leader)
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
