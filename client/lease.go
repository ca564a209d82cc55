package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client/wire"
)

const (
	// renewals is how many times a lease is renewed in its time to live; an attempt that fails is made again after renewRetry.
	renewals   = 3
	renewRetry = 200 * time.Millisecond
	// firstRenewal bounds an attempt before the lease's time to live is known.
	firstRenewal = time.Second
)

// errGrantedUnseen ends a grant whose answer was lost.
var errGrantedUnseen = errors.New("the lease was made, by an attempt whose answer was lost, and could not be asked for")

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func leaseOf(r *wire.LeaseReply) Lease {
	return Lease{ID: r.ID, TTL: time.Duration(r.TTL) * time.Second, Revision: r.Revision}
}

// Grant makes a lease, whose ID is drawn at random. ttl is rounded up to whole seconds, and to the least that the cluster grants. Errors: ErrLeaseTTL,
// ErrTooMany, ErrNoSpace, ErrUnsupported, ErrUnavailable, ErrUnknown.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	id := 1 + rand.Int64N(1<<62)
	lease, uncertain, err := c.grant(ctx, id, ttl)
	if uncertain && errors.Is(err, ErrLeaseExists) {
		// Nobody else has drawn this ID: an attempt whose answer was lost has made the lease.
		status, err := c.TimeToLive(ctx, id, false)
		if err != nil {
			return Lease{}, unknown(errGrantedUnseen, err) // what a read fails with would say that nothing was done
		}
		return Lease{ID: id, TTL: status.TTL}, nil
	}
	return lease, err
}

// GrantID is Grant for an ID of the caller's choice, above zero. Errors: ErrLeaseExists too; it says little when an attempt was made before whose
// answer was lost, and is ErrUnknown then.
func (c *Client) GrantID(ctx context.Context, id LeaseID, ttl time.Duration) (Lease, error) {
	if id <= 0 {
		return Lease{}, &callError{kind: ErrInvalid, text: "the ID of a lease is above zero"}
	}
	lease, uncertain, err := c.grant(ctx, id, ttl)
	if uncertain && errors.Is(err, ErrLeaseExists) {
		return Lease{}, unknown(err, nil)
	}
	return lease, err
}

func (c *Client) grant(ctx context.Context, id LeaseID, ttl time.Duration) (lease Lease, uncertain bool, err error) {
	r, uncertain, err := attempts(ctx, c, writes, c.config.AttemptTimeout, grantMethod, &wire.LeaseRequest{ID: id, TTL: seconds(ttl)})
	if err != nil {
		return Lease{}, uncertain, err
	}
	return leaseOf(r), uncertain, nil
}

// Revoke ends a lease and deletes its keys, and returns the store's revision, zero if an attempt whose answer was lost has done it. Errors:
// ErrLeaseNotFound, ErrUnavailable, ErrUnknown.
func (c *Client) Revoke(ctx context.Context, id LeaseID) (uint64, error) {
	r, uncertain, err := attempts(ctx, c, writes, c.config.AttemptTimeout, revokeMethod, &wire.LeaseRequest{ID: id})
	switch {
	case uncertain && errors.Is(err, ErrLeaseNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return r.Revision, nil
}

// KeepAliveOnce begins a lease's time anew. Errors: ErrLeaseNotFound, ErrUnavailable, ErrUnknown.
func (c *Client) KeepAliveOnce(ctx context.Context, id LeaseID) (Lease, error) {
	return c.renew(ctx, id, c.config.AttemptTimeout)
}

// renew renews a lease with a bound for each attempt.
func (c *Client) renew(ctx context.Context, id LeaseID, each time.Duration) (Lease, error) {
	r, _, err := attempts(ctx, c, writes, each, keepAliveMethod, &wire.LeaseRequest{ID: id})
	if err != nil {
		return Lease{}, err
	}
	return leaseOf(r), nil
}

// TimeToLive tells about a lease, and, if keys is set, which keys are deleted with it. Errors: ErrLeaseNotFound, ErrUnavailable.
func (c *Client) TimeToLive(ctx context.Context, id LeaseID, keys bool) (LeaseStatus, error) {
	r, err := invoke(ctx, c, reads, timeToLiveMethod, &wire.LeaseRequest{ID: id, Keys: keys})
	if err != nil {
		return LeaseStatus{}, err
	}
	return LeaseStatus{ID: r.ID, TTL: time.Duration(r.TTL) * time.Second, Remaining: time.Duration(r.Remaining) * time.Second, Keys: r.Keys}, nil
}

// Leases lists the leases in the order of their IDs. Errors: ErrUnavailable.
func (c *Client) Leases(ctx context.Context) ([]LeaseID, error) {
	r, err := invoke(ctx, c, reads, leaseListMethod, &wire.Empty{})
	if err != nil {
		return nil, err
	}
	return r.IDs, nil
}

// KeepAlive is a lease that is being kept alive.
type KeepAlive struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	err   error
	until time.Time
}

// KeepAlive renews a lease, at a third of its time to live, until Close or the lease is lost. It goes on while no node can be reached, for the cluster keeps
// leases through such times if it could be reached by nobody: whoever must not act without the lease asks Until.
func (c *Client) KeepAlive(id LeaseID) *KeepAlive {
	ctx, cancel := context.WithCancel(c.ctx)
	k := &KeepAlive{cancel: cancel, done: make(chan struct{})}
	if !c.spawn(func() { k.end(c.keepAlive(ctx, id, k.renewed)) }) {
		k.end(ErrClosed)
	}
	return k
}

func (k *KeepAlive) end(err error) {
	defer close(k.done)
	k.cancel() // who hears that the lease is lost need not call Close
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// keepAlive returns when the lease is lost, or ctx ends. It tells renewed until when the lease surely lives.
func (c *Client) keepAlive(ctx context.Context, id LeaseID, renewed func(until time.Time)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	each := min(c.config.AttemptTimeout, firstRenewal)
	for {
		select {
		case <-ctx.Done():
			return ErrClosed
		case <-timer.C:
		}
		began := time.Now() // before it can have been renewed
		lease, err := c.renew(ctx, id, each)
		switch {
		case errors.Is(err, ErrLeaseNotFound):
			return err
		case err != nil:
			timer.Reset(renewRetry)
		default:
			renewed(began.Add(lease.TTL))
			// A node that does not answer must leave time to ask two others before the lease is over.
			each = min(c.config.AttemptTimeout, max(lease.TTL/(2*renewals), renewRetry))
			timer.Reset(max(lease.TTL/renewals, renewRetry))
		}
	}
}

// Done is closed when the lease is not kept alive any more.
func (k *KeepAlive) Done() <-chan struct{} { return k.done }

// Err is nil before Done is closed, and then ErrLeaseNotFound if the lease was revoked or its time was over, or ErrClosed.
func (k *KeepAlive) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Until is when the lease's time to live is over unless it is renewed once more, by this machine's clock and as if the last renewal had been made when it was
// asked for. Before it the lease is there unless somebody revokes it, and the keys that were put with it; zero: it was not renewed yet.
func (k *KeepAlive) Until() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.until
}

func (k *KeepAlive) renewed(until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = until
}

// Close stops the renewals; the lease goes on until its time is over. It may be called twice.
func (k *KeepAlive) Close() {
	k.cancel()
	<-k.done
}
