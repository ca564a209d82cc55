package etcdclients

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeases(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := func(s string) string { return name + "/" + s }
	lease := must(c.Grant(ctx, 60))(t)
	if lease.TTL != 60 || lease.ID == 0 {
		t.Fatalf("%+v", lease)
	}
	for _, s := range []string{"a", "b", "c"} {
		_ = must(c.Put(ctx, key(s), "v", clientv3.WithLease(lease.ID)))(t)
	}
	_ = must(c.Put(ctx, key("b"), "v"))(t) // without its lease
	if r := must(c.Put(ctx, key("c"), "w", clientv3.WithIgnoreLease()))(t); r.Header.Revision == 0 {
		t.Error("no revision")
	}
	about := must(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))(t)
	if about.GrantedTTL != 60 || about.TTL > 60 || about.TTL < 1 || fmt.Sprintf("%s", about.Keys) != fmt.Sprintf("[%s %s]", key("a"), key("c")) {
		t.Errorf("%+v, keys %s", about, about.Keys)
	}
	if r := must(c.Get(ctx, key("a")))(t); r.Kvs[0].Lease != int64(lease.ID) {
		t.Errorf("the key's lease: %v", r)
	}
	listed := false
	for _, x := range must(c.Leases(ctx))(t).Leases {
		listed = listed || x.ID == lease.ID
	}
	if !listed {
		t.Error("the lease is not in the list")
	}
	if r := must(c.KeepAliveOnce(ctx, lease.ID))(t); r.TTL != 60 {
		t.Errorf("%+v", r)
	}
	w := c.Watch(ctx, key(""), clientv3.WithPrefix())
	_ = must(c.Put(ctx, key("start"), ""))(t)
	_ = events(ctx, t, w, 1)
	_ = must(c.Revoke(ctx, lease.ID))(t)
	if got := strings.Join(events(ctx, t, w, 2), ", "); got != "DELETE a=, DELETE c=" {
		t.Errorf("the keys of a lease that was revoked: %s", got)
	}
	if r := must(c.TimeToLive(ctx, lease.ID))(t); r.TTL != -1 {
		t.Errorf("a lease that is gone: %+v", r)
	}
	if _, err := c.KeepAliveOnce(ctx, lease.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("its renewal: %v", err)
	}
	chosen := must(c.Grant(ctx, 60))(t)
	_ = must(c.Revoke(ctx, chosen.ID))(t)
}

// TestLeaseEndsWhenNobodyRenewsIt, and not before.
func TestLeaseEndsWhenNobodyRenewsIt(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	kept, left := must(c.Grant(ctx, 2))(t), must(c.Grant(ctx, 2))(t)
	alive := must(c.KeepAlive(ctx, kept.ID))(t)
	_ = must(c.Put(ctx, name+"kept", "v", clientv3.WithLease(kept.ID)))(t)
	put := must(c.Put(ctx, name+"left", "v", clientv3.WithLease(left.ID)))(t)
	gone := next(ctx, t, c.Watch(ctx, name+"left", clientv3.WithRev(put.Header.Revision+1)))
	if len(gone.Events) != 1 || gone.Events[0].IsCreate() || gone.Events[0].IsModify() {
		t.Errorf("%+v", gone)
	}
	for range 3 {
		if r, open := <-alive; !open || r.TTL != 2 {
			t.Fatalf("%+v, %t", r, open)
		}
	}
	if r := must(c.Get(ctx, name+"kept"))(t); r.Count != 1 {
		t.Error("a key went whose lease was renewed")
	}
}
