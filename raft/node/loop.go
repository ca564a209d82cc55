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
		case <-n.inbound.wake:
		case <-n.requests.wake:
		case <-n.proposals.queue.wake:
		case <-n.reads.wake:
		}
		for _, m := range n.inbound.take() {
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
	n.resendProposals()
	if leader != n.cfg.ID {
		n.stopStreams()
	}
	if leader != 0 {
		n.probeReadiness()
	}
}

// noteApplied runs in the loop after the applier has applied a batch.
func (n *Node) noteApplied(index raft.Index) {
	n.core.Applied(index)
	n.releaseReaders(index)
	n.compact()
}

// compact cuts the log when it has grown enough: never past what the state machine holds durably, and not under a
// snapshot that is on its way, whose receiver needs what follows.
func (n *Node) compact() {
	start := n.core.LogStart()
	applied := n.Applied()
	if uint64(applied-min(start.Index, applied)) < n.cfg.SnapshotEntries && n.core.LogBytes() < MaxLogBytes {
		return
	}
	limit := n.cfg.StateMachine.Durable()
	if n.core.LogBytes() < HardLogBytes {
		for _, s := range n.streams {
			limit = min(limit, s.index)
		}
	}
	point := n.core.CompactionPoint(limit, n.cfg.SnapshotEntries/2, MaxLogBytes/2)
	if limit < applied {
		n.cfg.StateMachine.Flush()
	}
	// Cutting copies the rest of the log: it has to be worth it.
	if point <= start.Index || uint64(point-start.Index) < n.cfg.SnapshotEntries/4 && n.core.LogBytes() < MaxLogBytes {
		return
	}
	n.core.Compact(point)
	n.stores.put(storeWork{compact: n.core.LogStart()}, 0, 0, 0)
	n.log.Debug("the log was compacted", "index", uint64(point))
}
