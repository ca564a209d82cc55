package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
)

// observer is a client that observes an election.
type observer struct {
	grpc.ServerStream
	ctx  context.Context
	told chan *v3electionpb.LeaderResponse
}

func (o *observer) Context() context.Context { return o.ctx }

func (o *observer) Send(r *v3electionpb.LeaderResponse) error {
	select {
	case o.told <- r:
		return nil
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
}

// A leader whose key was written long ago, in history that is compacted, is told once, and what it proclaims after that.
func TestALeaderOfLongAgoIsToldOnce(t *testing.T) {
	store := newAlone(t)
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
	defer s.Stop(t.Context())
	elections := &electionService{Server: s}
	won, err := elections.Campaign(t.Context(), &v3electionpb.CampaignRequest{Name: []byte("row"), Value: []byte("one"), Lease: store.lease(t)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := store.Put(t.Context(), backend.PutRequest{Key: []byte("other")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Compact(t.Context(), backend.CompactRequest{Revision: store.Revision()}); err != nil {
		t.Fatal(err)
	}
	store.handedOut(t)
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	o, ended := &observer{ctx: ctx, told: make(chan *v3electionpb.LeaderResponse)}, make(chan error, 1)
	go func() { ended <- elections.Observe(&v3electionpb.LeaderRequest{Name: []byte("row")}, o) }()
	next := func() string {
		t.Helper()
		select {
		case r := <-o.told:
			return string(r.Kv.Value)
		case err := <-ended:
			t.Fatal(err)
		}
		return ""
	}
	if got := next(); got != "one" {
		t.Fatalf("the leader is told as %q", got)
	}
	proclaimed := make(chan error, 1)
	go func() {
		_, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: won.Leader, Value: []byte("two")})
		proclaimed <- err
	}()
	if got := next(); got != "two" {
		t.Errorf("the leader is told again as %q", got)
	}
	cancel()
	if err := <-proclaimed; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
