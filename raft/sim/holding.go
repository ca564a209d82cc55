package sim

import "github.com/raftkv/raftkv/raft"

const (
	// holdingWorlds is how many of the worlds keep their logs for those that a snapshot brings on, as package node does.
	holdingWorlds = 0.5
	// letsGo is how often a log is cut all the same, as one that has grown to its bound.
	letsGo = 0.1
)

// startHolding decides whether logs are kept. The chance of it is its own, so that worlds in which they are not stay as they were.
func (w *world) startHolding() {
	if r := w.root.child(labelHolding); r.chance(holdingWorlds) {
		w.holding = r
	}
}

// held returns up to where the log may be cut, limit at most.
func (p *process) held(limit raft.Index) raft.Index {
	w := p.w
	if w.holding == nil || w.holding.chance(letsGo) {
		return limit
	}
	free := limit
	for _, index := range p.streams {
		if index >= p.core.LogStart().Index { // otherwise what follows it is gone already
			free = min(free, index)
		}
	}
	if free = p.core.RestoringFrom(free); free < limit {
		w.coverage.LogsHeld++
	}
	return free
}
