package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
)

// Whoever gives up in the very moment in which its key is being made must not leave it: a key in front of the row, of a client that lives and does not know
// of it, holds the lock for ever.
func TestALockThatIsGivenUpEarlyLeavesNoKey(t *testing.T) {
	for what, ask := range map[string]func(context.Context, *Server, int64) error{
		"lock": func(ctx context.Context, s *Server, lease int64) error {
			_, err := (&lockService{Server: s}).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("row"), Lease: lease})
			return err
		},
		"campaign": func(ctx context.Context, s *Server, lease int64) error {
			_, err := (&electionService{Server: s}).Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("row"), Lease: lease})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			store := newAlone(t)
			s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
			defer s.Stop(t.Context())
			lease := store.lease(t)
			ctx, giveUp := context.WithCancel(t.Context())
			commands := 0
			store.set(func(a *alone) {
				a.proposing = func(ctx context.Context) error {
					if commands++; commands == 2 { // the first renews the lease
						giveUp()
					}
					return ctx.Err()
				}
			})
			if err := ask(ctx, s, lease); !errors.Is(err, context.Canceled) {
				t.Errorf("the call ended with %v", err)
			}
			if keys := store.keys(t, "row"); len(keys) > 0 {
				t.Errorf("it has left %q", keys)
			}
		})
	}
}

// A client may ask for a lock again that it holds. If that call fails, the lock is held still.
func TestALockThatIsHeldIsNotLostWithACallThatAsksAgain(t *testing.T) {
	store := newAlone(t)
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
	defer s.Stop(t.Context())
	locks, lease := &lockService{Server: s}, store.lease(t)
	held, err := locks.Lock(t.Context(), &v3lockpb.LockRequest{Name: []byte("row"), Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	store.set(func(a *alone) { a.reading = func(context.Context) error { return backend.ErrUnavailable } })
	again, err := locks.Lock(t.Context(), &v3lockpb.LockRequest{Name: []byte("row"), Lease: lease})
	if err == nil && string(again.Key) != string(held.Key) {
		t.Errorf("another key: %q", again.Key)
	}
	if keys := store.keys(t, "row"); len(keys) != 1 || keys[0] != string(held.Key) {
		t.Errorf("the row holds %q", keys)
	}
}

// Two calls with one lease stand in one place. It is left with the one that has made it, or by any as long as others are before it.
func TestAPlaceOfTwoCallsIsLeftWhereThatHarmsNobody(t *testing.T) {
	store := newAlone(t)
	ctx := t.Context()
	front, lease := store.lease(t), store.lease(t)
	first, err := join(ctx, store, []byte("row"), front, nil)
	if err != nil || !first.first || !first.own {
		t.Fatalf("%+v, %v", first, err)
	}
	mine, err := join(ctx, store, []byte("row"), lease, []byte("v"))
	if err != nil || mine.first || !mine.own || mine.had != nil {
		t.Fatalf("%+v, %v", mine, err)
	}
	again, err := join(ctx, store, []byte("row"), lease, nil)
	if err != nil || again.first || again.own || again.created != mine.created || string(again.had.Value) != "v" {
		t.Fatalf("%+v, %v", again, err)
	}
	first.leave(ctx)
	again.leave(ctx) // it is the first now, and may be what the other call holds
	if keys := store.keys(t, "row"); len(keys) != 1 || keys[0] != string(mine.key) {
		t.Fatalf("the row holds %q", keys)
	}
	mine.leave(ctx)
	if keys := store.keys(t, "row"); len(keys) > 0 {
		t.Fatalf("the row holds %q", keys)
	}
	if _, err = join(ctx, store, []byte("row"), front, nil); err != nil {
		t.Fatal(err)
	}
	if _, err = join(ctx, store, []byte("row"), lease, nil); err != nil {
		t.Fatal(err)
	}
	if again, err = join(ctx, store, []byte("row"), lease, nil); err != nil {
		t.Fatal(err)
	}
	again.leave(ctx)
	if keys := store.keys(t, "row"); len(keys) != 1 {
		t.Errorf("who waits no more stands in the row: %q", keys)
	}
}

// A row may hold more keys than a transaction sorts: whatever is below its prefix is in it. Who asks then is refused, and is not told that nobody is before it.
func TestARowOfMoreThanCanBeSortedIsRefused(t *testing.T) {
	store := crowded{newAlone(t)}
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
	defer s.Stop(t.Context())
	ctx, lease := t.Context(), store.lease(t)
	name := []byte("row")
	if _, err := (&lockService{Server: s}).Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: lease}); !errors.Is(err, rpctypes.ErrGRPCRequestTooLarge) {
		t.Errorf("a lock: %v", err)
	}
	if _, err := (&electionService{Server: s}).Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: lease}); !errors.Is(err, rpctypes.ErrGRPCRequestTooLarge) {
		t.Errorf("a campaign: %v", err)
	}
	// One that was in the row when it was not so long yet.
	waits := &place{store: store, row: rowOf(name), key: []byte("row/mine"), lease: lease}
	put, err := store.Put(ctx, backend.PutRequest{Key: waits.key, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	waits.created = put.Revision
	if _, err := waits.wait(ctx); !errors.Is(err, rpctypes.ErrGRPCRequestTooLarge) {
		t.Errorf("who waits: %v", err)
	}
	if keys := store.keys(t, fmt.Sprintf("row/%x", lease)); len(keys) > 0 {
		t.Errorf("%q are left", keys)
	}
}

// What a call in a row waits for takes a time of its own. That it is over is told in words that clients try again after.
func TestTimeThatIsOverWithinACallIsATimeout(t *testing.T) {
	store := newAlone(t)
	store.set(func(a *alone) { a.proposing = func(context.Context) error { return context.DeadlineExceeded } })
	_, c := serve(t, store)
	_, err := v3lockpb.NewLockClient(c).Lock(within(t), &v3lockpb.LockRequest{Name: []byte("row")})
	if status.Code(err) != codes.Unavailable || code(err) != "etcdserver: request timed out" {
		t.Errorf("%v", err)
	}
}
