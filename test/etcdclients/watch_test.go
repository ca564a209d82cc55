package etcdclients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// next returns the next response of a watch.
func next(ctx context.Context, t *testing.T, w clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case r, ok := <-w:
		if !ok {
			t.Fatal("the watch ended")
		}
		return r
	case <-ctx.Done():
		t.Fatal("the watch tells nothing")
	}
	panic("unreachable")
}

// events collects a number of events, as TYPE key=value or with what was before.
func events(ctx context.Context, t *testing.T, w clientv3.WatchChan, count int) []string {
	t.Helper()
	var out []string
	for len(out) < count {
		r := next(ctx, t, w)
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		for _, e := range r.Events {
			_, key, _ := strings.Cut(string(e.Kv.Key), "/")
			text := fmt.Sprintf("%s %s=%s", e.Type, key, e.Kv.Value)
			if e.PrevKv != nil {
				text += " was " + string(e.PrevKv.Value)
			}
			out = append(out, text)
		}
	}
	return out
}

func TestWatch(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := func(s string) string { return name + "/" + s }
	now := c.Watch(ctx, key(""), clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	created := next(ctx, t, now)
	if !created.Created || created.Header.Revision == 0 {
		t.Fatalf("%+v", created)
	}
	puts := c.Watch(ctx, key(""), clientv3.WithPrefix(), clientv3.WithFilterDelete())
	first := must(c.Put(ctx, key("a"), "1"))(t).Header.Revision
	_ = must(c.Put(ctx, key("a"), "2"))(t)
	both := must(c.Txn(ctx).Then(clientv3.OpPut(key("b"), "3"), clientv3.OpDelete(key("a"))).Commit())(t)
	want := "PUT a=1, PUT a=2 was 1, PUT b=3, DELETE a= was 2"
	if got := strings.Join(events(ctx, t, now, 4), ", "); got != want {
		t.Errorf("from now on: %s", got)
	}
	if got := strings.Join(events(ctx, t, puts, 1), ", "); !strings.HasPrefix(got, "PUT ") {
		t.Errorf("puts only: %s", got)
	}
	// History, in as many goes as revisions, and all of one revision together.
	past := c.Watch(ctx, key(""), clientv3.WithPrefix(), clientv3.WithRev(first+1))
	var revisions []int64
	for n := 0; n < 3; {
		r := next(ctx, t, past)
		for _, e := range r.Events {
			revisions = append(revisions, e.Kv.ModRevision)
			n++
		}
		if last := r.Events[len(r.Events)-1].Kv.ModRevision; r.Header.Revision < last {
			t.Errorf("a header of revision %d with an event of %d", r.Header.Revision, last)
		}
	}
	if want := []int64{first + 1, both.Header.Revision, both.Header.Revision}; fmt.Sprint(revisions) != fmt.Sprint(want) {
		t.Errorf("history: %v, want %v", revisions, want)
	}
	// A revision that is still to come is waited for.
	future := c.Watch(ctx, key("z"), clientv3.WithRev(both.Header.Revision+2))
	_ = must(c.Put(ctx, key("z"), "early"))(t)
	_ = must(c.Put(ctx, key("z"), "late"))(t)
	if got := events(ctx, t, future, 1); got[0] != "PUT z=late" {
		t.Errorf("from a later revision: %v", got)
	}
}

// TestWatchProgress: on an interval, and when it is asked for.
func TestWatchProgress(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := name
	interval := c.Watch(clientv3.WithRequireLeader(ctx), key, clientv3.WithProgressNotify())
	head := must(c.Put(ctx, key+"other", "v"))(t).Header.Revision
	for {
		if r := next(ctx, t, interval); r.IsProgressNotify() && r.Header.Revision >= head {
			break
		}
	}
	asked := c.Watch(ctx, key, clientv3.WithCreatedNotify())
	_ = next(ctx, t, asked)
	head = must(c.Put(ctx, key+"other", "v"))(t).Header.Revision
	// A node that is behind tells the progress that it has made.
	eventually(t, "progress is told", func() bool {
		if err := c.RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		r := next(ctx, t, asked)
		return r.IsProgressNotify() && r.Header.Revision >= head
	})
}

// TestWatchFragments: what is too large for one message comes in several, and the client puts them together.
func TestWatchFragments(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := name + "/"
	w := c.Watch(ctx, key, clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithPrevKV())
	const keys, size = 20, 70_000
	for range 3 {
		var ops []clientv3.Op
		for i := range keys {
			ops = append(ops, clientv3.OpPut(fmt.Sprint(key, 10+i), strings.Repeat("x", size)))
		}
		_ = must(c.Txn(ctx).Then(ops...).Commit())(t)
	}
	var got []*clientv3.Event
	for len(got) < 3*keys {
		r := next(ctx, t, w)
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		got = append(got, r.Events...)
	}
	for i, e := range got {
		if string(e.Kv.Key) != fmt.Sprint(key, 10+i%keys) || len(e.Kv.Value) != size || (e.PrevKv != nil) != (i >= keys) {
			t.Fatalf("event %d is %s with %d bytes", i, e.Kv.Key, len(e.Kv.Value))
		}
	}
}

// TestWatchOutlivesItsNode: the client goes on where it was, on another node; nothing is missed, nothing comes twice.
func TestWatchOutlivesItsNode(t *testing.T) {
	mine := own(t, members)
	ctx, leader := within(t), mine.leader(t)
	var others []*node
	for _, n := range mine.nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	// The watch is on the leader, until that is killed.
	watcher, writer := mine.dial(t, append([]*node{leader}, others...)...), mine.dial(t, others...)
	w := watcher.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	_ = next(ctx, t, w)
	const count = 60
	go func() {
		for i := range count {
			if i == count/3 {
				leader.end(syscall.SIGKILL)
			}
			for ctx.Err() == nil {
				// A put whose outcome is unknown is not to be done twice here.
				_, err := writer.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(fmt.Sprint("k", i)), "=", 0)).Then(clientv3.OpPut(fmt.Sprint("k", i), "v")).Commit()
				if err == nil {
					break
				}
				time.Sleep(pause)
			}
		}
	}()
	last := int64(0)
	for i := 0; i < count; {
		r := next(ctx, t, w)
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		for _, e := range r.Events {
			if string(e.Kv.Key) != fmt.Sprint("k", i) || e.Kv.ModRevision <= last {
				t.Fatalf("event %d is of %s at revision %d after %d", i, e.Kv.Key, e.Kv.ModRevision, last)
			}
			last = e.Kv.ModRevision
			i++
		}
	}
	// The node that comes back serves, and knows what it missed.
	if err := leader.start(); err != nil {
		t.Fatal(err)
	}
	if err := leader.serves(); err != nil {
		t.Fatal(err)
	}
	back := mine.dial(t, leader)
	if r := must(back.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithCountOnly()))(t); r.Count != count {
		t.Errorf("%d keys on the node that was killed", r.Count)
	}
	if got := events(ctx, t, back.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(1)), count); len(got) != count {
		t.Errorf("%d events there", len(got))
	}
}

