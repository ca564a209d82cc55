package kv

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

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
	for _, batch := range []int{1, 16, 256, 1024} {
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
			before := processorTime(b)
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
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(m.Stats().FileBytes)/1e6, "MB")
		})
	}
}

// processorTime returns what this process has used so far, its goroutines and its garbage collector included.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
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

// BenchmarkHistory puts random keys while the history behind a retention is given up, as an auto-compacting leader does,
// and tells what that costs the disk: bytes written for each byte of value, and commits for a million puts.
func BenchmarkHistory(b *testing.B) {
	// A flush every few seconds, and a look at the history as often: that is what some 10,000 puts a second make of it.
	const batch, retention, flushPuts = 64, 100_000, 30_000
	for _, keys := range []int{10_000, 300_000} {
		for _, compacting := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/compacting=%v", keys, compacting), func(b *testing.B) {
				m := open(b, Options{Dir: b.TempDir(), FlushBytes: 64 << 20})
				fill(b, m, keys)
				random := rand.New(rand.NewPCG(1, 1))
				next := m.Applied().Index + 1
				sinceFlush := 0
				put := func(n int) {
					for done := 0; done < n; done += batch {
						entries := make([]raft.Entry, 0, batch+1)
						for range batch {
							data := proposal(b, session.Header{}, Put(benchKey(random.Uint64N(uint64(keys))), make([]byte, benchValueBytes)))
							entries = append(entries, raft.Entry{Term: 1, Index: next, Type: raft.EntryNormal, Data: data})
							next++
						}
						revision, compacted := m.Revision()
						if compacting && revision > compacted+retention+retention/10 {
							entries = append(entries, raft.Entry{Term: 1, Index: next, Type: raft.EntryNormal, Data: proposal(b, session.Header{}, Compact(revision-retention))})
							next++
						}
						if _, err := m.Apply(entries); err != nil {
							b.Fatal(err)
						}
						if sinceFlush += batch; sinceFlush >= flushPuts {
							sinceFlush = 0
							if err := m.FlushNow(); err != nil {
								b.Fatal(err)
							}
						}
					}
				}
				put(retention * 3 / 2) // until the history is as long as it gets
				before := m.Stats()
				b.ResetTimer()
				put(b.N)
				b.StopTimer()
				after := m.Stats()
				b.ReportMetric(float64(after.WrittenBytes-before.WrittenBytes)/float64(b.N)/benchValueBytes, "written/put")
				b.ReportMetric(float64(after.Commits-before.Commits)/float64(b.N)*1e6, "commits/Mput")
				b.ReportMetric(float64(after.FileBytes)/1e6, "MB")
				b.ReportMetric(float64(after.UsedBytes)/1e6, "used-MB")
			})
		}
	}
}
