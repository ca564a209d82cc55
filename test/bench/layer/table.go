//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// outcome is one cell of the table, once.
type outcome struct {
	measured
	cpu                        time.Duration // of all three processes, for Entries
	leaderBytes, followerBytes int64         // resident after it; the followers' is the larger one
}

// cpuPer100k is in seconds.
func (o outcome) cpuPer100k() float64 { return o.cpu.Seconds() * 100_000 / float64(max(o.Entries, 1)) }

func (o outcome) line(system string) string {
	return fmt.Sprintf("%-10s %8.0f/s, p50 %v, p99 %v, %.2f s of processor time per 100k, %d and %d MiB resident",
		system, o.PerSecond, o.P50, o.P99, o.cpuPer100k(), o.leaderBytes>>20, o.followerBytes>>20)
}

func median(sample []outcome, of func(outcome) float64) float64 {
	values := make([]float64, 0, len(sample))
	for _, x := range sample {
		values = append(values, of(x))
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 0 {
		return (values[half-1] + values[half]) / 2
	}
	return values[half]
}

// printTable writes the medians of all rounds. The last column is the first system's rate over the best of the others'.
func printTable(w io.Writer, o options, cells [][][]outcome) {
	fmt.Fprintf(w, "%s, %d processors, %s, load average %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), loadAverage())
	fmt.Fprintln(w, "| callers | system     | entries/s |      p50 |      p99 | CPU per 100k | leader | follower | ratio |")
	fmt.Fprintln(w, "|--------:|:-----------|----------:|---------:|---------:|-------------:|-------:|---------:|------:|")
	for i, callers := range o.callers {
		best := 0.0
		for j := 1; j < len(o.systems); j++ {
			best = max(best, median(cells[i][j], rate))
		}
		for j, system := range o.systems {
			c := cells[i][j]
			ratio := ""
			if j == 0 && best > 0 {
				ratio = fmt.Sprintf("%.2fx", median(c, rate)/best)
			}
			fmt.Fprintf(w, "| %7d | %-10s | %9.0f | %5.2f ms | %5.1f ms | %10.2f s | %2.0f MiB | %4.0f MiB | %5s |\n", callers, system, median(c, rate),
				median(c, func(o outcome) float64 { return o.P50.Seconds() * 1000 }), median(c, func(o outcome) float64 { return o.P99.Seconds() * 1000 }),
				median(c, outcome.cpuPer100k), median(c, func(o outcome) float64 { return float64(o.leaderBytes >> 20) }),
				median(c, func(o outcome) float64 { return float64(o.followerBytes >> 20) }), ratio)
		}
	}
}

func rate(o outcome) float64 { return o.PerSecond }

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
