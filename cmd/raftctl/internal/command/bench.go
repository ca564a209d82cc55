package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/load"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// benchKinds are the loads.
var benchKinds = []string{"put", "get", "mix"}

const (
	benchPrefix = "raftctl-bench/"
	// Bounds of a benchmark, so that a slip of a digit does not fill a store.
	maxBenchTime  = time.Hour
	maxBenchKeys  = 10_000_000
	maxBenchValue = 512 << 10
)

// bench are the flags of the command.
type bench struct {
	kind                      string
	callers, keys, valueBytes int
	connections, readPercent  int
	calls                     int64
	warmUp, duration          time.Duration
	serializable, keep        bool
	seed                      uint64
}

func (a *app) benchCommand() *cobra.Command {
	var b bench
	cmd := &cobra.Command{
		Use:   "bench put|get|mix",
		Short: "Measure how fast the cluster is from here",
		Long: "Puts the cluster under load through the native protocol: so many callers, each with one call in flight. Keys are chosen at random below\n" +
			benchPrefix + " and deleted at the end. What is measured comes after the warm-up. Exit code 1 if a call failed.\n" +
			"Give the addresses of all members with --endpoints, so that writes need no detour. It is a load: do not aim it at a cluster that others need.",
		Example:   a.examples("bench put", "bench put --callers 1000 --duration 30s", "bench mix --reads 90 --callers 256 -o json", "bench get --serializable --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379"),
		Args:      exactly("put, get or mix"),
		ValidArgs: benchKinds,
		RunE: func(cmd *cobra.Command, words []string) error {
			b.kind = words[0]
			if err := b.check(); err != nil {
				return err
			}
			return a.bench(cmd, b)
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.callers, "callers", 64, "callers at the same time")
	f.DurationVar(&b.duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&b.warmUp, "warm-up", 2*time.Second, "how long to run before that")
	f.Int64Var(&b.calls, "calls", 0, "end after so many calls were measured; 0 for the whole --duration")
	f.IntVar(&b.keys, "keys", 10_000, "number of different keys")
	f.IntVar(&b.valueBytes, "value-bytes", 256, "length of the values")
	f.IntVar(&b.readPercent, "reads", 90, "for mix: how many calls of a hundred are reads")
	f.IntVar(&b.connections, "connections", 1, "connections to each member")
	f.BoolVar(&b.serializable, "serializable", false, "reads from one member's own state")
	f.BoolVar(&b.keep, "keep", false, "do not delete the keys at the end")
	f.Uint64Var(&b.seed, "seed", 1, "what the choice of keys begins with")
	return cmd
}

func (b *bench) check() error {
	switch {
	case !slices.Contains(benchKinds, b.kind):
		return usage("%q: must be one of %s", b.kind, strings.Join(benchKinds, ", "))
	case b.callers < 1 || b.callers > load.MaxCallers:
		return usage("--callers %d: must be from 1 to %d", b.callers, load.MaxCallers)
	case b.duration <= 0 || b.warmUp < 0 || b.duration+b.warmUp > maxBenchTime:
		return usage("--duration and --warm-up must be above zero, and at most %v together", maxBenchTime)
	case b.calls < 0:
		return usage("--calls %d: must not be below zero", b.calls)
	case b.keys < 1 || b.keys > maxBenchKeys:
		return usage("--keys %d: must be from 1 to %d", b.keys, maxBenchKeys)
	case b.valueBytes < 0 || b.valueBytes > maxBenchValue:
		return usage("--value-bytes %d: must be from 0 to %d", b.valueBytes, maxBenchValue)
	case b.readPercent < 0 || b.readPercent > 100:
		return usage("--reads %d: must be from 0 to 100", b.readPercent)
	case b.connections < 1 || b.connections > client.MaxConnectionsPerMember:
		return usage("--connections %d: must be from 1 to %d", b.connections, client.MaxConnectionsPerMember)
	}
	return nil
}

func benchKey(n int) string { return fmt.Sprintf("%s%08d", benchPrefix, n) }

func (a *app) bench(cmd *cobra.Command, b bench) error {
	setUp, cancel := a.bounded(cmd)
	defer cancel()
	c, err := a.connectWith(setUp, a.cluster, b.connections)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	// It shows before the load whether the cluster is there at all.
	if _, err := c.Get(setUp, benchKey(0)); err != nil {
		return err
	}
	if b.kind != "put" {
		if err := b.fill(cmd.Context(), c, a.timeout); err != nil {
			return err
		}
	}
	r, err := load.Run(cmd.Context(), load.Plan{
		Callers: b.callers, WarmUp: b.warmUp, Duration: b.duration, Calls: b.calls, Seed: b.seed, Kind: errorKind,
		Call: b.call(c, a.timeout),
	})
	if !b.keep {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), a.timeout)
		defer cancel()
		if _, e := c.Delete(tidy, client.Prefix(benchPrefix)); e != nil {
			a.warn("the keys below %s are still there (%v): delete them with: %s del --prefix %s", benchPrefix, e, a.program(), benchPrefix)
		}
	}
	if err != nil && !stopped(cmd, err) {
		return err
	}
	return a.printBench(b, r)
}

