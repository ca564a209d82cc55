package sim

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Campaign runs many seeds on several workers, each world in one goroutine.
type Campaign struct {
	Base     uint64
	Seeds    uint64
	Duration time.Duration
	Workers  int
}

// Summary is what came of a campaign.
type Summary struct {
	Seeds    uint64
	Virtual  time.Duration
	Events   uint64
	Coverage Coverage
	// Failures are the broken promises, at most maxFailures of them.
	Failures []Result
}

// maxFailures ends a campaign: more would say the same.
const maxFailures = 5

// Run runs the campaign.
func (c Campaign) Run() Summary {
	var (
		mu  sync.Mutex
		sum Summary
		wg  sync.WaitGroup
		at  atomic.Uint64
	)
	for range max(1, c.Workers) {
		wg.Go(func() {
			for {
				i := at.Add(1) - 1
				mu.Lock()
				over := i >= c.Seeds || len(sum.Failures) >= maxFailures
				mu.Unlock()
				if over {
					return
				}
				res := Run(Options{Seed: c.Base + i, Duration: c.Duration})
				mu.Lock()
				sum.Seeds++
				sum.Virtual += res.Virtual
				sum.Events += res.Events
				sum.Coverage.Add(res.Coverage)
				if res.Violation != nil {
					sum.Failures = append(sum.Failures, res)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return sum
}

// Replay returns the command that shows a failed run step by step.
func Replay(seed uint64, duration time.Duration, without Faults) string {
	cmd := fmt.Sprintf("go test ./raft/sim -run 'TestSimulation$' -sim.seed=%d -sim.duration=%s -sim.trace", seed, duration)
	if without != 0 {
		cmd += fmt.Sprintf(" -sim.without=%s", without)
	}
	return cmd
}
