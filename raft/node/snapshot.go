package node

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// MaxSnapshotStreams bounds the snapshots that are streamed at the same time. Further followers wait for their turn, before a view of
// the state is opened for them: an open one keeps the state machine from using the space of what is overwritten.
const MaxSnapshotStreams = 2

// stream is a snapshot on its way to a follower. The log behind its index is kept meanwhile.
type stream struct {
	index  raft.Index
	cancel context.CancelFunc
}

// sendSnapshot streams the state machine's durable state to a follower, beside everything else.
func (n *Node) sendSnapshot(to raft.NodeID) {
	if old := n.streams[to]; old != nil {
		old.cancel()
	}
	ctx, cancel := context.WithCancel(n.ctx)
	s := &stream{index: n.core.LogStart().Index, cancel: cancel}
	n.streams[to] = s
	term := n.core.Term()
	n.wait.Add(1)
	go func() {
		defer n.wait.Done()
		defer cancel()
		meta, err := n.streamTo(ctx, to, term, s)
		n.cfg.Observer.SnapshotSent(err)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("a snapshot could not be sent, it will be tried again", "to", to.String(), "error", err)
		}
		n.requests.put(func() {
			if n.streams[to] == s {
				delete(n.streams, to)
				n.core.SnapshotSent(to, meta, err == nil)
			}
		}, 0, 0, 0)
	}()
}

func (n *Node) streamTo(ctx context.Context, to raft.NodeID, term raft.Term, s *stream) (raft.SnapshotMeta, error) {
	select {
	case n.streaming <- struct{}{}:
	case <-ctx.Done():
		return raft.SnapshotMeta{}, ctx.Err()
	}
	defer func() { <-n.streaming }()
	snapshot, err := n.cfg.StateMachine.Snapshot(ctx)
	if err != nil {
		return raft.SnapshotMeta{}, err
	}
	defer func() {
		if err := snapshot.Close(); err != nil {
			n.log.Warn("closing a snapshot", "error", err)
		}
	}()
	meta := snapshot.Meta()
	n.requests.put(func() { s.index = meta.Index }, 0, 0, 0)
	n.log.Info("sending a snapshot", "to", to.String(), "index", uint64(meta.Index), "term", uint64(meta.Term))
	return meta, n.cfg.Transport.SendSnapshot(ctx, raft.Message{
		Type: raft.MsgSnapshot, From: n.cfg.ID, To: to, Term: term, Snapshot: &meta,
	}, snapshot)
}

// stopStreams ends all streams when this member does not lead any more.
func (n *Node) stopStreams() {
	for to, s := range n.streams {
		s.cancel()
		delete(n.streams, to)
	}
}

// ErrInstalling says that no snapshot is taken since an earlier one is not in force yet.
var ErrInstalling = errors.New("an earlier snapshot is staged and not in force yet, since this member's disk is slow: send one later")

// Stage returns where the bytes of an incoming snapshot go. None is taken while an earlier one waits to be put in force: a leader sends one
// after another to a member whose log stands still, and each is a copy of the whole state.
func (n *Node) Stage(meta raft.SnapshotMeta) (Stage, error) {
	if n.installing.Load() > 0 {
		return nil, ErrInstalling
	}
	return n.cfg.StateMachine.Stage(meta)
}
