package replica

import (
	"context"

	"github.com/raftkv/raftkv/raft/node"
)

// ReplicateAll is Replicate for a batch of commands, each of which stands for itself: its Result or Err is set on return. A proposer that has opened a
// session of its own may number its commands itself, and ask again through any replica: what was applied before is answered with the
// first result (thesis §6.3).
func (r *Replica) ReplicateAll(ctx context.Context, batch []node.Proposed) {
	m, err := r.running(ctx)
	if err != nil {
		for i := range batch {
			batch[i].Err = err
		}
		return
	}
	m.node.ProposeAll(ctx, batch)
}
