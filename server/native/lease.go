package native

import (
	"context"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
)

// lease answers a call about a lease with what do tells.
func (s *service) lease(ctx context.Context, do func(context.Context, Store) (wire.LeaseReply, error)) (*wire.LeaseReply, error) {
	store, err := s.opened()
	if err != nil {
		return &wire.LeaseReply{Reply: replyOf(0, err)}, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	reply, err := do(ctx, store)
	if err != nil {
		reply = wire.LeaseReply{Reply: replyOf(0, err)}
	}
	return &reply, nil
}

func leaseReply(l kv.Lease, revision uint64) wire.LeaseReply {
	return wire.LeaseReply{Reply: wire.Reply{Revision: revision}, ID: l.ID, TTL: l.TTL}
}

// LeaseGrant is that of wire.Service.
func (s *service) LeaseGrant(ctx context.Context, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.lease(ctx, func(ctx context.Context, store Store) (wire.LeaseReply, error) {
		if r.ID <= 0 {
			return wire.LeaseReply{}, refusal{wire.StatusInvalid, "the ID of a lease is above zero, and the client's to choose"}
		}
		granted, err := store.LeaseGrant(ctx, r.ID, r.TTL)
		return leaseReply(granted.Lease, granted.Revision), err
	})
}

// LeaseRevoke is that of wire.Service.
func (s *service) LeaseRevoke(ctx context.Context, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.lease(ctx, func(ctx context.Context, store Store) (wire.LeaseReply, error) {
		revision, err := store.LeaseRevoke(ctx, r.ID)
		return leaseReply(kv.Lease{ID: r.ID}, revision), err
	})
}

// LeaseKeepAlive is that of wire.Service.
func (s *service) LeaseKeepAlive(ctx context.Context, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.lease(ctx, func(ctx context.Context, store Store) (wire.LeaseReply, error) {
		renewed, err := store.LeaseKeepAlive(ctx, r.ID)
		if err == nil && renewed.TTL == 0 {
			err = kv.ErrLeaseNotFound
		}
		return leaseReply(renewed.Lease, renewed.Revision), err
	})
}

// LeaseTimeToLive is that of wire.Service.
func (s *service) LeaseTimeToLive(ctx context.Context, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.lease(ctx, func(ctx context.Context, store Store) (wire.LeaseReply, error) {
		status, err := store.LeaseTimeToLive(ctx, r.ID, r.Keys)
		if err == nil && status.Remaining < 0 {
			err = kv.ErrLeaseNotFound
		}
		reply := leaseReply(status.Lease, status.Revision)
		reply.Remaining, reply.Keys = status.Remaining, status.Keys
		return reply, err
	})
}

// LeaseList is that of wire.Service.
func (s *service) LeaseList(ctx context.Context, _ *wire.Empty) (*wire.LeaseListReply, error) {
	store, err := s.opened()
	if err != nil {
		return &wire.LeaseListReply{Reply: replyOf(0, err)}, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	ids, revision, err := store.Leases(ctx)
	return &wire.LeaseListReply{Reply: replyOf(revision, err), IDs: ids}, nil
}
