package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// Batcher is a Node that takes many commands at a time.
type Batcher interface {
	Node
	// ProposeAll replicates the commands of a batch that have no Err yet, and sets Result or Err of each as Propose returns them.
	ProposeAll(ctx context.Context, batch []backend.Write)
}

var _ backend.Batches = (*Store)(nil)

// WriteAll is that of backend.Batches.
func (s *Store) WriteAll(ctx context.Context, batch []backend.Write) {
	node, ok := s.node.(Batcher)
	for i := range batch {
		w := &batch[i]
		if !ok {
			w.Err = fmt.Errorf("%w: this node takes no batches", backend.ErrUnsupported)
			continue
		}
		w.Err = s.Admit(&w.Command)
	}
	if !ok {
		return
	}
	node.ProposeAll(ctx, batch)
	for i := range batch {
		w := &batch[i]
		if w.Err == nil && errors.Is(w.Result.Err, kv.ErrNoSpace) {
			w.Err = fmt.Errorf("%w: an alarm is up", backend.ErrNoSpace)
		}
	}
}

// OpenSession is that of backend.Batches.
func (s *Store) OpenSession(ctx context.Context, origin raft.Incarnation, nonce uint64) (uint64, error) {
	r, err := s.propose(ctx, kv.OpenSession(origin, nonce))
	if err != nil {
		return 0, err
	}
	return r.Session, nil
}

// Barrier is that of backend.Batches.
func (s *Store) Barrier(ctx context.Context) error { return s.node.ReadBarrier(ctx) }

// Leader is that of backend.Batches.
func (s *Store) Leader() raft.NodeID { return s.node.Standing().Leader }

// Scrub is that of backend.Batches.
func (s *Store) Scrub(ctx context.Context, revision uint64) error {
	return s.machine.Scrub(ctx, revision)
}
