package raft

import (
	"fmt"
	"testing"
)

// BenchmarkCore measures three cores in one goroutine, whose stores complete at once: what consensus itself costs. One
// operation is one entry, committed and applied by all three.
func BenchmarkCore(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			base := SnapshotMeta{Index: 1, Term: 1, Membership: members(3), ClusterVersion: 1}
			nodes := make([]*Core, 3)
			for i := range nodes {
				c, err := New(Config{ID: NodeID(i + 1), ElectionTicks: 10, HeartbeatTicks: 1, Random: func(n int) int { return i * 3 % n }},
					Initial{Applied: base, LogStart: Position{1, 1}})
				if err != nil {
					b.Fatal(err)
				}
				nodes[i] = c
			}
			applied := 0
			pumpAll := func() {
				for busy := true; busy; {
					busy = false
					for _, c := range nodes {
						e := c.TakeEffects()
						if e.Store != nil {
							c.Stored(e.Store.Done())
							busy = true
						}
						for _, m := range e.Messages {
							if err := nodes[m.To-1].Step(m); err != nil {
								b.Fatal(err)
							}
							busy = true
						}
						if n := len(e.Committed); n > 0 {
							c.Applied(e.Committed[n-1].Index)
							applied += n
							busy = true
						}
					}
				}
			}
			nodes[0].campaign("benchmark")
			pumpAll()
			if nodes[0].Role() != RoleLeader {
				b.Fatal("no leader")
			}
			payload := make([]byte, 256)
			data := make([][]byte, batch)
			for i := range data {
				data[i] = payload
			}
			applied = 0
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := nodes[0].Propose(data); err != nil {
					b.Fatal(err)
				}
				pumpAll()
				if last := nodes[0].applied; last-nodes[0].log.start.Index > 20000 {
					for _, c := range nodes {
						c.Compact(c.applied - 5000)
					}
				}
			}
			b.ReportMetric(float64(applied)/3/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
