//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// load is what callers do in the leader's process.
type load struct {
	Callers          int
	WarmUp, Duration time.Duration
	Profile          string
}

// measured is what came out of it.
type measured struct {
	// PerSecond are the entries of the measured time; Entries are all, with the warm-up's.
	PerSecond float64
	Entries   int64
	P50, P99  time.Duration
}

// answerTimeout is more than any answer may take.
const answerTimeout = 30 * time.Second

func (l load) run(e engine) (*measured, error) {
	begin := time.Now().Add(l.WarmUp)
	end := begin.Add(l.Duration)
	var h histogram
	var entries, inTime atomic.Int64
	var callers sync.WaitGroup
	failed := make(chan error, 1)
	for range l.Callers {
		callers.Go(func() {
			// Each has a context of its own, as the requests of a server do.
			ctx, cancel := context.WithTimeout(context.Background(), l.WarmUp+l.Duration+answerTimeout)
			defer cancel()
			payload := make([]byte, payloadBytes)
			for now := time.Now(); now.Before(end); {
				if err := e.Propose(ctx, payload); err != nil {
					select {
					case failed <- fmt.Errorf("a proposal failed: %w", err):
					default:
					}
					return
				}
				began := now
				now = time.Now()
				entries.Add(1)
				if now.After(begin) && now.Before(end) {
					inTime.Add(1)
					h.add(now.Sub(began))
				}
			}
		})
	}
	callers.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	return &measured{
		PerSecond: float64(inTime.Load()) / l.Duration.Seconds(), Entries: entries.Load(), P50: h.percentile(50), P99: h.percentile(99),
	}, nil
}

// histogram counts durations in buckets of microseconds, the width of which is at most 1/subBuckets of their value.
type histogram struct {
	counts [maxBuckets]atomic.Int64
}

const (
	subBuckets = 64
	maxBuckets = subBuckets * 32
)

func bucket(us int) int {
	shift := 0
	for us>>shift >= 2*subBuckets {
		shift++
	}
	return min(shift*subBuckets+us>>shift, maxBuckets-1)
}

func (h *histogram) add(d time.Duration) { h.counts[bucket(int(d.Microseconds()))].Add(1) }

// percentile returns the lower bound of the bucket in which it lies.
func (h *histogram) percentile(p int64) time.Duration {
	var total, seen int64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen*100 >= total*p && seen > 0 {
			shift := max(i/subBuckets-1, 0)
			return time.Duration((i-shift*subBuckets)<<shift) * time.Microsecond
		}
	}
	return 0
}
