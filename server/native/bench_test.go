package native_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/native"
)

// instant is a store that has done everything at once: what is left is the cost of client, protocol and front end.
type instant struct {
	backend.Store
	revision atomic.Uint64
}

func (*instant) Header() backend.Header { return backend.Header{ClusterID: 1, MemberID: 1, Term: 1} }

func (*instant) Leader() raft.NodeID { return 1 }

func (*instant) Barrier(context.Context) error { return nil }

func (*instant) Scrub(context.Context, uint64) error { return nil }

func (*instant) OpenSession(context.Context, raft.Incarnation, uint64) (uint64, error) { return 1, nil }

func (s *instant) WriteAll(_ context.Context, batch []backend.Write) {
	results := make([]kv.Result, len(batch))
	for i := range batch {
		results[i] = kv.Result{Revision: s.revision.Add(1), Succeeded: true}
		batch[i].Result = &results[i]
	}
}

func (s *instant) Range(context.Context, backend.RangeRequest) (kv.RangeResult, error) {
	return kv.RangeResult{Items: []kv.KeyValue{{Key: []byte("k"), Value: make([]byte, 256), ModRevision: 1}}, Revision: 1}, nil
}

// alone is the membership of one.
type alone struct{}

func (alone) Members(context.Context, bool) (raft.Membership, error) { return raft.Membership{}, nil }

func (alone) Transfer(context.Context, raft.NodeID) error { return nil }

func serve(tb testing.TB, store native.Store) *client.Client {
	tb.Helper()
	return serveWith(tb, store, native.Options{Name: "a", MaxRequestBytes: 1 << 20})
}

func serveWith(tb testing.TB, store native.Store, o native.Options) *client.Client {
	tb.Helper()
	s, err := native.New(func() native.Store { return store }, func() native.Cluster { return alone{} }, o)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	c, err := client.Open(client.Config{Endpoints: []string{l.Addr().String()}, StaticEndpoints: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = c.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s.Stop(ctx)
	})
	return c
}

func BenchmarkThePutOfManyCallers(b *testing.B) {
	for _, callers := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			c := serve(b, &instant{})
			value := make([]byte, 256)
			b.SetParallelism(max(callers/2, 1))
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := c.Put(context.Background(), "benchmark/key", value); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkTheGetOfManyCallers(b *testing.B) {
	c := serve(b, &instant{})
	b.SetParallelism(128)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Get(context.Background(), "benchmark/key"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
