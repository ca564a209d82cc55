package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
)

// Locks and elections are one thing, a row: below a prefix each who waits has a key that lives with its lease, and whose key was
// created first is at the head. Layout and rules are those of etcd's concurrency package, so that clients which do it themselves stand
// in the same rows.

// sessionTTL is how many seconds a lease lives that is granted because the caller names none; nobody keeps it alive.
const sessionTTL = 60

// errLeft says that a key is not in its row any more: it was deleted, or its lease has ended.
var errLeft = errors.New("the key is gone")

// session returns the lease of a caller, which begins its time anew, or a new one.
func session(ctx context.Context, store backend.Store, lease kv.LeaseID) (kv.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if lease != 0 {
		_, err := store.LeaseKeepAlive(ctx, lease) // whether there is one shows when it is used
		return lease, err
	}
	granted, err := store.LeaseGrant(ctx, 0, sessionTTL)
	return granted.ID, err
}

// place is a key in a row.
type place struct {
	store    backend.Store
	row, key []byte
	lease    kv.LeaseID
	// created is the revision of the key, by which the row is ordered.
	created uint64
	// own says that this call has made the key, and not another one with the same lease.
	own bool
}

// rowOf is the prefix of the keys of a row.
func rowOf(name []byte) []byte { return append(append([]byte(nil), name...), '/') }

// joined is what joining a row has come to.
type joined struct {
	*place
	// had is the key as another call with the same lease has made it; nil if this one has.
	had *kv.KeyValue
	// first says that nobody is before the place, at the revision.
	first    bool
	revision uint64
}

// join takes a place in the row of a name, or returns the one that the lease has there already. It is not given up with ctx: nobody would know then whether
// there is a key, which would stand in the row for as long as its lease lives. Whoever gives up is told so by wait.
func join(ctx context.Context, store backend.Store, name []byte, lease kv.LeaseID, value []byte) (joined, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	p := &place{store: store, row: rowOf(name), lease: lease}
	p.key = fmt.Appendf(append([]byte(nil), p.row...), "%x", lease)
	put := kv.PutOp(p.key, value)
	put.Lease = lease
	// Who is first is found out at the same moment: who was there already may hold what it asks for, and must not be taken for one that still waits.
	first := kv.RangeOp(kv.RangeRequest{Keys: kv.Prefix(p.row), KeysOnly: true, Limit: 1, Sort: kv.SortAscending, Target: kv.SortByCreate})
	result, err := store.Txn(ctx, backend.TxnRequest{Txn: kv.Txn{
		Compares: []kv.Compare{{Keys: kv.One(p.key), Target: kv.TargetCreate, Relation: kv.Equal, Number: 0}},
		Success:  []kv.Op{put, first},
		Failure:  []kv.Op{kv.RangeOp(kv.RangeRequest{Keys: kv.One(p.key)}), first},
	}})
	if err != nil {
		return joined{}, err
	}
	j := joined{place: p, revision: result.Revision}
	if p.own = result.Succeeded; p.own {
		p.created = result.Revision
	} else {
		j.had = &result.Ops[0].Range.Items[0]
		p.created = j.had.CreateRevision
	}
	ahead, err := next(result.Ops[1].Range)
	if err != nil {
		p.leave(ctx)
		return joined{}, err
	}
	j.first = bytes.Equal(ahead, p.key)
	return j, nil
}

// next is the key that a range found, nil if there is none. A row of more keys than a transaction sorts tells nothing of who is where: nobody may take that for an empty one.
func next(found *kv.RangeResult) ([]byte, error) {
	switch {
	case len(found.Items) > 0:
		return found.Items[0].Key, nil
	case found.More:
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	return nil, nil
}

// wait returns the store's revision once nobody is before the place. Errors: errLeft; that of ctx also if the place is first.
func (j *joined) wait(ctx context.Context) (uint64, error) {
	switch {
	case !j.first:
		return j.place.wait(ctx)
	case j.own:
		return j.revision, ctx.Err() // who has gone will not give back what it never heard of
	}
	return j.revision, nil
}

// wait returns the store's revision once nobody is before the place. Errors: errLeft.
func (p *place) wait(ctx context.Context) (uint64, error) {
	for {
		before, revision, err := p.before(ctx)
		if err != nil || before == nil {
			return revision, err
		}
		if err := p.deleted(ctx, before, revision+1); err != nil {
			return 0, err
		}
	}
}

// before returns the key that is next before the place, nil if there is none.
func (p *place) before(ctx context.Context) (key []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result, err := p.store.Txn(ctx, backend.TxnRequest{Txn: kv.Txn{Success: []kv.Op{
		kv.RangeOp(kv.RangeRequest{Keys: kv.One(p.key), KeysOnly: true}),
		kv.RangeOp(kv.RangeRequest{
			Keys: kv.Prefix(p.row), KeysOnly: true, Limit: 1, Sort: kv.SortDescending, Target: kv.SortByCreate, MaxCreateRevision: p.created - 1,
		}),
	}}})
	if err != nil {
		return nil, 0, err
	}
	if own := result.Ops[0].Range.Items; len(own) == 0 || own[0].CreateRevision != p.created {
		return nil, 0, errLeft
	}
	key, err = next(result.Ops[1].Range)
	return key, result.Revision, err
}

// deleted returns when one of the two keys is deleted at the revision or later, or when that is not to be told.
func (p *place) deleted(ctx context.Context, before []byte, from uint64) error {
	stream, err := p.store.Watch()
	if err != nil {
		return err
	}
	defer stream.Close()
	for _, key := range [][]byte{before, p.key} {
		if _, err := stream.Watch(watch.Request{ID: watch.AutoID, Keys: kv.One(key), StartRevision: from, NoPut: true}); err != nil {
			return err
		}
	}
	for {
		r, err := stream.Next(ctx)
		if err != nil || len(r.Events) > 0 || r.Canceled {
			return err
		}
	}
}

// leave gives a place up whose caller has gone. One that another call with the same lease has made is left only as long as somebody is before it: that
// call may hold what it asked for.
func (p *place) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	remove := kv.Txn{Compares: []kv.Compare{p.unchanged()}, Success: []kv.Op{kv.DeleteOp(kv.One(p.key))}}
	t := remove
	if !p.own {
		nobodyBefore := kv.Compare{Keys: kv.Prefix(p.row), Target: kv.TargetCreate, Relation: kv.Greater, Number: p.created - 1}
		t = kv.Txn{Compares: []kv.Compare{nobodyBefore}, Failure: []kv.Op{{Kind: kv.OpTxn, Txn: &remove}}}
	}
	// If it fails, the key goes with its lease.
	_, _ = p.store.Txn(ctx, backend.TxnRequest{OutcomeOnly: true, Txn: t})
}

// unchanged holds while the key is in its row.
func (p *place) unchanged() kv.Compare {
	return kv.Compare{Keys: kv.One(p.key), Target: kv.TargetCreate, Relation: kv.Equal, Number: p.created}
}
