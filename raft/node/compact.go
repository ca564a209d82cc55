package node

import "github.com/raftkv/raftkv/raft"

// compact cuts the log when it has grown enough: never past what the state machine holds durably, and not under a
// snapshot that is on its way, or has just arrived, whose receiver needs what follows. It runs after each batch that was applied, so what it does
// every time must not depend on how long the log is.
func (n *Node) compact() {
	// What the core knows to be applied counts: the applier may be further, but the core cuts nothing there yet.
	start, applied := n.core.LogStart().Index, n.core.AppliedIndex()
	large := n.core.LogMemory() >= n.cfg.LogBounds.Compact
	if applied <= start || (uint64(applied-start) < n.cfg.SnapshotEntries && !large) {
		return
	}
	durable := min(n.cfg.StateMachine.Durable(), applied)
	limit := n.underStreams(durable)
	worth := max(raft.Index(n.cfg.SnapshotEntries/4), 1)
	if large {
		worth = 1
	}
	// Looking for the point walks the log, and cutting copies the rest of it.
	if limit < start+worth || limit == n.cutTried {
		// That is what the cut waits for, or will once the receivers of snapshots let it.
		if durable < applied && (limit == durable || uint64(applied-durable) >= n.cfg.SnapshotEntries) {
			n.cfg.StateMachine.Flush()
		}
		return
	}
	n.cutTried = limit
	half := n.cfg.LogBounds.Compact / 2
	point := n.core.CompactionPoint(limit, min(n.cfg.SnapshotEntries/2, uint64(half/raft.EntryPlaceBytes)), half)
	if point < start+worth {
		return
	}
	n.core.Compact(point)
	n.stores.put(storeWork{compact: n.core.LogStart()}, 0, 0, 0)
	n.log.Debug("the log was compacted", "index", uint64(point))
}

// underStreams returns the limit below which the receivers of snapshots need nothing, unless too much memory is at stake (LogBounds.Held).
func (n *Node) underStreams(limit raft.Index) raft.Index {
	start := n.core.LogStart().Index
	if n.core.LogMemory() >= n.cfg.LogBounds.Held {
		return limit
	}
	for _, s := range n.streams {
		if s.index >= start { // otherwise what follows it is gone already
			limit = min(limit, s.index)
		}
	}
	return n.core.RestoringFrom(limit)
}

// logFull tells whether the log in memory takes nothing more until the state machine, which holds up its compaction, has
// caught up.
func (n *Node) logFull() bool { return n.core.LogMemory() >= n.cfg.LogBounds.Hard }
