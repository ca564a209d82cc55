package node

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
)

// reader waits until the local state may be read linearizably.
type reader struct {
	done chan struct{}
	gone atomic.Bool
	// term is not zero for the node's own read that tells whether it has caught up in that term.
	term raft.Term
}

// readersInLoop are the readers that the loop knows: waiting to ask, asked, and waiting for an index to be applied.
type readersInLoop struct {
	count   atomic.Int64
	nextID  uint64
	held    bool // the leader has refused: nothing is asked before the next tick
	waiting []*reader
	groups  map[uint64][]*reader
	parked  []parkedReaders
}

// init draws the IDs of this process from its nonce. An answer to the process before it may still be on its way, and must
// not pass for one to this process, which may have asked later.
func (rs *readersInLoop) init(nonce uint64) {
	rs.nextID = nonce
	rs.groups = map[uint64][]*reader{}
}

type parkedReaders struct {
	index   raft.Index
	readers []*reader
}

// ReadBarrier returns once the local state holds everything that was committed when it was called: a read of it is
// then linearizable (thesis §6.4). Any member may be asked. All that wait share a round.
func (n *Node) ReadBarrier(ctx context.Context) error {
	defer n.readers.count.Add(-1)
	if n.readers.count.Add(1) > MaxReaders {
		return ErrBusy
	}
	if n.ctx.Err() != nil {
		return ErrStopped
	}
	r := &reader{done: make(chan struct{})}
	n.reads.put(r, 0, 0, 0)
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.gone.Store(true)
		return ErrUnavailable
	case <-n.ctx.Done():
		return ErrStopped
	}
}

// takeReads asks the core for all readers that wait, under one ID.
func (n *Node) takeReads() {
	rs := &n.readers
	rs.waiting = append(rs.waiting, n.reads.take()...)
	if len(rs.waiting) == 0 || rs.held || n.core.Leader() == 0 {
		return
	}
	id := rs.nextID + 1
	if n.core.ReadIndex(id) != nil {
		rs.held = true // too much is waiting
		return
	}
	rs.nextID = id
	rs.groups[id] = rs.waiting
	rs.waiting = nil
}

func (n *Node) finishReads(done []raft.ReadResult, failed []uint64) {
	rs := &n.readers
	for _, r := range done {
		group := rs.groups[r.ID]
		delete(rs.groups, r.ID)
		if n.Applied() >= r.Index {
			n.release(group)
		} else {
			rs.parked = append(rs.parked, parkedReaders{r.Index, group})
		}
	}
	for _, id := range failed {
		rs.held = true
		rs.waiting = append(rs.waiting, rs.groups[id]...)
		delete(rs.groups, id)
	}
}

// tickReads forgets the readers that have given up, so that a leader or a disk that stands still does not let them pile up.
func (n *Node) tickReads() {
	rs := &n.readers
	rs.held = false
	rs.waiting = slices.DeleteFunc(rs.waiting, isGone)
	for i := range rs.parked {
		rs.parked[i].readers = slices.DeleteFunc(rs.parked[i].readers, isGone)
	}
	rs.parked = slices.DeleteFunc(rs.parked, func(p parkedReaders) bool { return len(p.readers) == 0 })
}

func isGone(r *reader) bool { return r.gone.Load() }

func (n *Node) releaseReaders(applied raft.Index) {
	rs := &n.readers
	rs.parked = slices.DeleteFunc(rs.parked, func(p parkedReaders) bool {
		if p.index > applied {
			return false
		}
		n.release(p.readers)
		return true
	})
}

func (n *Node) release(group []*reader) {
	for _, r := range group {
		n.readyTerm = max(n.readyTerm, r.term)
		close(r.done)
	}
}

// probeReadiness finds out, by a read of its own, when this member has caught up with the leader it has just learned of.
func (n *Node) probeReadiness() {
	term := n.core.Term()
	rs := &n.readers
	for _, r := range rs.waiting {
		if r.term != 0 {
			r.term = term
			return
		}
	}
	rs.waiting = append(rs.waiting, &reader{done: make(chan struct{}), term: term})
}
