//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// Watches run beside the clients, from the first revision on. Each goes on at another node when its stream ends, from what it has seen. In the
// end all must have been told the same: all that was written, in its order, nothing twice, each revision in one piece.

// lastPair is the key that is written when all else is.
const lastPair = pairPrefix + "z"

// event is one write as a watch was told of it.
type event struct {
	deleted           bool
	key, value        string
	revision, created int64
	version           int64
	// prev is the mod revision of the version that it took the place of, 0 if there was none.
	prev int64
}

func (e event) String() string {
	if e.deleted {
		return fmt.Sprintf("delete %s at %d (after %d)", e.key, e.revision, e.prev)
	}
	return fmt.Sprintf("put %s=%s at %d (created %d, version %d, after %d)", e.key, e.value, e.revision, e.created, e.version, e.prev)
}

func eventOf(e *mvccpb.Event) event {
	out := event{deleted: e.Type == mvccpb.Event_DELETE, key: string(e.Kv.Key), value: string(e.Kv.Value), revision: e.Kv.ModRevision,
		created: e.Kv.CreateRevision, version: e.Kv.Version}
	if e.PrevKv != nil {
		out.prev = e.PrevKv.ModRevision
	}
	return out
}

// diary is what one watcher was told, with all that is wrong with it.
type diary struct {
	events []event
	// streams counts those that were begun.
	streams    int
	complaints []string
}

// take adds one response, which must be whole revisions that follow those before.
func (d *diary) take(events []event) {
	for i, e := range events {
		last := int64(0)
		if n := len(d.events); n > 0 {
			last = d.events[n-1].revision
		}
		switch {
		case e.revision < last:
			d.complain("%v after revision %d: out of order, or repeated", e, last)
		case i == 0 && e.revision == last:
			d.complain("%v in another response than the rest of its revision, or repeated", e)
		}
		for n := len(d.events) - 1; n >= 0 && d.events[n].revision == e.revision; n-- {
			if d.events[n].key == e.key {
				d.complain("%v twice", e)
			}
		}
		d.events = append(d.events, e)
	}
}

func (d *diary) complain(format string, args ...any) {
	const most = 10
	if len(d.complaints) < most {
		d.complaints = append(d.complaints, fmt.Sprintf(format, args...))
	}
}

// next is the revision to go on from.
func (d *diary) next() int64 {
	if n := len(d.events); n > 0 {
		return d.events[n-1].revision + 1
	}
	return 1
}

func (d *diary) complete() bool {
	n := len(d.events)
	return n > 0 && d.events[n-1].key == lastPair
}

// consistent holds the events against each other: every version follows the one before of its key.
func consistent(events []event) error {
	type version struct{ revision, created, version int64 }
	at := map[string]version{}
	for _, e := range events {
		old, there := at[e.key]
		if e.prev != old.revision {
			return fmt.Errorf("%v, where the key was at revision %d", e, old.revision)
		}
		switch {
		case e.deleted && !there:
			return fmt.Errorf("%v of a key that was not there", e)
		case e.deleted:
			delete(at, e.key)
			continue
		case there && (e.created != old.created || e.version != old.version+1), !there && (e.created != e.revision || e.version != 1):
			return fmt.Errorf("%v, where the key was of revision %d, created %d, version %d", e, old.revision, old.created, old.version)
		}
		at[e.key] = version{e.revision, e.created, e.version}
	}
	return nil
}

// watchers watch the pairs, one from each node on.
type watchers struct {
	conns   []*grpc.ClientConn
	stop    context.CancelFunc
	running sync.WaitGroup
	diaries []*diary
}

func startWatchers(t *testing.T, c *cluster) *watchers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchers{stop: cancel}
	for _, n := range c.nodes {
		w.conns = append(w.conns, dialEtcd(t, n))
	}
	for i := range c.nodes {
		d := &diary{}
		w.diaries = append(w.diaries, d)
		w.running.Go(func() { w.follow(ctx, d, i) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *watchers) end() {
	w.stop()
	w.running.Wait()
}

// follow watches until it has seen the last key. A stream that says nothing for a while, though there are writes all the time, is left: its node
// may be cut off.
func (w *watchers) follow(ctx context.Context, d *diary, node int) {
	for ; !d.complete() && ctx.Err() == nil; node++ {
		if err := watchOnce(ctx, w.conns[node%len(w.conns)], d); err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(refusedPause):
			}
		}
	}
}

// errSilent says that a stream was left.
var errSilent = errors.New("the watch says nothing")

// watchOnce watches on one stream until that ends or the last key was seen.
func watchOnce(ctx context.Context, conn *grpc.ClientConn, d *diary) error {
	const silence = 2 * time.Second
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return err
	}
	create := &pb.WatchCreateRequest{Key: []byte(pairPrefix), RangeEnd: []byte(pairPrefix[:len(pairPrefix)-1] + "0"), StartRevision: d.next(), PrevKv: true}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return err
	}
	for !d.complete() {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if r.Canceled {
			d.complain("a watch from %d on was canceled: %s", create.StartRevision, r.CancelReason)
			return nil
		}
		silent.Reset(silence)
		if r.Created {
			d.streams++
		}
		var events []event
		for _, e := range r.Events {
			events = append(events, eventOf(e))
		}
		d.take(events)
	}
	return nil
}

