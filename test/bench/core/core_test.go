package core

import (
	"fmt"
	"runtime"
	"testing"
)

const (
	members       = 3
	electionTicks = 10
	payloadBytes  = 256
	// Past logEntries the log is compacted to keptEntries.
	logEntries, keptEntries = 20_000, 5_000
)

// cluster is three cores with a leader.
type cluster interface {
	// propose returns when all members have applied the entries.
	propose(data [][]byte)
	// appliedEntries is how many entries with data were applied, by all members together.
	appliedEntries() int
}

var clusters = []struct {
	name  string
	start func(testing.TB) cluster
}{
	{"raftkv", func(tb testing.TB) cluster { return newOurs(tb) }},
	{"etcd", func(tb testing.TB) cluster { return newTheirs(tb) }},
}

func payloads(n int) [][]byte {
	payload := make([]byte, payloadBytes)
	data := make([][]byte, n)
	for i := range data {
		data[i] = payload
	}
	return data
}

func BenchmarkCore(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		for _, x := range clusters {
			b.Run(fmt.Sprintf("batch=%d/%s", batch, x.name), func(b *testing.B) {
				c, data := x.start(b), payloads(batch)
				before := c.appliedEntries()
				var start, end runtime.MemStats
				runtime.ReadMemStats(&start)
				for b.Loop() {
					c.propose(data)
				}
				runtime.ReadMemStats(&end)
				entries := float64(c.appliedEntries()-before) / members
				b.ReportMetric(entries/b.Elapsed().Seconds(), "entries/s")
				b.ReportMetric(float64(end.Mallocs-start.Mallocs)/entries, "allocs/entry")
				b.ReportMetric(float64(end.TotalAlloc-start.TotalAlloc)/entries, "B/entry")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// A benchmark that lost entries would be a quick one.
func TestBothClustersApplyEverything(t *testing.T) {
	for _, x := range clusters {
		t.Run(x.name, func(t *testing.T) {
			c := x.start(t)
			const proposals, batch = 200, 256 // past the first compaction
			for range proposals {
				c.propose(payloads(batch))
			}
			if got, want := c.appliedEntries(), members*proposals*batch; got != want {
				t.Errorf("%d entries were applied, want %d", got, want)
			}
		})
	}
}
