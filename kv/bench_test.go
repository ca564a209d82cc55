package kv

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

const benchValueBytes = 256

func benchKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("/registry/pods/"), n*0x9e3779b97f4a7c15)
}

// fill puts keys that are spread over the whole range.
func fill(b testing.TB, m *Machine, keys int) {
	b.Helper()
	const batch = 1000
	next := m.Applied().Index + 1
	for done := 0; done < keys; done += batch {
		entries := make([]raft.Entry, 0, batch)
		for i := range batch {
			data := proposal(b, session.Header{}, Put(benchKey(uint64(done+i)), make([]byte, benchValueBytes)))
			entries = append(entries, raft.Entry{Term: 1, Index: next, Type: raft.EntryNormal, Data: data})
			next++
		}
		if _, err := m.Apply(entries); err != nil {
			b.Fatal(err)
		}
	}
	if err := m.FlushNow(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkApply puts random ones of 100,000 keys, through a session, the flushes included.
func BenchmarkApply(b *testing.B) {
	const keys = 100_000
	for _, batch := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			m := open(b, Options{Dir: b.TempDir()})
			fill(b, m, keys)
			next := m.Applied().Index + 1
			id := uint64(next)
			if _, err := m.Apply([]raft.Entry{{Term: 1, Index: next, Type: raft.EntryNormal,
				Data: proposal(b, session.Header{}, OpenSession(1, 1))}}); err != nil {
				b.Fatal(err)
			}
			next++
			random := rand.New(rand.NewPCG(1, 1))
			var sequence uint64
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				entries := make([]raft.Entry, batch)
				for i := range entries {
					sequence++
					h := session.Header{Session: id, Sequence: sequence, Low: sequence - min(sequence-1, 1000)}
					data := proposal(b, h, Put(benchKey(random.Uint64N(keys)), make([]byte, benchValueBytes)))
					entries[i] = raft.Entry{Term: 1, Index: next, Type: raft.EntryNormal, Data: data}
					next++
				}
				if _, err := m.Apply(entries); err != nil {
					b.Fatal(err)
				}
			}
			if err := m.FlushNow(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(m.Stats().FileBytes)/1e6, "MB")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const keys = 200_000
	m := open(b, Options{Dir: b.TempDir()})
	fill(b, m, keys)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		random := rand.New(rand.NewPCG(1, 1))
		for pb.Next() {
			got, err := m.Get(context.Background(), benchKey(random.Uint64N(keys)), 0)
			if err != nil || !got.Found {
				b.Fatal(got, err)
			}
		}
	})
}

func BenchmarkRange(b *testing.B) {
	const keys = 200_000
	m := open(b, Options{Dir: b.TempDir()})
	fill(b, m, keys)
	for _, limit := range []int{10, 1000} {
		for _, keysOnly := range []bool{false, true} {
			b.Run(fmt.Sprintf("limit=%d/keysOnly=%v", limit, keysOnly), func(b *testing.B) {
				b.ReportAllocs()
				random := rand.New(rand.NewPCG(1, 1))
				for b.Loop() {
					from := benchKey(random.Uint64N(keys))
					got, err := m.Range(context.Background(), RangeRequest{Keys: Span(from, []byte{0}), Limit: limit, KeysOnly: keysOnly})
					if err != nil || len(got.Items) == 0 {
						b.Fatal(len(got.Items), err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen opens a store of a million keys.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	m := open(b, o)
	fill(b, m, 1_000_000)
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		m, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshot streams a state into a store that is being staged.
func BenchmarkSnapshot(b *testing.B) {
	from, to := open(b, Options{Dir: b.TempDir()}), open(b, Options{Dir: b.TempDir()})
	fill(b, from, 100_000)
	for b.Loop() {
		s, err := from.Snapshot(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		stage, err := to.Stage(s.Meta())
		if err != nil {
			b.Fatal(err)
		}
		n, err := s.WriteTo(stage)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
		if err := stage.Commit(); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
