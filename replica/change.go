package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/rpc"
)

// changePause is the pause before a change of the membership is asked for again: an earlier one is not committed, or a learner has not
// caught up.
const changePause = 50 * time.Millisecond

// Change changes the membership, on the leader, by all of the changes at once or by none. They were decided on the membership at
// configIndex (Status) and are refused when that is not the one in force. It returns, once they are complete, the IDs of the members
// concerned, in the order of the changes, and the index of the membership in force. Errors of package raft say why they were refused;
// raft.ErrNotLeader: ask the leader.
func (r *Replica) Change(ctx context.Context, configIndex raft.Index, changes ...raft.Change) ([]raft.NodeID, raft.Index, error) {
	m := r.now()
	if m == nil {
		return nil, 0, raft.ErrNotLeader
	}
	return m.node.Change(ctx, configIndex, changes...)
}

// Add makes an empty replica a voter, on the leader: it is added as a learner under a new ID, catches up, and gets its vote. newcomer needs
// the Incarnation that the new replica's Status tells, a Name, and its PeerAddress. Add may be repeated with the same newcomer.
func (r *Replica) Add(ctx context.Context, newcomer raft.Member) (raft.NodeID, error) {
	id, err := r.insist(ctx, func(s Status) (raft.Change, bool) {
		_, there := s.Membership.FindIncarnation(newcomer.Incarnation)
		return raft.Change{Kind: raft.ChangeAddLearner, Member: newcomer}, there
	})
	if err != nil {
		return 0, fmt.Errorf("add %s: %w", newcomer.Name, err)
	}
	if id == 0 {
		x, _ := r.Status().Membership.FindIncarnation(newcomer.Incarnation)
		id = x.ID
	}
	_, err = r.insist(ctx, func(s Status) (raft.Change, bool) {
		x, there := s.Membership.Find(id)
		return raft.Change{Kind: raft.ChangePromote, ID: id}, there && !x.Learner
	})
	if err != nil {
		return id, fmt.Errorf("promote %s, member %s: %w", newcomer.Name, id, err)
	}
	return id, nil
}

// Remove takes a member out of the cluster for good, on the leader. Its replica ends with ErrRemoved.
func (r *Replica) Remove(ctx context.Context, id raft.NodeID) error {
	_, err := r.insist(ctx, func(s Status) (raft.Change, bool) {
		_, there := s.Membership.Find(id)
		return raft.Change{Kind: raft.ChangeRemove, ID: id}, !there
	})
	if err != nil {
		return fmt.Errorf("remove member %s: %w", id, err)
	}
	return nil
}

// insist asks for a change until it is made, or refused for a reason that will not pass.
func (r *Replica) insist(ctx context.Context, next func(Status) (change raft.Change, done bool)) (raft.NodeID, error) {
	for {
		s := r.Status()
		change, done := next(s)
		if done && s.ConfigCommitted {
			return 0, nil
		}
		ids, _, err := r.Change(ctx, s.ConfigIndex, change)
		switch {
		case err == nil:
			return ids[0], nil
		case !passing(err):
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(changePause):
		}
	}
}

// passing tells whether the same change may be taken a little later.
func passing(err error) bool {
	for _, x := range []error{raft.ErrConfigMoved, raft.ErrChangePending, raft.ErrNotCaughtUp, raft.ErrUnsafeChange, raft.ErrBusy, node.ErrBusy, node.ErrChangeUnknown} {
		if errors.Is(err, x) {
			return true
		}
	}
	return false
}

// Transfer hands leadership to a voter, zero for the one that is most caught up, and returns who leads then.
func (r *Replica) Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error) {
	m := r.now()
	if m == nil {
		return 0, raft.ErrNotLeader
	}
	return m.node.Transfer(ctx, to)
}

// Caller calls the services that Config.Services registers on another member's replica. The error is that the member is not known here.
func (r *Replica) Caller(id raft.NodeID) (rpc.Caller, error) { return r.door.transport.Caller(id) }
