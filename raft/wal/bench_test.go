package wal

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// BenchmarkAppend stores batches of entries on the real file system, each followed by the same bytes appended to a
// bare file with an fdatasync. The metric "x-bare" is the time of the one over the time of the other: 1 means that the
// log costs nothing. The two take turns, so that a noisy machine disturbs both alike.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ batch, dataBytes int }{{1, 128}, {16, 128}, {256, 128}, {16, 4096}, {64, 16384}} {
		b.Run(fmt.Sprintf("%dx%dB", c.batch, c.dataBytes), func(b *testing.B) { benchmarkAppend(b, c.batch, c.dataBytes) })
	}
}

func benchmarkAppend(b *testing.B, batch, dataBytes int) {
	dir := b.TempDir()
	l, _, err := Open(vfs.OS{}, filepath.Join(dir, "wal"), Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	bare, err := vfs.OS{}.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	entries := make([]raft.Entry, batch)
	for i := range entries {
		entries[i] = raft.Entry{Term: 1, Type: raft.EntryNormal, Data: make([]byte, dataBytes)}
	}
	request := requests(&raft.StoreRequest{Entries: entries})
	var next raft.Index
	var offset int64
	var logTime, bareTime time.Duration
	b.ReportAllocs()
	b.SetBytes(int64(batch * dataBytes))
	for b.Loop() {
		for i := range entries {
			next++
			entries[i].Index = next
		}
		began := time.Now()
		if err := l.Append(request); err != nil {
			b.Fatal(err)
		}
		logTime += time.Since(began)

		began = time.Now()
		if _, err := bare.WriteAt(l.buffer, offset); err != nil {
			b.Fatal(err)
		}
		if err := bare.Sync(); err != nil {
			b.Fatal(err)
		}
		bareTime += time.Since(began)
		offset += int64(len(l.buffer))

		if next%(1<<16) < raft.Index(batch) {
			if err := l.Compact(raft.Position{Index: next - raft.Index(batch), Term: 1}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(logTime)/float64(bareTime), "x-bare")
	b.ReportMetric(float64(logTime.Microseconds())/float64(b.N), "log-us/op")
	b.ReportMetric(float64(bareTime.Microseconds())/float64(b.N), "bare-us/op")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	if err := bare.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen recovers a log of small entries in memory.
func BenchmarkOpen(b *testing.B) {
	const entries, perBatch, dataBytes = 100_000, 100, 100
	disk := vfs.NewMem(1)
	options := Options{Identity: testIdentity, SegmentBytes: 4 << 20, Inline: true}
	l, _, err := Open(disk, testDir, options)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]string, perBatch)
	for i := range data {
		data[i] = string(make([]byte, dataBytes))
	}
	for next := raft.Index(1); next <= entries; next += perBatch {
		if err := l.Append(requests(&raft.StoreRequest{Entries: entriesFrom(next, 1, data...)})); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		var got Recovered
		if l, got, err = Open(disk, testDir, options); err != nil {
			b.Fatal(err)
		}
		if len(got.Entries) != entries {
			b.Fatalf("%d entries", len(got.Entries))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
