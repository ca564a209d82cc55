package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func kind(err error) string { return err.Error() }

func TestTheWarmUpIsNotMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, err := Run(t.Context(), Plan{
			Callers: 4, WarmUp: time.Second, Duration: 10 * time.Second, Kind: kind,
			Call: func(context.Context, *rand.Rand) error {
				if time.Since(began) < time.Second {
					time.Sleep(500 * time.Millisecond)
				} else {
					time.Sleep(10 * time.Millisecond)
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.P50 < 9*time.Millisecond || r.Max > 11*time.Millisecond || r.P99 > r.Max || r.Mean > r.Max {
			t.Errorf("latencies: %+v", r)
		}
		if r.Calls < 3990 || r.Calls > 4010 || r.Failed != 0 || r.Rate < 395 || r.Rate > 405 {
			t.Errorf("4 callers with calls of 10 ms, for 10 s: %+v", r)
		}
	})
}

func TestFailuresAreCountedByKindAndHaveNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		r, err := Run(t.Context(), Plan{
			Callers: 1, Duration: time.Second, Kind: kind,
			Call: func(context.Context, *rand.Rand) error {
				time.Sleep(time.Millisecond)
				if i := n.Add(1); i%2 == 0 {
					time.Sleep(time.Millisecond)
					return fmt.Errorf("kind %d", i%100)
				}
				return nil
			},
		})
		if err != nil || r.Failed == 0 || r.Calls-r.Failed < r.Failed || len(r.Errors) != MaxErrorKinds+1 || r.Errors["others"] == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if r.Max > 1100*time.Microsecond {
			t.Errorf("a failure is among the latencies: %v", r.Max)
		}
	})
}

func TestARunEndsAfterItsCalls(t *testing.T) {
	var called atomic.Int64
	r, err := Run(t.Context(), Plan{
		Callers: 7, Duration: time.Hour, Calls: 1000, Kind: kind,
		Call: func(context.Context, *rand.Rand) error { called.Add(1); return nil },
	})
	if err != nil || r.Calls != 1000 || r.Failed != 0 {
		t.Errorf("%+v, %v; %d were made", r, err, called.Load())
	}
}

func TestAStoppedRunSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Run(ctx, Plan{
		Callers: 3, Duration: time.Hour, Kind: kind,
		Call: func(ctx context.Context, _ *rand.Rand) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		},
	})
	if !errors.Is(err, context.Canceled) || r.Failed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
