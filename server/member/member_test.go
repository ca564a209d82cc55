package member

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/quota"
	"github.com/raftkv/raftkv/server/status"
)

const patience = time.Minute

// alone starts the only member of a cluster.
func alone(t *testing.T, dir string) (*Member, *replica.Replica) {
	t.Helper()
	return aloneWith(t, dir, 1<<30)
}

func aloneWith(t *testing.T, dir string, quotaBytes int64) (*Member, *replica.Replica) {
	t.Helper()
	o := Options{Metrics: status.NewMetrics("test"), Logger: slog.New(slog.DiscardHandler), Config: config.Config{
		DataDir: dir, QuotaBackendBytes: quotaBytes, MaxKeyBytes: 10, MaxValueBytes: 10, MaxTxnOps: 10, MaxRequestBytes: 100,
	}}
	var machine *Machine
	r, err := replica.Open(replica.Config{
		Dir: dir, Name: "a", Listen: "127.0.0.1:0", InitialCluster: []replica.Member{{Name: "a", PeerAddress: "127.0.0.1:1"}},
		HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
		OpenMachine: func(p replica.Place) (_ replica.Machine, err error) {
			machine, err = OpenMachine(o, p)
			return machine, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-r.Running()
	return Start(o, r, machine), r
}

// TestTheQuotaFitsTheFileSystemUnlessItIsGiven.
func TestTheQuotaFitsTheFileSystemUnlessItIsGiven(t *testing.T) {
	for _, given := range []int64{0, 3 << 30} {
		dir := t.TempDir()
		want, err := quota.Of(given, dir)
		if err != nil {
			t.Fatal(err)
		}
		m, r := aloneWith(t, dir, given)
		if got, err := m.Store().Status(t.Context()); err != nil || got.QuotaBytes != want || want == 0 {
			t.Errorf("given %d, it is %d, want %d, %v", given, got.QuotaBytes, want, err)
		}
		m.Stop()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFirstMemberServesAndRestarts(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		m, r := alone(t, dir)
		// Not before: on a busy machine it takes its time until the disk has all that a member begins with.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		key := []byte{byte('a' + round)}
		result, err := m.Store().Put(ctx, backend.PutRequest{Key: key, Value: []byte("v")})
		if err != nil || result.Revision != uint64(kv.FirstRevision+1+round) {
			t.Fatalf("%+v, %v", result, err)
		}
		read := func(key []byte, revision uint64) (kv.RangeResult, error) {
			return m.Store().Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.One(key), Revision: revision}})
		}
		for i := range round + 1 {
			if got, err := read([]byte{byte('a' + i)}, 0); err != nil || len(got.Items) != 1 {
				t.Errorf("round %d, key %d: %+v, %v", round, i, got, err)
			}
		}
		var large *kv.TooLargeError
		if _, err := m.Store().Put(ctx, backend.PutRequest{Key: key, Value: make([]byte, 11)}); !errors.As(err, &large) {
			t.Errorf("past the limit: %v", err)
		}
		if round == 2 {
			if _, err := m.Store().Compact(ctx, backend.CompactRequest{Revision: result.Revision}); err != nil {
				t.Errorf("compaction: %v", err)
			}
			if _, err := read(key, result.Revision-1); !errors.Is(err, kv.ErrCompacted) {
				t.Errorf("a read behind the compaction: %v", err)
			}
		}
		m.Stop()
		if err := r.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Store().Put(ctx, backend.PutRequest{Key: key}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("after the stop: %v", err)
		}
	}
}
