package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/member"
)

// dial connects to a node as etcd's clients do.
func (i *instance) dial() *grpc.ClientConn {
	i.t.Helper()
	c, err := grpc.NewClient(i.client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = c.Close() })
	return c
}

// save streams a snapshot, as etcdctl saves it.
func (i *instance) save(ctx context.Context) []byte {
	i.t.Helper()
	stream, err := pb.NewMaintenanceClient(i.dial()).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		i.t.Fatal(err)
	}
	var b bytes.Buffer
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b.Bytes()
		}
		if err != nil {
			i.t.Fatal(err)
		}
		b.Write(r.Blob)
	}
}

// restore makes the node's directory from a file.
func (i *instance) restore(file []byte, how kv.RestoreOptions) error {
	i.t.Helper()
	cfg, err := i.config()
	if err != nil {
		i.t.Fatal(err)
	}
	_, err = member.Restore(member.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, bytes.NewReader(file), how)
	return err
}

// TestANewClusterFromASnapshotTellsWhoFollowedTheOldOne: whoever watches on from what the old cluster said is told that it was compacted, since
// revisions may have been given out there that the snapshot knows nothing of.
func TestANewClusterFromASnapshotTellsWhoFollowedTheOldOne(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	old := staticCluster(t, "a")[0]
	store := pb.NewKVClient(old.dial())
	lease, err := pb.NewLeaseClient(old.dial()).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 600, ID: 77})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string, lease int64) int64 {
		t.Helper()
		r, err := store.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	put("k", "1", 0)
	put("leased", "l", lease.ID)
	last := put("k", "2", 0)
	file := old.save(ctx)
	for range 5 {
		put("k", "after the snapshot", 0) // seen by clients, and lost
	}
	before, err := old.status()
	if err != nil {
		t.Fatal(err)
	}
	old.mustStop()

	const bump = 1_000_000
	restored := newInstance(t, "a")
	how := kv.RestoreOptions{BumpRevision: bump, MarkCompacted: true}
	damaged := bytes.Clone(file)
	damaged[len(damaged)/2] ^= 1
	if err := restored.restore(damaged, how); err == nil {
		t.Fatal("a damaged file was restored")
	}
	if _, err := os.Stat(restored.dataDir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a failed restoration leaves a directory: %v", err)
	}
	if err := restored.restore(file, kv.RestoreOptions{BumpRevision: bump}); err == nil || !strings.Contains(err.Error(), "gap in the history") {
		t.Fatalf("raised without being marked: %v", err)
	}
	if err := restored.restore(file, how); err != nil {
		t.Fatal(err)
	}
	if err := restored.restore(file, how); !errors.Is(err, replica.ErrNotEmpty) {
		t.Fatalf("over data: %v", err)
	}
	restored.start()
	now := restored.awaitReady()
	if now.ClusterID == before.ClusterID || now.ClusterID == 0 || now.Incarnation == before.Incarnation || len(now.Members) != 1 {
		t.Errorf("%+v", now)
	}
	restored.mustGet("k", "2")
	store = pb.NewKVClient(restored.dial())
	r, err := store.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil || r.Header.Revision != last+bump || r.Kvs[0].ModRevision != last || r.Kvs[0].Version != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	ttl, err := pb.NewLeaseClient(restored.dial()).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: lease.ID, Keys: true})
	if err != nil || ttl.GrantedTTL != 600 || ttl.TTL < 500 || len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "leased" {
		t.Errorf("the lease: %+v, %v", ttl, err)
	}

	watch, err := pb.NewWatchClient(restored.dial()).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(from int64) {
		t.Helper()
		create := &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}
		if err := watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
			t.Fatal(err)
		}
	}
	ask(last + 1) // and so on, up to what the old cluster gave out
	for {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.Canceled {
			if r.CompactRevision != last+bump {
				t.Errorf("%+v", r)
			}
			break
		}
	}
	ask(last + bump + 1)
	put("k", "3", 0)
	for {
		r, err := watch.Recv()
		if err != nil || r.Canceled {
			t.Fatalf("%+v, %v", r, err)
		}
		if len(r.Events) > 0 {
			if e := r.Events[0]; e.Type != mvccpb.Event_PUT || string(e.Kv.Value) != "3" || e.Kv.ModRevision != last+bump+1 {
				t.Errorf("%+v", e)
			}
			break
		}
	}

	// Others join it as any empty node does, and it restarts as any node.
	second := newInstance(t, "b")
	second.start()
	all := []*instance{restored, second}
	s := second.await("being empty", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	id := change(t, all[:1], raft.Change{Kind: raft.ChangeAddLearner, Member: second.member(s.Incarnation)})
	second.await("catching up", func(s admin.Status) bool { return s.MemberID == id && s.Ready })
	second.mustGet("k", "3")
	restored.mustStop()
	restored.start()
	restored.awaitReady()
	restored.mustGet("k", "3")
}
