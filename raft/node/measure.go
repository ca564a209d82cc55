package node

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// maxCommitMarks bounds the batches whose way to the commit is measured at one time; further ones are not.
const maxCommitMarks = 256

// commitMark is a batch that was appended to the leader's log.
type commitMark struct {
	last raft.Index
	at   time.Time
}

// markCommit begins the measurement of a batch that ends at last.
func (n *Node) markCommit(last raft.Index) {
	if len(n.commitMarks) < maxCommitMarks {
		n.commitMarks = append(n.commitMarks, commitMark{last, n.cfg.Clock.Now()})
	}
}

// observeCommits ends the measurement of the batches that are committed now.
func (n *Node) observeCommits() {
	if len(n.commitMarks) == 0 {
		return
	}
	commit, done := n.core.Commit(), 0
	for done < len(n.commitMarks) && n.commitMarks[done].last <= commit {
		done++
	}
	if done == 0 {
		return
	}
	now := n.cfg.Clock.Now()
	for _, m := range n.commitMarks[:done] {
		n.cfg.Observer.Committed(now.Sub(m.at))
	}
	n.commitMarks = append(n.commitMarks[:0], n.commitMarks[done:]...)
}

// Tick is what one tick of the core is in real time.
func (n *Node) Tick() time.Duration { return n.tickLength }

// QueueDepth is what waits in one of the node's queues.
type QueueDepth struct {
	Name  string
	Items int
	Bytes int // zero where bytes are not counted
}

// Queues tells what waits. It may be called at any time, and is cheap.
func (n *Node) Queues() []QueueDepth {
	return []QueueDepth{
		{"proposals", int(n.proposals.count.Load()), int(n.proposals.bytes.Load())},
		n.inbound.depth("inbound-messages"),
		n.reads.depth("reads"),
		n.stores.depth("log-writes"),
		n.applies.depth("apply-batches"),
	}
}

func (q *queue[T]) depth(name string) QueueDepth {
	q.mu.Lock()
	defer q.mu.Unlock()
	return QueueDepth{name, len(q.items), q.bytes}
}
