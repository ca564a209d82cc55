package node

import (
	"sync"

	"github.com/raftkv/raftkv/raft"
)

// progress is what the log and the state machine have done since the loop looked last. The latest report stands for all before it.
type progress struct {
	mu      sync.Mutex
	stored  raft.Stored
	applied raft.Index
}

func (p *progress) store(s raft.Stored) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Seq > p.stored.Seq {
		p.stored = s
	}
}

func (p *progress) apply(index raft.Index) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = max(p.applied, index)
}

func (p *progress) take() (stored raft.Stored, applied raft.Index) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stored, applied = p.stored, p.applied
	p.stored, p.applied = raft.Stored{}, 0
	return stored, applied
}

// takeProgress tells the core what was stored and applied.
func (n *Node) takeProgress() {
	stored, applied := n.progress.take()
	if stored.Seq != 0 {
		n.core.Stored(stored)
	}
	if applied != 0 {
		n.noteApplied(applied)
	}
}
