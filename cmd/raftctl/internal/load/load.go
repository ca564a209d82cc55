package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of a run.
const (
	MaxCallers = 10_000
	// MaxErrorKinds bounds how many texts of errors are told apart.
	MaxErrorKinds = 20

	// Latencies are recorded from a microsecond to five minutes, to three digits.
	leastLatency = int64(1)
	mostLatency  = int64(5 * time.Minute / time.Microsecond)
	digits       = 3
)

// Plan says what to do.
type Plan struct {
	Callers int
	// WarmUp is how long the load runs before it is measured, Duration for how long it is then.
	WarmUp, Duration time.Duration
	// Calls ends the measurement before its time after so many calls; zero means never.
	Calls int64
	// Seed makes the choices of Call's random numbers the same again.
	Seed uint64
	// Call does one call; the random numbers are its caller's own.
	Call func(context.Context, *rand.Rand) error
	// Kind names an error, for counting.
	Kind func(error) string
}

// Result is what was measured.
type Result struct {
	Calls, Failed int64
	Took          time.Duration
	// Rate is the number of successful calls per second.
	Rate float64
	// Latencies of successful calls; zero if there were none.
	Mean, P50, P90, P99, Max time.Duration
	// Errors are the failures by kind.
	Errors map[string]int64
}

// phase is what callers do with the time of a call.
const (
	warming int32 = iota
	measuring
	over
)

type run struct {
	Plan
	phase atomic.Int32
	left  atomic.Int64
	stop  context.CancelFunc
}

// caller is what one caller has measured.
type caller struct {
	latencies *hdrhistogram.Histogram
	failed    int64
	errors    map[string]int64
}

// Run does it. It ends early, with the context's error, when the context does. Calls that are under way at the end are waited for and counted.
func Run(ctx context.Context, p Plan) (Result, error) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	r := &run{Plan: p, stop: stop}
	r.left.Store(p.Calls)
	callers := make([]*caller, p.Callers)
	var running sync.WaitGroup
	for i := range callers {
		callers[i] = &caller{latencies: hdrhistogram.New(leastLatency, mostLatency, digits), errors: map[string]int64{}}
		random := rand.New(rand.NewPCG(p.Seed, uint64(i)))
		running.Go(func() { r.call(ctx, working, callers[i], random) })
	}
	wait(working, p.WarmUp)
	began := time.Now()
	r.phase.Store(measuring)
	wait(working, p.Duration)
	r.phase.Store(over)
	stop()
	running.Wait()
	return sum(callers, time.Since(began)), ctx.Err()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// call makes calls until the work is over. A call keeps the outer context, so that the end of the work does not end it.
func (r *run) call(ctx, working context.Context, c *caller, random *rand.Rand) {
	for working.Err() == nil {
		phase := r.phase.Load()
		if phase == measuring && r.Calls > 0 && r.left.Add(-1) < 0 {
			r.stop()
			return
		}
		began := time.Now()
		err := r.Call(ctx, random)
		took := time.Since(began)
		if phase != measuring || errors.Is(err, context.Canceled) && ctx.Err() != nil {
			continue
		}
		if err != nil {
			c.fail(r.Kind(err))
			continue
		}
		_ = c.latencies.RecordValue(min(max(took.Microseconds(), leastLatency), mostLatency)) // it is within the bounds
	}
}

func (c *caller) fail(kind string) {
	c.failed++
	if _, known := c.errors[kind]; !known && len(c.errors) >= MaxErrorKinds {
		kind = "others"
	}
	c.errors[kind]++
}

func sum(callers []*caller, took time.Duration) Result {
	all := hdrhistogram.New(leastLatency, mostLatency, digits)
	r := Result{Took: took, Errors: map[string]int64{}}
	for _, c := range callers {
		all.Merge(c.latencies)
		r.Failed += c.failed
		for kind, n := range c.errors {
			r.Errors[kind] += n
		}
	}
	succeeded := all.TotalCount()
	r.Calls = succeeded + r.Failed
	if succeeded == 0 {
		return r
	}
	at := func(percentile float64) time.Duration {
		return time.Duration(all.ValueAtQuantile(percentile)) * time.Microsecond
	}
	r.Rate = float64(succeeded) / took.Seconds()
	r.Mean = time.Duration(all.Mean() * float64(time.Microsecond))
	r.P50, r.P90, r.P99, r.Max = at(50), at(90), at(99), time.Duration(all.Max())*time.Microsecond
	return r
}
