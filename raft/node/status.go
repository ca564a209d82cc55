package node

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// ErrTransferFailed says that the successor did not take over within an election timeout.
var ErrTransferFailed = errors.New("the successor did not take over within an election timeout")

// Summary is what changes seldom: whoever waits for Changed sees it move.
type Summary struct {
	// Generation rises by one at every change.
	Generation      uint64
	Role            raft.Role
	Term            raft.Term
	Leader          raft.NodeID
	Membership      raft.Membership
	ConfigIndex     raft.Index
	ConfigCommitted bool
	// Ready: a leader is known, and this member has applied all that was committed when it learned of it.
	Ready bool
	// CommittedInTerm: this member leads and may take part in membership changes.
	CommittedInTerm bool
	// TransferPending: leadership is being handed over.
	TransferPending bool
	// Active are the members that a leader heard from within an election timeout.
	Active map[raft.NodeID]bool
}

// Summary returns the latest summary. Its maps and slices must not be changed.
func (n *Node) Summary() Summary { return *n.summary.Load() }

// Changed returns a channel that is closed at the next change of the summary.
func (n *Node) Changed() <-chan struct{} { return n.changed.wait() }

// Status returns a picture of the core.
func (n *Node) Status(ctx context.Context) (raft.Status, error) {
	var s raft.Status
	if err := n.do(ctx, func() { s = n.core.Status() }); err != nil {
		return raft.Status{Applied: n.Applied()}, err
	}
	s.Applied = n.Applied()
	return s, nil
}

// Applied returns the index up to which reads see the log.
func (n *Node) Applied() raft.Index { return raft.Index(n.applied.Load()) }

// publish compares the core with the summary and tells everyone when they differ. The cheap comparison comes first:
// it runs after every turn of the loop.
func (n *Node) publish(force bool) {
	c, old := n.core, &n.published
	ready, view := n.ready(), c.View()
	if !force && view == n.view && ready == old.Ready && !n.membershipMoved {
		return
	}
	n.view = view
	s := c.Status()
	next := Summary{
		Generation: old.Generation + 1,
		Role:       s.Role, Term: s.Term, Leader: s.Leader,
		Membership: s.Membership, ConfigIndex: s.ConfigIndex, ConfigCommitted: s.ConfigCommitted,
		Ready: ready, CommittedInTerm: view.CommittedInTerm, TransferPending: s.TransferTo != 0,
		Active: map[raft.NodeID]bool{},
	}
	for id, p := range s.Progress {
		next.Active[id] = p.Active
	}
	if s.Role == raft.RoleLeader {
		next.Active[s.ID] = true
	}
	if next.Leader != old.Leader || next.Term != old.Term {
		n.leaderChanged(next.Leader)
	}
	if force || n.membershipMoved || next.ConfigIndex != old.ConfigIndex || next.ConfigCommitted != old.ConfigCommitted {
		n.membershipMoved = false
		n.noteCommitted(&next)
		n.cfg.Transport.SetMembership(next.Membership, n.committed)
	}
	n.published = next
	n.summary.Store(&next)
	n.changed.send()
}

// noteCommitted keeps the latest membership that is known to be committed. What the state machine has applied may be older
// than what was known before.
func (n *Node) noteCommitted(s *Summary) {
	if s.ConfigCommitted {
		n.committed = s.Membership
		return
	}
	if m := n.cfg.StateMachine.Applied().Membership; m.Index >= n.committed.Index {
		n.committed = m
	}
}
