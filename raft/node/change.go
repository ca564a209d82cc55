package node

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// ErrChangeUnknown says that leadership changed before the membership change was committed: look again.
var ErrChangeUnknown = errors.New("leadership changed before the membership change was committed: look at the membership again")

// pendingChange is a change that was appended and is not complete yet. index is that of its membership, and when it is complete that of
// the one in force.
type pendingChange struct {
	index raft.Index
	term  raft.Term
	err   error
	done  chan struct{}
}

// Change changes the membership, by all of the changes at once or by none. They were decided on the membership at configIndex.
// It returns, once the changes are complete, the IDs of the members concerned, in the order of the changes, and the index of the
// membership in force. When more than one vote moves there is a joint phase in between, which is over by then (§6). Errors of package
// raft say why it was refused.
func (n *Node) Change(ctx context.Context, configIndex raft.Index, changes ...raft.Change) ([]raft.NodeID, raft.Index, error) {
	p := &pendingChange{done: make(chan struct{})}
	var ids []raft.NodeID
	var err error
	doErr := n.do(ctx, func() {
		ids, p.index, err = n.core.ProposeChanges(configIndex, changes)
		if err == nil {
			p.term = n.core.Term()
			n.changes = append(n.changes, p)
		}
	})
	if doErr != nil {
		return nil, 0, doErr
	}
	if err != nil {
		return nil, 0, err
	}
	select {
	case <-p.done:
		return ids, p.index, p.err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-n.ctx.Done():
		return nil, 0, ErrChangeUnknown
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

// finishChanges answers those that are complete, or may be lost with their leader. A leader takes a change only when the one before is
// committed, so a later membership of the same term stands for the earlier ones too.
func (n *Node) finishChanges() {
	if len(n.changes) == 0 {
		return
	}
	v := n.core.View()
	kept := n.changes[:0]
	for _, p := range n.changes {
		switch {
		case v.Term == p.term && v.ConfigIndex >= p.index && v.ConfigCommitted && !v.Joint:
			p.index = v.ConfigIndex
			close(p.done)
		case v.Term != p.term || v.ConfigIndex < p.index:
			p.err = ErrChangeUnknown
			close(p.done)
		default:
			kept = append(kept, p)
		}
	}
	clear(n.changes[len(kept):])
	n.changes = kept
}