// check writes the last key, waits until all watchers have seen it, and compares what they were told with each other, with what a watch of the
// whole history is told now, with what clients were acknowledged, and with what is there.
func (w *watchers) check(t *testing.T, acknowledged []*pairOperation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	eventually(t, patience, "the last write", func() error {
		_, err := pb.NewKVClient(w.conns[0]).Put(ctx, &pb.PutRequest{Key: []byte(lastPair), Value: []byte("end")})
		return err
	})
	truth := &diary{}
	eventually(t, patience, "a watch of all that was written", func() error { return watchOnce(ctx, w.conns[0], truth) })
	seen := make(chan struct{})
	go func() {
		w.running.Wait()
		close(seen)
	}()
	select {
	case <-seen:
	case <-ctx.Done():
		w.end()
		t.Error("a watcher never saw the last write")
	}
	resumed := 0
	for i, d := range append(w.diaries, truth) {
		for _, c := range d.complaints {
			t.Errorf("watcher %d: %s", i, c)
		}
		if difference := firstDifferent(d.events, truth.events); difference != "" {
			t.Errorf("watcher %d was told something else than the history says: %s", i, difference)
		}
		resumed += d.streams - 1
	}
	if err := consistent(truth.events); err != nil {
		t.Error(err)
	}
	if err := tells(truth.events, acknowledged); err != nil {
		t.Error(err)
	}
	w.checkState(ctx, t, truth.events)
	t.Logf("%d watchers were told of %d events each, and went on %d times", len(w.diaries), len(truth.events), resumed)
}

func firstDifferent(got, want []event) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("event %d is %v, not %v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d events, not %d", len(got), len(want))
	}
	return ""
}

// tells finds every write that was acknowledged among the events, whole and at its revision.
func tells(events []event, acknowledged []*pairOperation) error {
	type write struct {
		key, value string
		revision   uint64
	}
	told := map[write]bool{}
	for _, e := range events {
		told[write{e.key, e.value, uint64(e.revision)}] = true
	}
	for _, o := range acknowledged {
		first, second := o.keys()
		keys := []string{string(first), string(second)}
		if o.kind == pairHalf {
			keys = keys[:1]
		}
		for _, key := range keys {
			if !told[write{key, o.value, o.revision}] {
				return fmt.Errorf("no watch was told of %s in: %v", key, o)
			}
		}
	}
	return nil
}

// checkState compares what every node holds with what the events make.
func (w *watchers) checkState(ctx context.Context, t *testing.T, events []event) {
	t.Helper()
	want := map[string]event{}
	for _, e := range events {
		if e.prev = 0; e.deleted {
			delete(want, e.key)
		} else {
			want[e.key] = e
		}
	}
	for i, conn := range w.conns {
		r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(pairPrefix), RangeEnd: []byte(pairPrefix[:len(pairPrefix)-1] + "0")})
		if err != nil {
			t.Errorf("node %d: %v", i, err)
			continue
		}
		if len(r.Kvs) != len(want) {
			t.Errorf("node %d holds %d keys of pairs, the events make %d", i, len(r.Kvs), len(want))
		}
		for _, kv := range r.Kvs {
			if got := eventOf(&mvccpb.Event{Kv: kv}); got != want[got.key] {
				t.Errorf("node %d holds %v, the events make %v", i, got, want[got.key])
			}
		}
	}
}

func TestWatchCheckerTellsRightFromWrong(t *testing.T) {
	put := func(key, value string, revision, created, version, prev int64) event {
		return event{key: key, value: value, revision: revision, created: created, version: version, prev: prev}
	}
	right := [][]event{
		{put("x", "1", 2, 2, 1, 0), put("y", "1", 2, 2, 1, 0)}, {put("x", "2", 3, 2, 2, 2)},
		{{deleted: true, key: "x", revision: 5, prev: 3}}, {put("x", "3", 6, 6, 1, 0)},
	}
	for _, x := range []struct {
		name  string
		right bool
		spoil func(r [][]event) [][]event
	}{
		{"as it was", true, func(r [][]event) [][]event { return r }},
		{"many in one response", true, func(r [][]event) [][]event { return [][]event{slices.Concat(r...)} }},
		{"a lost event", false, func(r [][]event) [][]event { return slices.Delete(r, 1, 2) }},
		{"a repeated one", false, func(r [][]event) [][]event { return slices.Insert(r, 2, r[1]) }},
		{"a change of order", false, func(r [][]event) [][]event { return [][]event{r[1], r[0], r[2], r[3]} }},
		{"a torn revision", false, func(r [][]event) [][]event { return slices.Insert(r[1:], 0, r[0][:1], r[0][1:]) }},
		{"one twice in a response", false, func(r [][]event) [][]event { return append(r[:3:3], []event{r[3][0], r[3][0]}) }},
		{"a wrong previous version", false, func(r [][]event) [][]event { return append(r[:3:3], []event{put("x", "3", 6, 6, 1, 3)}) }},
		{"a wrong version", false, func(r [][]event) [][]event { return append(r[:3:3], []event{put("x", "3", 6, 2, 3, 0)}) }},
		{"a deletion of nothing", false, func(r [][]event) [][]event { return append(r, []event{{deleted: true, key: "q", revision: 7}}) }},
	} {
		d := &diary{}
		for _, events := range x.spoil(slices.Clone(right)) {
			d.take(events)
		}
		if err := consistent(d.events); (err == nil && len(d.complaints) == 0) != x.right {
			t.Errorf("%s: %v, %v", x.name, err, d.complaints)
		}
	}
	written := &pairOperation{kind: pairWrite, pair: "", value: "1", revision: 2}
	if err := tells(slices.Concat(right...), []*pairOperation{written}); err != nil {
		t.Error(err)
	}
	if err := tells(slices.Concat(right...)[1:], []*pairOperation{written}); err == nil {
		t.Error("half of an acknowledged write is not missed")
	}
}
