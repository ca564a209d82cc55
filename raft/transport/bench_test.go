package transport

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// BenchmarkAppend sends append messages with one entry through sockets, at most 256 unanswered.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 16 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			names, all := newBook(), membership(1, 2)
			arrived := make(chan int, 1024)
			one := start(b, names, 1, all)
			start(b, names, 2, all, func(_ *node, cfg *Config) {
				cfg.Receive = func(m []raft.Message) { arrived <- len(m) }
			})
			one.waitConnected(2)
			message := []raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Term: 1,
				Entries: []raft.Entry{{Term: 1, Index: 1, Type: raft.EntryNormal, Data: make([]byte, size)}}}}
			one.transport.Send(message) // binds the service
			<-arrived
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for sent, got := 0, 0; got < b.N; {
				for ; sent < b.N && sent-got < 256; sent++ {
					one.transport.Send(message)
				}
				got += <-arrived
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	names, all := newBook(), membership(1, 2)
	one, two := start(b, names, 1, all), start(b, names, 2, all)
	one.waitConnected(2)
	data := randomBytes(64 << 20)
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	for range b.N {
		if err := one.transport.SendSnapshot(b.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		two.sink.mu.Lock()
		two.sink.committed = nil
		two.sink.mu.Unlock()
	}
}
