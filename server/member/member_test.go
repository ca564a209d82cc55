package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/status"
)

func TestProposalBatchesSurviveTheWire(t *testing.T) {
	for _, data := range [][][]byte{nil, {{}}, {[]byte("a"), {}, bytes.Repeat([]byte{0xff}, 300)}} {
		b, err := (&proposalBatch{data: data}).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got proposalBatch
		if err := got.UnmarshalBinary(b); err != nil || len(got.data) != len(data) {
			t.Fatalf("%v, %v", got, err)
		}
		clear(b) // the buffer belongs to the caller
		for i := range data {
			if !bytes.Equal(got.data[i], data[i]) {
				t.Errorf("proposal %d: %x, want %x", i, got.data[i], data[i])
			}
		}
	}
	for _, bad := range [][]byte{{}, {5}, {1}, {1, 9, 0}, {0, 0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if err := new(proposalBatch).UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was decoded", bad)
		}
	}
}

func TestOnlySureRefusalsOfTheLeaderMeanNotAppended(t *testing.T) {
	for err, want := range map[error]bool{
		raft.ErrNotLeader: true, raft.ErrBusy: true, node.ErrBusy: true, fmt.Errorf("x: %w", raft.ErrTransferring): true,
		node.ErrStopped: false, context.DeadlineExceeded: false,
	} {
		if got := reasonIsNotAppended(explainAppend(err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestTheCommonLevelNeedsEveryMember(t *testing.T) {
	m := raft.NewMembership(raft.Member{ID: 1}, raft.Member{ID: 2}, raft.Member{ID: 3, Learner: true})
	for _, x := range []struct {
		levels map[raft.NodeID]uint32
		want   uint32
	}{
		{map[raft.NodeID]uint32{2: FeatureLevel, 3: FeatureLevel + 1}, FeatureLevel},
		{map[raft.NodeID]uint32{2: FeatureLevel, 3: FeatureLevel - 1}, FeatureLevel - 1},
		{map[raft.NodeID]uint32{2: FeatureLevel}, 0},
	} {
		if got := commonLevel(m, 1, x.levels); got != x.want {
			t.Errorf("%v: %d, want %d", x.levels, got, x.want)
		}
	}
}

func TestTheQuotaStopsPutsOnly(t *testing.T) {
	q := quota{mostBytes: 100}
	put, nested := kv.Put([]byte("k"), nil), kv.Transaction(kv.Txn{Failure: []kv.Op{{Kind: kv.OpTxn, Txn: &kv.Txn{Success: []kv.Op{kv.PutOp([]byte("k"), nil)}}}}})
	q.usedBytes.Store(100)
	if err := q.check(put); err != nil {
		t.Errorf("at the quota: %v", err)
	}
	q.note(kv.Stats{OverlayBytes: 101}, slog.New(slog.DiscardHandler))
	for _, c := range []kv.Command{put, nested} {
		if err := q.check(c); !errors.Is(err, backend.ErrNoSpace) {
			t.Errorf("past the quota: %v", err)
		}
	}
	for _, c := range []kv.Command{kv.Delete([]byte("k")), kv.Compact(5)} {
		if err := q.check(c); err != nil {
			t.Errorf("what makes room: %v", err)
		}
	}
}

func TestHistoryIsGivenUpInFewSteps(t *testing.T) {
	for _, x := range []struct{ revision, compacted, retention, want uint64 }{
		{50, 0, 100, 0}, {110, 0, 100, 0}, {111, 0, 100, 11}, {500, 0, 100, 400}, {505, 400, 100, 0}, {1, 5, 100, 0},
	} {
		if got := compactionTarget(x.revision, x.compacted, x.retention); got != x.want {
			t.Errorf("%+v: %d", x, got)
		}
	}
}

// alone is a cluster of one without any listener.
func alone(t *testing.T) Options {
	t.Helper()
	id := identity.Identity{Incarnation: 44, Name: "a", ClusterID: 7, MemberID: 1}
	dir := t.TempDir()
	logger := slog.New(slog.DiscardHandler)
	first := bootstrap.FirstMembership(raft.Member{ID: 1, Incarnation: 44, Name: "a", PeerAddress: "127.0.0.1:1"})
	if err := PrepareFirst(dir, id, first, logger); err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: dir, Identity: id, Metrics: status.NewMetrics("test"), Logger: logger,
		Config: config.Config{
			Name: "a", HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond, SnapshotCount: 1000,
			QuotaBackendBytes: 1 << 30, MaxKeyBytes: 10, MaxValueBytes: 10,
		},
	}
}

func TestAFirstMemberServesAndRestarts(t *testing.T) {
	o := alone(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for round := range 3 {
		o.Door, _ = newDoor(t, o.Identity, false)
		m, err := Start(o)
		if err != nil {
			t.Fatal(err)
		}
		key := []byte{byte('a' + round)}
		result, err := m.Propose(ctx, kv.Put(key, []byte("v")))
		if err != nil || result.Revision != uint64(kv.FirstRevision+1+round) {
			t.Fatalf("%+v, %v", result, err)
		}
		if err := m.ReadBarrier(ctx); err != nil {
			t.Fatal(err)
		}
		for i := range round + 1 {
			if got, err := m.Get(ctx, []byte{byte('a' + i)}, 0); err != nil || !got.Found {
				t.Errorf("round %d, key %d: %+v, %v", round, i, got, err)
			}
		}
		var large *kv.TooLargeError
		if _, err := m.Propose(ctx, kv.Put(key, make([]byte, 11))); !errors.As(err, &large) {
			t.Errorf("past the limit: %v", err)
		}
		if round == 2 {
			if err := m.compact(ctx, result.Revision); err != nil {
				t.Errorf("compaction: %v", err)
			}
			if _, err := m.Get(ctx, key, result.Revision-1); !errors.Is(err, kv.ErrCompacted) {
				t.Errorf("a read behind the compaction: %v", err)
			}
		}
		if v := m.clusterVersion(); v != bootstrap.FirstClusterVersion {
			t.Errorf("cluster version %d", v)
		}
		if err := m.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Propose(ctx, kv.Put(key, nil)); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("after the stop: %v", err)
		}
	}
}

func TestAMemberRefusesAnothersFiles(t *testing.T) {
	for _, change := range []func(*identity.Identity){
		func(i *identity.Identity) { i.ClusterID++ },
		func(i *identity.Identity) { i.MemberID++ },
		func(i *identity.Identity) { i.Incarnation++ },
	} {
		o := alone(t)
		change(&o.Identity)
		o.Door, _ = newDoor(t, o.Identity, false)
		if m, err := Start(o); err == nil {
			t.Errorf("started as %+v", o.Identity)
			_ = m.Stop(context.Background())
		}
	}
}
