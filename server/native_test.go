package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// openClient opens a client of some nodes.
func openClient(t *testing.T, nodes []*instance, change ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{CallTimeout: patience}
	for _, i := range nodes {
		cfg.Endpoints = append(cfg.Endpoints, i.client)
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // for all that a test does
	t.Cleanup(cancel)
	return ctx
}

func TestTheNativeClientDoesWhatTheStoreDoes(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	c := openClient(t, nodes)
	ctx := testContext(t)

	put, err := c.Put(ctx, "a", []byte("1"))
	if err != nil || put.Revision < 2 {
		t.Fatalf("put: %+v, %v", put, err)
	}
	if got, err := c.Get(ctx, "a"); err != nil || !got.Found || string(got.KV.Value) != "1" || got.KV.ModRevision != put.Revision || got.KV.Version != 1 {
		t.Errorf("get: %+v, %v", got, err)
	}
	if got, err := c.Get(ctx, "nothing", client.WithSerializable()); err != nil || got.Found {
		t.Errorf("get of nothing: %+v, %v", got, err)
	}
	again, err := c.Put(ctx, "a", []byte("2"), client.WithPrevKV())
	if err != nil || again.Prev == nil || string(again.Prev.Value) != "1" {
		t.Errorf("put with the version before: %+v, %v", again, err)
	}
	if old, err := c.Get(ctx, "a", client.WithRevision(put.Revision)); err != nil || string(old.KV.Value) != "1" {
		t.Errorf("get of an old revision: %+v, %v", old, err)
	}
	if _, err := c.Put(ctx, "", nil); !errors.Is(err, client.ErrEmptyKey) {
		t.Errorf("put without a key: %v", err)
	}
	if _, err := c.Put(ctx, "missing", nil, client.WithIgnoreValue()); !errors.Is(err, client.ErrKeyNotFound) {
		t.Errorf("put that keeps what is not there: %v", err)
	}
	if _, err := c.Get(ctx, "a", client.WithRevision(1<<40)); !errors.Is(err, client.ErrFutureRevision) {
		t.Errorf("get from the future: %v", err)
	}
	if _, err := c.Put(ctx, "big", make([]byte, 3<<20)); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("put past the limit: %v", err)
	}

	result, err := c.Txn().If(client.Value(client.Key("a"), []byte("2")).Is(), client.Missing(client.Key("b"))).
		Then(client.OpPut("b", []byte("3")), client.OpGet("a"), client.OpTxn([]client.Cond{client.Exists("a")}, []client.Op{client.OpDelete(client.Key("a"))}, nil)).
		Else(client.OpGet("a")).Commit(ctx)
	if err != nil || !result.Succeeded || len(result.Results) != 3 || string(result.Results[1].Range.Items[0].Value) != "2" ||
		result.Results[2].Txn == nil || result.Results[2].Txn.Results[0].Deleted != 1 {
		t.Errorf("transaction: %+v, %v", result, err)
	}
	result, err = c.Txn().If(client.Exists("a")).Else(client.OpGet("b")).Commit(ctx)
	if err != nil || result.Succeeded || string(result.Results[0].Range.Items[0].Value) != "3" {
		t.Errorf("reading transaction: %+v, %v", result, err)
	}

	if _, err := c.Compact(ctx, put.Revision, true); err != nil {
		t.Errorf("compaction: %v", err)
	}
	if _, err := c.Compact(ctx, put.Revision, false); !errors.Is(err, client.ErrCompacted) {
		t.Errorf("compaction again: %v", err)
	}
	deleted, err := c.Delete(ctx, client.All(), client.WithPrevKV())
	if err != nil || deleted.Deleted != 1 || len(deleted.Prev) != 1 || string(deleted.Prev[0].Key) != "b" {
		t.Errorf("deletion: %+v, %v", deleted, err)
	}
}