// TestCompaction ends watches and reads of what is gone.
func TestCompaction(t *testing.T) {
	mine := own(t, 1)
	ctx, c := within(t), mine.dial(t)
	var head int64
	for i := range 10 {
		head = must(c.Put(ctx, "k", fmt.Sprint(i)))(t).Header.Revision
	}
	_ = must(c.Compact(ctx, head-2, clientv3.WithCompactPhysical()))(t)
	if _, err := c.Get(ctx, "k", clientv3.WithRev(head-3)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a read: %v", err)
	}
	if _, err := c.Compact(ctx, head-3); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("another compaction: %v", err)
	}
	if r := must(c.Get(ctx, "k", clientv3.WithRev(head-2)))(t); string(r.Kvs[0].Value) != "7" {
		t.Errorf("at the revision of the compaction: %v", r)
	}
	w := c.Watch(ctx, "k", clientv3.WithRev(2))
	r := next(ctx, t, w)
	if !r.Canceled || r.CompactRevision != head-2 || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from before: %+v, %v", r, r.Err())
	}
	if _, open := <-w; open {
		t.Error("the watch goes on")
	}
	got := next(ctx, t, c.Watch(ctx, "k", clientv3.WithRev(head-2)))
	if len(got.Events) == 0 || got.Events[0].Type != mvccpb.PUT || got.Events[0].Kv.ModRevision != head-2 {
		t.Errorf("a watch from there: %+v", got)
	}
}
