package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// The last of three nodes founds a new cluster with everything that was acknowledged; a node of the old one that comes back is told to give its
// directory up, and is added.
func TestTheLastSurvivorIsRebuiltWithAllThatWasAcknowledged(t *testing.T) {
	nodes := operate(t, "a", "b", "c")
	leader := leaderOf(t, nodes)
	for i := range 50 {
		leader.mustPut(fmt.Sprintf("k%d", i), fmt.Sprint(i))
	}
	long := testContext(t)
	c := openClient(t, []*instance{leader})
	watch, err := c.Watch(long, client.Prefix("k"), client.WithRevision(2))
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for seen := 0; seen < 50; {
		batch, err := watch.Next(long)
		if err != nil {
			t.Fatal(err)
		}
		seen, last = seen+len(batch.Events), batch.Revision
	}
	rest := others(nodes, leader)
	for _, n := range rest {
		n.mustStop()
	}
	old := leader.await("leaderless", func(s admin.Status) bool {
		return s.State == admin.StateMember && s.Leader == 0 && s.LastIndex != 0
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request := &admin.RefoundRequest{ClusterID: old.ClusterID, Incarnation: old.Incarnation, NewClusterID: 0xfeed, Member: leader.member(old.Incarnation)}
	wrong := *request
	wrong.ClusterID++
	if _, err := leader.admin().Refound(ctx, &wrong); rpc.ReasonOf(err) != admin.ReasonOtherCluster {
		t.Errorf("another cluster was meant: %v", err)
	}
	if _, err := leader.admin().Refound(ctx, request); err != nil {
		t.Fatal(err)
	}
	now := leader.await("of a new cluster", func(s admin.Status) bool { return s.Ready && s.ClusterID == 0xfeed })
	if now.Incarnation == old.Incarnation || len(now.Members) != 1 || now.LastIndex <= old.LastIndex {
		t.Errorf("the node became %+v", now)
	}
	if _, err := leader.admin().Refound(ctx, request); err != nil {
		t.Errorf("a repeated call: %v", err)
	}
	for i := range 50 {
		leader.mustGet(fmt.Sprintf("k%d", i), fmt.Sprint(i))
	}
	// Who followed the old cluster may have seen more than the survivor knows: it is told.
	var compacted *client.CompactedError
	if batch, err := watch.Next(long); !errors.As(err, &compacted) || compacted.Revision < last+kv.DefaultBumpRevision {
		t.Errorf("a watch that goes on: %+v, %v", batch, err)
	}
	toldAsCompacted := func(n *instance) {
		t.Helper()
		ask := openClient(t, []*instance{n}, func(c *client.Config) { c.StaticEndpoints = true })
		for _, old := range []uint64{2, last, last + 1, last + 1000} {
			if got, err := ask.Get(long, "k1", client.WithRevision(old), client.WithSerializable()); !errors.Is(err, client.ErrCompacted) {
				t.Errorf("a read at revision %d of the old cluster: %+v, %v", old, got, err)
			}
		}
		got, err := ask.Get(long, "k1")
		if err != nil || got.Revision < last+kv.DefaultBumpRevision || got.KV.ModRevision > last || got.KV.Version != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	toldAsCompacted(leader)
	leader.mustPut("after", "1")

	back := rest[0]
	back.start()
	was := back.await("back, of the old cluster", func(s admin.Status) bool { return s.State == admin.StateMember && s.Leader == 0 })
	if _, err := back.admin().Abandon(ctx, &admin.AbandonRequest{ClusterID: was.ClusterID, Incarnation: was.Incarnation}); err != nil {
		t.Fatal(err)
	}
	back.await("empty", func(s admin.Status) bool { return s.State == admin.StateEmpty && s.Incarnation != was.Incarnation })
	add(t, []*instance{leader}, back)
	back.awaitReady()
	back.mustGet("after", "1")
	back.mustGet("k49", "49")
	toldAsCompacted(back)
	leader.mustStop()
	leader.start()
	leader.awaitReady()
	leader.mustGet("k0", "0")
	toldAsCompacted(leader)
	if s, err := leader.status(); err != nil || s.ClusterID != raft.ClusterID(0xfeed) {
		t.Errorf("after a restart %+v, %v", s, err)
	}
}
