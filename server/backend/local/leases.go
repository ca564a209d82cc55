package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// expireMost bounds the leases that one command revokes because their time is over.
	expireMost = 256
	// ownTimeout bounds a command that the store proposes by itself, ownPause is the pause after one that failed.
	ownTimeout, ownPause = 5 * time.Second, time.Second
	// renewPause is the least time between two commands that renew leases; what comes in between goes together.
	renewPause = 5 * time.Millisecond
	// renewQueue bounds the renewals that wait.
	renewQueue = 64 << 10
)

// LeaseGrant is that of backend.Store.
func (s *Store) LeaseGrant(ctx context.Context, id kv.LeaseID, ttl int64) (backend.LeaseGrantResult, error) {
	for drawn := id == 0; ; {
		if drawn {
			id = 1 + rand.Int64N(1<<62)
		}
		l := kv.Lease{ID: id, TTL: max(ttl, s.options.MinLeaseTTL, 1)}
		r, err := s.propose(ctx, kv.GrantLease(l.ID, l.TTL))
		if drawn && errors.Is(err, kv.ErrLeaseExists) {
			continue
		}
		if err != nil {
			return backend.LeaseGrantResult{}, err
		}
		return backend.LeaseGrantResult{Lease: l, Revision: r.Revision}, nil
	}
}

// LeaseRevoke is that of backend.Store.
func (s *Store) LeaseRevoke(ctx context.Context, id kv.LeaseID) (uint64, error) {
	r, err := s.propose(ctx, kv.RevokeLease(id))
	if err != nil {
		return 0, err
	}
	return r.Revision, nil
}

// LeaseTimeToLive is that of backend.Store.
func (s *Store) LeaseTimeToLive(ctx context.Context, id kv.LeaseID, keys bool) (backend.LeaseStatus, error) {
	if err := s.node.ReadBarrier(ctx); err != nil {
		return backend.LeaseStatus{}, err
	}
	out := backend.LeaseStatus{Lease: kv.Lease{ID: id}, Remaining: -1}
	out.Revision, _ = s.machine.Revision()
	l, ok := s.machine.Lease(id)
	s.mu.Lock()
	left, known := s.deadlines.Remaining(id, s.now())
	s.mu.Unlock()
	if !ok || !known {
		return out, nil
	}
	out.Lease, out.Remaining = l, int64(max(left, 0)/time.Second)
	if keys {
		for _, k := range s.machine.LeaseKeys(id) {
			out.Keys = append(out.Keys, []byte(k))
		}
	}
	return out, nil
}

// Leases is that of backend.Store.
func (s *Store) Leases(ctx context.Context) ([]kv.LeaseID, uint64, error) {
	if err := s.node.ReadBarrier(ctx); err != nil {
		return nil, 0, err
	}
	revision, _ := s.machine.Revision()
	return s.machine.LeaseIDs(), revision, nil
}

// expire proposes, while this node leads, to revoke the leases whose time is over.
func (s *Store) expire(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last Standing // none yet: nobody could renew before this node ran either
	for {
		changed := s.node.Changed()
		at := s.node.Standing()
		if extends(&last, &at) {
			last = at
			s.mu.Lock()
			s.deadlines.Extend(s.now())
			s.mu.Unlock()
		}
		wait := time.Hour
		if at.Leads {
			wait = s.expireDue(ctx, at.Term)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.leases:
		case <-timer.C:
		}
	}
}

// extends tells whether nobody could renew a lease for a while before a node stood as it does now. last is how it stood when that was so the last
// time. A leader that was elected again counts as another, and one that leads counts anew once it can commit.
func extends(last, at *Standing) bool {
	return at.Leader != 0 && (at.Leader != last.Leader || at.Term != last.Term || at.Leads != last.Leads)
}

// expireDue proposes what is due, as the leader of a term, and returns when to come again. A later leader must not carry it out: it has given
// the leases more time.
func (s *Store) expireDue(ctx context.Context, term raft.Term) time.Duration {
	for {
		s.mu.Lock()
		due := s.deadlines.Due(s.now(), expireMost)
		next, any := s.deadlines.Next()
		s.mu.Unlock()
		if len(due) == 0 {
			if !any {
				return time.Hour
			}
			return max(next-s.now(), time.Millisecond)
		}
		if err := s.revokeDue(ctx, term, due); err != nil {
			s.options.Logger.Info("leases that are over could not be revoked yet", "leases", len(due), "reason", err)
			return ownPause
		}
	}
}

func (s *Store) revokeDue(ctx context.Context, term raft.Term, due []kv.Lease) error {
	c := kv.ExpireLeases(due)
	if err := s.Admit(&c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ownTimeout)
	defer cancel()
	r, err := s.node.ProposeInTerm(ctx, term, c)
	if err != nil {
		return err
	}
	return r.Err
}

// own proposes a command that nobody asked for.
func (s *Store) own(ctx context.Context, c kv.Command) (*kv.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, ownTimeout)
	defer cancel()
	return s.propose(ctx, c)
}

// renewal is what waits to be renewed. Renewals go through the log, many in one entry, so that they are answered on
// every node, and only when they are sure to hold.
type renewal struct {
	waiting chan renewRequest
}

type renewRequest struct {
	id   kv.LeaseID
	done chan error
}

func newRenewal() renewal { return renewal{waiting: make(chan renewRequest, renewQueue)} }

// LeaseKeepAlive is that of backend.Store.
func (s *Store) LeaseKeepAlive(ctx context.Context, id kv.LeaseID) (backend.LeaseKeepAliveResult, error) {
	request := renewRequest{id: id, done: make(chan error, 1)}
	select {
	case s.renewal.waiting <- request:
	default:
		return backend.LeaseKeepAliveResult{}, fmt.Errorf("%w: %d leases wait to be renewed", backend.ErrBusy, renewQueue)
	}
	select {
	case <-ctx.Done():
		return backend.LeaseKeepAliveResult{}, ctx.Err()
	case err := <-request.done:
		if err != nil {
			return backend.LeaseKeepAliveResult{}, err
		}
	}
	out := backend.LeaseKeepAliveResult{Lease: kv.Lease{ID: id}}
	out.Revision, _ = s.machine.Revision()
	if l, ok := s.machine.Lease(id); ok {
		out.Lease = l
	}
	return out, nil
}

// renew proposes what waits to be renewed.
func (s *Store) renew(ctx context.Context) {
	for {
		var batch []renewRequest
		select {
		case <-ctx.Done():
			s.refuseRenewals()
			return
		case r := <-s.renewal.waiting:
			batch = append(batch, r)
		}
		batch = s.gather(batch)
		ids := make([]kv.LeaseID, 0, len(batch))
		seen := make(map[kv.LeaseID]bool, len(batch))
		for _, r := range batch {
			if !seen[r.id] {
				seen[r.id] = true
				ids = append(ids, r.id)
			}
		}
		_, err := s.own(ctx, kv.RenewLeases(ids))
		for _, r := range batch {
			r.done <- err
		}
		select {
		case <-ctx.Done():
		case <-time.After(renewPause):
		}
	}
}

// gather adds what waits too, as far as it goes into one command.
func (s *Store) gather(batch []renewRequest) []renewRequest {
	for len(batch) < kv.MaxRenewals {
		select {
		case r := <-s.renewal.waiting:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func (s *Store) refuseRenewals() {
	for {
		select {
		case r := <-s.renewal.waiting:
			r.done <- fmt.Errorf("%w: this node is stopping", backend.ErrUnavailable)
		default:
			return
		}
	}
}
