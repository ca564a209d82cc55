//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// row is one line of the table: the same figure of both systems.
type row struct {
	measure       string
	raftkv, peer  float64
	format        func(float64) string
	lowerIsBetter bool
}

// advantage is how many times better raftkv is; below one it is worse.
func (r row) advantage() string {
	better, worse := r.raftkv, r.peer
	if r.lowerIsBetter {
		better, worse = worse, better
	}
	if worse == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", better/worse)
}

func printTable(w io.Writer, peer string, rows []row) {
	lines := [][]string{{"measure", "raftkv", peer, "raftkv is better by"}}
	for _, r := range rows {
		lines = append(lines, []string{r.measure, r.format(r.raftkv), r.format(r.peer), r.advantage()})
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, text := range line {
			widths[i] = max(widths[i], len(text))
		}
	}
	for n, line := range lines {
		fmt.Fprintf(w, "| %-*s |", widths[0], line[0])
		for i, text := range line[1:] {
			fmt.Fprintf(w, " %*s |", widths[i+1], text)
		}
		fmt.Fprintln(w)
		if n == 0 {
			fmt.Fprintf(w, "|%s|", strings.Repeat("-", widths[0]+2))
			for _, width := range widths[1:] {
				fmt.Fprintf(w, "%s:|", strings.Repeat("-", width+1))
			}
			fmt.Fprintln(w)
		}
	}
}

func perSecond(v float64) string { return fmt.Sprintf("%.0f/s", v) }
func seconds(v float64) string   { return fmt.Sprintf("%.2f s", v) }
func mebibytes(v float64) string { return fmt.Sprintf("%.0f MiB", v/(1<<20)) }
func factor(v float64) string    { return fmt.Sprintf("%.1f", v) }
func count(v float64) string     { return fmt.Sprintf("%.0f", v) }

func milliseconds(v float64) string {
	return fmt.Sprintf("%.2f ms", v/float64(time.Millisecond))
}

// middle is the median.
func middle[T any](sample []T, of func(T) float64) float64 {
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

// workloadRows are the lines of one workload, from the rounds of both systems.
func workloadRows(w workload, raftkv, peer []outcome) []row {
	line := func(what string, of func(outcome) float64, format func(float64) string, lowerIsBetter bool) row {
		return row{w.name + ": " + what, middle(raftkv, of), middle(peer, of), format, lowerIsBetter}
	}
	rows := []row{
		line("rate", func(o outcome) float64 { return o.perSecond }, perSecond, false),
		line("p50", func(o outcome) float64 { return float64(o.p50) }, milliseconds, true),
		line("p99", func(o outcome) float64 { return float64(o.p99) }, milliseconds, true),
		line("CPU of the store per 100k", func(o outcome) float64 { return o.storeCPU }, seconds, true),
		line("CPU of the load per 100k", func(o outcome) float64 { return o.loadCPU }, seconds, true),
	}
	if w.writes {
		rows = append(rows, line("bytes on disk per byte", func(o outcome) float64 { return o.writtenPerByte }, factor, true))
	}
	return rows
}

// failoverRows show the distribution.
func failoverRows(how string, raftkv, peer []time.Duration) []row {
	slices.Sort(raftkv)
	slices.Sort(peer)
	line := func(what string, of func([]time.Duration) time.Duration) row {
		return row{how + ", pause in writes: " + what, float64(of(raftkv)), float64(of(peer)), milliseconds, true}
	}
	return []row{
		line("least", func(d []time.Duration) time.Duration { return d[0] }),
		line("median", func(d []time.Duration) time.Duration { return percentile(d, 50) }),
		line("90 %", func(d []time.Duration) time.Duration { return percentile(d, 90) }),
		line("most", func(d []time.Duration) time.Duration { return d[len(d)-1] }),
	}
}
