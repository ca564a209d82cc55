package node

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// ErrChangeUnknown says that leadership changed before the membership change was committed: look again.
var ErrChangeUnknown = errors.New("leadership changed before the membership change was committed: look at the membership again")

// pendingChange is a membership that was appended and is not committed yet.
type pendingChange struct {
	index raft.Index
	term  raft.Term
	err   error
	done  chan struct{}
}

// Change changes the membership by one step. It was decided on the membership at configIndex. It returns, once the change
// is committed, the ID of the member concerned and the index of the membership in force. Errors of package raft say why
// it was refused.
func (n *Node) Change(ctx context.Context, configIndex raft.Index, change raft.Change) (raft.NodeID, raft.Index, error) {
	p := &pendingChange{done: make(chan struct{})}
	var id raft.NodeID
	var err error
	doErr := n.do(ctx, func() {
		id, p.index, err = n.core.ProposeChange(configIndex, change)
		if err == nil {
			p.term = n.core.Term()
			n.changes = append(n.changes, p)
		}
	})
	if doErr != nil {
		return 0, 0, doErr
	}
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-p.done:
		return id, p.index, p.err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-n.ctx.Done():
		return 0, 0, ErrChangeUnknown
	}
}

// RaiseClusterVersion appends the feature level that every member reads.
func (n *Node) RaiseClusterVersion(ctx context.Context, version uint32) error {
	var err error
	if doErr := n.do(ctx, func() { _, err = n.core.ProposeClusterVersion(version) }); doErr != nil {
		return doErr
	}
	return err
}

// finishChanges answers those whose membership is committed, or was lost with its leader.
func (n *Node) finishChanges() {
	if len(n.changes) == 0 {
		return
	}
	v := n.core.View()
	kept := n.changes[:0]
	for _, p := range n.changes {
		switch {
		case v.Term == p.term && v.ConfigIndex == p.index && v.ConfigCommitted:
			close(p.done)
		case v.Term != p.term || v.ConfigIndex != p.index:
			p.err = ErrChangeUnknown
			close(p.done)
		default:
			kept = append(kept, p)
		}
	}
	clear(n.changes[len(kept):])
	n.changes = kept
}
