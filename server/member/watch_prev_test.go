package member

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/native"
	"github.com/raftkv/raftkv/server/status"
)

// ofOne is a cluster that nobody asks anything of.
type ofOne struct{}

func (ofOne) Members(context.Context, bool) (raft.Membership, error) { return raft.Membership{}, nil }

func (ofOne) Transfer(context.Context, raft.NodeID) error { return nil }

// One transaction deletes more than a message of the native protocol holds; who watches with the versions before is told all of it, and of what comes behind.
func TestAWatchWithPrevKVOutlivesALargeDeletion(t *testing.T) {
	o := Options{Metrics: status.NewMetrics("test"), Logger: slog.New(slog.DiscardHandler), Config: config.Config{
		QuotaBackendBytes: 1 << 30, MaxKeyBytes: 4096, MaxValueBytes: config.DefaultMaxValueBytes, MaxTxnOps: 128, MaxRequestBytes: 2 << 20,
	}}
	var machine *Machine
	r, err := replica.Open(replica.Config{
		Dir: t.TempDir(), Name: "a", Listen: "127.0.0.1:0", InitialCluster: []replica.Member{{Name: "a", PeerAddress: "127.0.0.1:1"}},
		HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond, FeatureLevel: FeatureLevel,
		OpenMachine: func(p replica.Place) (_ replica.Machine, err error) {
			machine, err = OpenMachine(o, p)
			return machine, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-r.Running()
	m := Start(o, r, machine)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := native.New(func() native.Store { return m.Batches() }, func() native.Cluster { return ofOne{} }, native.Options{Name: "a", MaxRequestBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	c, err := client.Open(client.Config{Endpoints: []string{l.Addr().String()}, StaticEndpoints: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Close()
		ended, end := context.WithCancel(context.Background())
		end()
		s.Stop(ended)
		m.Stop()
		_ = r.Stop(ended)
	}()
	const keys = 20
	for i := range keys {
		if _, err := c.Put(ctx, fmt.Sprintf("k%02d", i), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Watch(ctx, client.Prefix("k"), client.WithPrevKV())
	if err != nil {
		t.Fatal(err)
	}
	// Another watch of the same client has nothing to do with it.
	other, err := c.Watch(ctx, client.Key("other"))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.Delete(ctx, client.Prefix("k")); err != nil || d.Deleted != keys {
		t.Fatal(d, err)
	}
	if _, err := c.Put(ctx, "other", []byte("v")); err != nil {
		t.Fatal(err)
	}
	told := 0
	for told < keys {
		b, err := w.Next(ctx)
		if err != nil {
			t.Errorf("%d of %d deletions were told: %v", told, keys, err)
			break
		}
		for _, e := range b.Events {
			if e.Prev == nil || len(e.Prev.Value) != 1<<20 {
				t.Fatalf("event %d: %v", told, e.KV)
			}
			told++
		}
	}
	if _, err := other.Next(ctx); err != nil {
		t.Errorf("the other watch: %v", err)
	}
}