// fill writes the keys that reads will find.
func (b *bench) fill(ctx context.Context, c *client.Client, timeout time.Duration) error {
	value := make([]byte, b.valueBytes)
	// A transaction has a bound in operations and in bytes; these are below the defaults of both.
	batch := min(100, max(1, maxBenchValue/max(b.valueBytes, 1)))
	for from := 0; from < b.keys; from += batch {
		var ops []client.Op
		for n := from; n < min(from+batch, b.keys); n++ {
			ops = append(ops, client.OpPut(benchKey(n), value))
		}
		limited, cancel := context.WithTimeout(ctx, timeout)
		_, err := c.Txn().Then(ops...).Commit(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("write the keys that are to be read: %w", err)
		}
	}
	return nil
}

// call is one call of the load.
func (b *bench) call(c *client.Client, timeout time.Duration) func(context.Context, *rand.Rand) error {
	value := make([]byte, b.valueBytes)
	var options []client.ReadOption
	if b.serializable {
		options = append(options, client.WithSerializable())
	}
	return func(ctx context.Context, random *rand.Rand) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		key := benchKey(random.IntN(b.keys))
		if b.kind == "get" || b.kind == "mix" && random.IntN(100) < b.readPercent {
			_, err := c.Get(ctx, key, options...)
			return err
		}
		_, err := c.Put(ctx, key, value)
		return err
	}
}

// errorKind names an error by what became of the call.
func errorKind(err error) string {
	for _, kind := range []error{client.ErrUnavailable, client.ErrUnknown, client.ErrBusy, client.ErrNoSpace, client.ErrTooLarge} {
		if errors.Is(err, kind) {
			return strings.TrimPrefix(kind.Error(), "raftkv: ")
		}
	}
	return err.Error()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (a *app) printBench(b bench, r load.Result) error {
	type result struct {
		Kind    string           `json:"kind"`
		Callers int              `json:"callers"`
		Seconds float64          `json:"seconds"`
		Calls   int64            `json:"calls"`
		Rate    float64          `json:"callsPerSecond"`
		Mean    float64          `json:"meanMilliseconds"`
		P50     float64          `json:"p50Milliseconds"`
		P90     float64          `json:"p90Milliseconds"`
		P99     float64          `json:"p99Milliseconds"`
		Max     float64          `json:"maxMilliseconds"`
		Failed  int64            `json:"failed"`
		Errors  map[string]int64 `json:"errors,omitempty"`
	}
	value := result{
		b.kind, b.callers, r.Took.Seconds(), r.Calls, r.Rate, milliseconds(r.Mean), milliseconds(r.P50), milliseconds(r.P90), milliseconds(r.P99), milliseconds(r.Max), r.Failed, r.Errors,
	}
	err := a.printer().Print(value, func(t *output.Rows) {
		t.Row("LOAD", "CALLERS", "SECONDS", "CALLS", "PER SECOND", "P50", "P90", "P99", "MAX", "FAILED")
		ms := func(v float64) string { return fmt.Sprintf("%.2fms", v) }
		t.Row(b.kind, b.callers, fmt.Sprintf("%.1f", value.Seconds), r.Calls, fmt.Sprintf("%.0f", r.Rate), ms(value.P50), ms(value.P90), ms(value.P99), ms(value.Max), r.Failed)
		for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
			t.Text("%d times: %s", r.Errors[kind], kind)
		}
	})
	if err == nil && r.Failed > 0 {
		return errSilent
	}
	return err
}
