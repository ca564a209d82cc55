package rest

import (
	"math"

	"github.com/raftkv/raftkv/kv"
)

// lease is the number as the ID of a lease; zero is none.
func (n number) lease() (kv.LeaseID, error) {
	if n > math.MaxInt64 {
		return 0, badQuery("%d names no lease: write the ID that the grant returned, a number from 1 to %d", uint64(n), int64(math.MaxInt64))
	}
	return kv.LeaseID(n), nil
}

// grantDocument asks for a lease. TTL is in seconds; an ID of zero is chosen.
type grantDocument struct {
	TTL number `json:"ttl"`
	ID  number `json:"id,omitzero"`
}

// leaseAnswer tells about a lease. TTL is what was granted, Remaining what is left of it, in seconds.
type leaseAnswer struct {
	Revision  number   `json:"revision,omitzero"`
	ID        number   `json:"id"`
	TTL       number   `json:"ttl,omitzero"`
	Remaining *number  `json:"remaining,omitempty"`
	Keys      [][]byte `json:"keys,omitempty"`
}

// leasesAnswer lists the leases in the order of their IDs.
type leasesAnswer struct {
	Revision number        `json:"revision"`
	Leases   []leaseAnswer `json:"leases"`
}

func (x *request) grant() error {
	var document grantDocument
	release, err := x.readDocument(&document)
	if err != nil {
		return err
	}
	defer release()
	id, err := document.ID.lease()
	if err != nil {
		return err
	}
	if document.TTL == 0 || document.TTL > math.MaxInt64 {
		return badQuery("ttl: write for how many seconds the lease lives, from 1 on")
	}
	lease, err := x.store.LeaseGrant(x.ctx, id, int64(document.TTL))
	if err != nil {
		return err
	}
	return x.answer(lease.Revision, leaseAnswer{Revision: number(lease.Revision), ID: number(lease.ID), TTL: number(lease.TTL)})
}

func (x *request) leases() error {
	ids, revision, err := x.store.Leases(x.ctx)
	if err != nil {
		return err
	}
	out := leasesAnswer{Revision: number(revision), Leases: make([]leaseAnswer, len(ids))}
	for i, id := range ids {
		out.Leases[i] = leaseAnswer{ID: number(id)}
	}
	return x.answer(revision, out)
}

func (x *request) lease() error {
	id, err := leaseID(x.part)
	if err != nil {
		return err
	}
	lease, err := x.store.LeaseTimeToLive(x.ctx, id, x.query.keys)
	switch {
	case err != nil:
		return err
	case lease.Remaining < 0:
		return kv.ErrLeaseNotFound
	}
	remaining := number(lease.Remaining)
	return x.answer(lease.Revision, leaseAnswer{
		Revision: number(lease.Revision), ID: number(id), TTL: number(lease.TTL), Remaining: &remaining, Keys: lease.Keys,
	})
}

func (x *request) renew() error {
	id, err := leaseID(x.part)
	if err != nil {
		return err
	}
	lease, err := x.store.LeaseKeepAlive(x.ctx, id)
	switch {
	case err != nil:
		return err
	case lease.TTL == 0:
		return kv.ErrLeaseNotFound
	}
	return x.answer(lease.Revision, leaseAnswer{Revision: number(lease.Revision), ID: number(id), TTL: number(lease.TTL)})
}

func (x *request) revoke() error {
	id, err := leaseID(x.part)
	if err != nil {
		return err
	}
	revision, err := x.store.LeaseRevoke(x.ctx, id)
	if err != nil {
		return err
	}
	return x.answer(revision, leaseAnswer{Revision: number(revision), ID: number(id)})
}
