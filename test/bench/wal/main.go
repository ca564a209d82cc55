//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// payloadBytes is the size of an entry's data.
const payloadBytes = 256

// store keeps entries. Append returns when the entries first, first+1, ... with these data are on stable storage; Trim says that
// those up to and including index are not needed any more.
type store interface {
	Append(first uint64, data [][]byte) error
	Trim(index uint64) error
	io.Closer
}

// stores in the order of the table; the first is measured against the others.
var stores = []struct {
	name string
	open func(dir string) (store, error)
}{
	{"raftkv", openRaftkv}, {"bare", openBare}, {"raft-wal", openHashicorp}, {"raft-boltdb", openBolt},
}

// options are the flags.
type options struct {
	dir      string
	batches  []int
	duration time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", ".", "`directory` in which the data is kept meanwhile; its disk is what is measured")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long each size of batch is measured")
	flag.Parse()
	o.batches = []int{1, 16, 256}
	err := errors.New("a flag has no sense: see -help")
	if flag.NArg() == 0 && o.duration > 0 {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "wal: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	fmt.Printf("%s, %d processors, %s, load average %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), loadAverage())
	fmt.Println("| entries in a batch | log         | batches/s |      p50 |      p99 | raftkv's p50 is | its mean is |")
	fmt.Println("|-------------------:|:------------|----------:|---------:|---------:|----------------:|------------:|")
	for _, n := range o.batches {
		samples, err := measure(o, n)
		if err != nil {
			return err
		}
		for i, sample := range samples {
			ofMedian, ofMean := "", ""
			if i > 0 {
				ofMedian = fmt.Sprintf("%.2fx as fast", float64(percentile(sample, 50))/float64(percentile(samples[0], 50)))
				ofMean = fmt.Sprintf("%.2fx", float64(mean(sample))/float64(mean(samples[0])))
			}
			fmt.Printf("| %18d | %-11s | %9.0f | %5.0f us | %5.0f us | %15s | %11s |\n", n, stores[i].name, float64(time.Second)/float64(mean(sample)),
				microseconds(percentile(sample, 50)), microseconds(percentile(sample, 99)), ofMedian, ofMean)
		}
	}
	return nil
}

// trimEvery is after how many entries all but the last of them are given up, as a member does that has made a snapshot.
const trimEvery = 100_000

// measure returns what each store took for its batches, sorted.
func measure(o options, n int) (samples [][]time.Duration, err error) {
	root, err := os.MkdirTemp(o.dir, "wal-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	open := make([]store, len(stores))
	for i, s := range stores {
		dir := filepath.Join(root, s.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		if open[i], err = s.open(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		defer func() { err = errors.Join(err, open[i].Close()) }()
	}
	data := make([][]byte, n)
	for i := range data {
		data[i] = make([]byte, payloadBytes)
	}
	samples = make([][]time.Duration, len(open))
	next := uint64(1)
	for began := time.Now(); time.Since(began) < o.duration; next += uint64(n) {
		for i := range open {
			which := (i + int(next)) % len(open) // whoever is first is so in turn
			start := time.Now()
			if err := open[which].Append(next, data); err != nil {
				return nil, fmt.Errorf("%s: %w", stores[which].name, err)
			}
			samples[which] = append(samples[which], time.Since(start))
		}
		if next%trimEvery < uint64(n) && next > trimEvery {
			for i := range open {
				if err := open[i].Trim(next - 1); err != nil {
					return nil, fmt.Errorf("%s: %w", stores[i].name, err)
				}
			}
		}
	}
	for i := range samples {
		slices.Sort(samples[i])
	}
	return samples, nil
}

func percentile(sorted []time.Duration, p int) time.Duration { return sorted[(len(sorted)-1)*p/100] }

func mean(sample []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range sample {
		sum += d
	}
	return sum / time.Duration(len(sample))
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
