package node

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// storeWork is one thing to do with the log: store a request, or forget what is compacted.
type storeWork struct {
	request *raft.StoreRequest
	compact raft.Position
}

// MaxStoreBatch bounds the requests that one sync covers.
const MaxStoreBatch = 1024

// storeLoop writes to the log, everything that waits with one sync. How much waits is bounded by the core: by what a
// leader lets be uncommitted, and by the window of a follower.
func (n *Node) storeLoop() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.stores.wake:
		}
		var batch []*raft.StoreRequest
		for _, w := range n.stores.take() {
			if w.request != nil {
				batch = append(batch, w.request)
			}
			// Nothing may come behind an installed snapshot before it is in force, nor a compaction before what it follows.
			if w.request == nil || w.request.Snapshot != nil || len(batch) >= MaxStoreBatch {
				if !n.storeBatch(batch) {
					return
				}
				batch = nil
			}
			if w.request == nil {
				if err := n.cfg.Log.Compact(w.compact); err != nil {
					n.fail(fmt.Errorf("compact the log: %w", err))
					return
				}
			}
		}
		if !n.storeBatch(batch) {
			return
		}
	}
}

func (n *Node) storeBatch(batch []*raft.StoreRequest) bool {
	if len(batch) == 0 {
		return true
	}
	began := n.cfg.Clock.Now()
	if err := n.cfg.Log.Append(batch); err != nil {
		n.fail(fmt.Errorf("write the log: %w", err))
		return false
	}
	entries := 0
	for _, r := range batch {
		entries += len(r.Entries)
	}
	n.cfg.Observer.Synced(n.cfg.Clock.Now().Sub(began), entries)
	last := batch[len(batch)-1]
	if last.Snapshot != nil {
		// The log says that it starts behind the snapshot; now the state machine takes it over (§7).
		n.applies.put(applyWork{install: last.Snapshot, stored: last.Done()}, 0, 0, 0)
		return true
	}
	n.progress.store(last.Done())
	n.hasten(false)
	return true
}
