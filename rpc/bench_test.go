package rpc_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/rpc"
)

func BenchmarkCallDepth1(b *testing.B) { benchmarkCalls(b, 1, 128) }

func BenchmarkCallPipelined64(b *testing.B) { benchmarkCalls(b, 64, 128) }

func BenchmarkCallPipelined64With16KiB(b *testing.B) { benchmarkCalls(b, 64, 16<<10) }

func benchmarkCalls(b *testing.B, depth, size int) {
	_, addr := serve(b, rpc.ServerOptions{}, newImpl())
	svc := bind(b, dial(b, addr, rpc.ClientOptions{}))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var callers sync.WaitGroup
	for range depth {
		callers.Go(func() {
			req := &blob{make([]byte, size)}
			for next.Add(1) <= int64(b.N) {
				if _, err := svc.Blob(context.Background(), req); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
}

func BenchmarkOneWayInline(b *testing.B) {
	i := &counter{}
	_, addr := serve(b, rpc.ServerOptions{}, i, rpc.Inline())
	var svc struct {
		Note func(context.Context, *blob) error
	}
	if err := rpc.Bind(dial(b, addr, rpc.ClientOptions{}), "test", &svc); err != nil {
		b.Fatal(err)
	}
	req := &blob{make([]byte, 128)}
	b.SetBytes(128)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := svc.Note(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all arrived", func() bool { return i.n.Load() == int64(b.N) })
}

type counter struct{ n atomic.Int64 }

func (c *counter) Note(context.Context, *blob) error {
	c.n.Add(1)
	return nil
}
