package node

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// applyWork is one thing to do with the state machine: apply entries or install a snapshot.
type applyWork struct {
	entries []raft.Entry
	install *raft.SnapshotMeta
	stored  raft.Stored // what the core is told once it is installed
}

// applyLoop owns the state machine. What waits for it is bounded by the core in bytes.
func (n *Node) applyLoop() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.applies.wake:
		}
		for _, w := range n.applies.take() {
			if w.install != nil {
				if !n.install(w) {
					return
				}
				continue
			}
			if !n.apply(w.entries) {
				return
			}
		}
	}
}

func (n *Node) install(w applyWork) bool {
	if err := n.cfg.StateMachine.Install(*w.install); err != nil {
		n.fail(fmt.Errorf("install the snapshot of index %d: %w", w.install.Index, err))
		return false
	}
	n.installing.Add(-1)
	n.cfg.Observer.SnapshotInstalled()
	n.log.Info("a snapshot is in force", "index", uint64(w.install.Index), "term", uint64(w.install.Term))
	index := w.install.Index
	n.applied.Store(uint64(index))
	n.proposals.jump()
	n.requests.add(func() { n.noteInstalled(index) }, 0, 0, 0)
	n.progress.store(w.stored)
	n.hasten(false)
	return true
}

func (n *Node) apply(entries []raft.Entry) bool {
	began := n.cfg.Clock.Now()
	results, err := n.cfg.StateMachine.Apply(entries)
	if err == nil && len(results) != len(entries) {
		err = fmt.Errorf("%d results for %d entries", len(results), len(entries))
	}
	if err != nil {
		n.fail(fmt.Errorf("apply entries %d to %d: %w", entries[0].Index, entries[len(entries)-1].Index, err))
		return false
	}
	n.cfg.Observer.Applied(n.cfg.Clock.Now().Sub(began), len(entries))
	last := entries[len(entries)-1].Index
	// Readers first: whoever is told that a proposal is applied may read it here.
	n.applied.Store(uint64(last))
	n.proposals.resolve(n, entries, results)
	n.progress.apply(last)
	n.hasten(false)
	return true
}

// noteInstalled runs in the loop: the state has jumped, proposals in the gap have no result of their own.
func (n *Node) noteInstalled(index raft.Index) {
	n.releaseReaders(index)
	n.resendProposals()
}