func TestTheNativeClientReadsLargeRangesInParts(t *testing.T) {
	nodes := staticCluster(t, "a")
	c := openClient(t, nodes)
	ctx := testContext(t)
	value := bytes.Repeat([]byte("v"), 1<<20)
	for i := range 13 {
		if _, err := c.Put(ctx, fmt.Sprintf("k%02d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Range(ctx, client.Prefix("k"), client.WithCount())
	if err != nil || len(all.Items) != 13 || all.More || all.Count != 13 {
		t.Errorf("%d items, more %v, count %d, %v", len(all.Items), all.More, all.Count, err)
	}
	some, err := c.Range(ctx, client.Prefix("k"), client.WithLimit(7))
	if err != nil || len(some.Items) != 7 || !some.More || string(some.Items[6].Key) != "k06" {
		t.Errorf("%d items, more %v, %v", len(some.Items), some.More, err)
	}
	if _, err := c.Range(ctx, client.Prefix("k"), client.WithSort(client.SortByModRevision, client.Descending)); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("sorted: %v", err)
	}
	keys, err := c.Range(ctx, client.Prefix("k"), client.WithSort(client.SortByModRevision, client.Descending), client.WithKeysOnly())
	if err != nil || len(keys.Items) != 13 || string(keys.Items[0].Key) != "k12" {
		t.Errorf("sorted keys: %+v, %v", keys, err)
	}
}

func TestTheNativeClientKeepsLeases(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	c := openClient(t, nodes)
	ctx := testContext(t)
	lease, err := c.Grant(ctx, 5500*time.Millisecond)
	if err != nil || lease.ID <= 0 || lease.TTL < 6*time.Second {
		t.Fatalf("grant: %+v, %v", lease, err)
	}
	alive := c.KeepAlive(lease.ID) // from the beginning: a busy machine may need long for what follows
	if _, err := c.GrantID(ctx, lease.ID, time.Minute); !errors.Is(err, client.ErrLeaseExists) {
		t.Errorf("grant again: %v", err)
	}
	if _, err := c.Put(ctx, "k", nil, client.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	status, err := c.TimeToLive(ctx, lease.ID, true)
	if err != nil || len(status.Keys) != 1 || status.TTL != lease.TTL {
		t.Errorf("time to live: %+v, %v", status, err)
	}
	if ids, err := c.Leases(ctx); err != nil || len(ids) != 1 || ids[0] != lease.ID {
		t.Errorf("leases: %v, %v", ids, err)
	}
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	<-alive.Done()
	if !errors.Is(alive.Err(), client.ErrLeaseNotFound) {
		t.Errorf("the end of the keep-alive: %v", alive.Err())
	}
	if got, err := c.Get(ctx, "k"); err != nil || got.Found {
		t.Errorf("the lease's key: %+v, %v", got, err)
	}
	if _, err := c.KeepAliveOnce(ctx, lease.ID); !errors.Is(err, client.ErrLeaseNotFound) {
		t.Errorf("keep alive of nothing: %v", err)
	}
}

func TestTheNativeClientLooksAfterTheCluster(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	c := openClient(t, nodes[:1])
	ctx := testContext(t)
	var members []client.Member
	for len(members) != 3 {
		var err error
		if members, err = c.Members(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var target client.Member
	undisturbed(t, nodes, 1, func() error {
		status, err := c.Status(ctx, nodes[1].client)
		if err != nil || status.Name != "b" || status.ClusterID == 0 || status.Leader == 0 {
			return fmt.Errorf("status: %+v, %w", status, err)
		}
		for _, m := range members {
			if m.ID != status.Leader {
				target = m
			}
		}
		if err := c.MoveLeader(ctx, target.ID); err != nil {
			return fmt.Errorf("moving the leader: %w", err)
		}
		// Who leads is told by the members that know it; the third hears of it a moment later.
		nodes[0].await("following a leader", func(s admin.Status) bool { return s.Leader != 0 && s.Leader != raft.NodeID(status.Leader) })
		if now, err := c.Status(ctx, nodes[0].client); err != nil || now.Leader != target.ID {
			return fmt.Errorf("the leader is %v, want %v; %w", now.Leader, target.ID, err)
		}
		return nil
	})
	put, err := c.Put(ctx, "k", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	var first client.Hash
	for i, n := range nodes {
		if _, err := c.Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		h, err := c.Hash(ctx, n.client, put.Revision)
		for errors.Is(err, client.ErrFutureRevision) {
			h, err = c.Hash(ctx, n.client, put.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = h
		}
		if h.Hash != first.Hash || h.Revision != put.Revision {
			t.Errorf("%+v differs from %+v", h, first)
		}
	}
	var image bytes.Buffer
	info, err := c.Snapshot(ctx, nodes[2].client, &image)
	if err != nil || info.Bytes == 0 || int64(image.Len()) != info.Bytes {
		t.Errorf("snapshot: %+v of %d bytes, %v", info, image.Len(), err)
	}
	if err := c.Defragment(ctx, nodes[0].client); err != nil {
		t.Errorf("defragmentation: %v", err)
	}
	raised := client.Alarm{Member: target.ID, Type: client.AlarmNoSpace}
	if err := c.RaiseAlarm(ctx, raised); err != nil {
		t.Fatal(err)
	}
	if alarms, err := c.Alarms(ctx); err != nil || len(alarms) != 1 || alarms[0] != raised {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	if _, err := c.Put(ctx, "k", []byte("w")); !errors.Is(err, client.ErrNoSpace) {
		t.Errorf("put under an alarm: %v", err)
	}
	if err := c.LowerAlarm(ctx, client.Alarm{}); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(patience)
	for len(c.Endpoints()) != 1 && time.Now().Before(deadline) { // the nodes of these tests have an admin token, so that they tell no address
		time.Sleep(time.Millisecond)
	}
}
