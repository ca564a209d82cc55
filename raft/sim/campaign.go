package sim

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Campaign runs many seeds on several workers, each world in one goroutine.
type Campaign struct {
	Base     uint64
	Seeds    uint64
	Duration time.Duration
	Workers  int
	// CPU ends the campaign once the process has spent that much processor time in it, if it is not zero.
	CPU time.Duration
	// MostFailures ends the campaign; zero means defaultMostFailures.
	MostFailures int
	// Progress is called now and then, if it is not nil, by one worker at a time.
	Progress func(Summary)
}

// Summary is what came of a campaign.
type Summary struct {
	Seeds    uint64
	Virtual  time.Duration
	Events   uint64
	Coverage Coverage
	// CPU is the processor time that it took, of all workers together.
	CPU time.Duration
	// Failures are the broken promises.
	Failures []Result
}

const (
	// defaultMostFailures ends a campaign: more would say the same.
	defaultMostFailures = 5
	// progressEvery is the processor time between two words on how far a campaign is.
	progressEvery = 5 * time.Minute
	// garbagePercent trades memory, of which a campaign needs little, for time.
	garbagePercent = 400
)

// Run runs the campaign.
func (c Campaign) Run() Summary {
	if c.MostFailures == 0 {
		c.MostFailures = defaultMostFailures
	}
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	var (
		mu    sync.Mutex
		sum   Summary
		wg    sync.WaitGroup
		at    atomic.Uint64
		began = processorTime()
		told  time.Duration
	)
	for range max(1, c.Workers) {
		wg.Go(func() {
			for {
				i := at.Add(1) - 1
				mu.Lock()
				sum.CPU = processorTime() - began
				over := i >= c.Seeds || len(sum.Failures) >= c.MostFailures || (c.CPU > 0 && sum.CPU >= c.CPU)
				if c.Progress != nil && sum.CPU >= told+progressEvery {
					told = sum.CPU
					c.Progress(sum)
				}
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

// processorTime is what the process has used of all processors so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // no system that this runs on refuses it
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Replay returns the command that shows a failed run step by step.
func Replay(seed uint64, duration time.Duration, without Faults) string {
	cmd := fmt.Sprintf("go test ./raft/sim -run 'TestSimulation$' -sim.seed=%d -sim.duration=%s -sim.trace", seed, duration)
	if without != 0 {
		cmd += fmt.Sprintf(" -sim.without=%s", without)
	}
	return cmd
}
