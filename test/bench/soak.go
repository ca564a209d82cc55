//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	// soakCallers share soakClients native connections.
	soakCallers = 256
	soakClients = 4
	// soakWarmUp is how many puts are made before the time begins: history is then removed as fast as it is made.
	soakWarmUp = 2 * config.DefaultAutoCompactionRetention
	// soakSlices is how many lines tell of the whole time; a third of them at each end is compared.
	soakSlices = 12
)

// slice is a part of the soak.
type slice struct {
	perSecond float64
	// most is the longest wait.
	p50, p99, most time.Duration
	storeCPU       float64
	// stored is the size of the leader's directory at the end, resident the members' mean memory.
	stored, resident int64
}

// soak fills a cluster and then puts random keys of it, for a long time: neither the rate nor the size of the files may drift. History is
// compacted by the node itself, at its default settings; before that has begun nothing counts.
func soak(o options, ours *raftkv) error {
	if err := launch(ours); err != nil {
		return err
	}
	if err := fill(ours, o.fill); err != nil {
		return err
	}
	leader, err := settled(ours)
	if err != nil {
		return err
	}
	callers, closeAll, err := ours.connectNative(leader, soakCallers, soakClients)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(context.Background(), fillTimeout+o.soak+answerTimeout)
	defer cancel()
	var over, counts atomic.Bool
	var made atomic.Int64
	warm := make(chan struct{})
	var lock sync.Mutex
	var latencies []time.Duration
	finished := make(chan error, 1)
	go func() {
		finished <- inParallel(callers, func(c caller) error {
			value := make([]byte, valueBytes)
			for !over.Load() {
				begin := time.Now()
				if err := c.put(ctx, fillKey(rand.IntN(o.fill)), value); err != nil {
					return err
				}
				took := time.Since(begin)
				if made.Add(1) == soakWarmUp {
					close(warm)
				}
				if !counts.Load() {
					continue
				}
				lock.Lock()
				latencies = append(latencies, took)
				lock.Unlock()
			}
			return nil
		})
	}()
	fmt.Printf("%d callers put %d bytes at random ones of %d keys, %s, load average %s\n\n", soakCallers, valueBytes, o.fill, time.Now().UTC().Format(time.DateOnly), loadAverage())
	fmt.Println("| until | puts | p50 | p99 | longest | CPU of the store per 100k | leader's files | memory resident, each member |")
	fmt.Println("|---:|---:|---:|---:|---:|---:|---:|---:|")
	select {
	case <-warm:
	case err := <-finished:
		return err
	}
	counts.Store(true)
	profiled, err := profileSoak(o, ours, leader)
	if err != nil {
		return err
	}
	var told []slice
	began := time.Now()
	for range soakSlices {
		used, err := totals(ours)
		if err != nil {
			return err
		}
		from := time.Now()
		select {
		case <-time.After(o.soak / soakSlices):
		case err := <-finished:
			return err
		}
		lock.Lock()
		sample := latencies
		latencies = nil
		lock.Unlock()
		s, err := sliceOf(ours, leader, used, sample, time.Since(from))
		if err != nil {
			return err
		}
		told = append(told, s)
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", time.Since(began).Round(time.Second), perSecond(s.perSecond),
			milliseconds(float64(s.p50)), milliseconds(float64(s.p99)), milliseconds(float64(s.most)), seconds(s.storeCPU), mebibytes(float64(s.stored)), mebibytes(float64(s.resident)))
	}
	over.Store(true)
	if err := <-finished; err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	const third = soakSlices / 3
	first, last := told[:third], told[soakSlices-third:]
	rate := func(s slice) float64 { return s.perSecond }
	size := func(s slice) float64 { return float64(s.stored) }
	cpu := func(s slice) float64 { return s.storeCPU }
	fmt.Printf("\nThe last third beside the first, medians: %.2f of the rate, %.2f of the processor time for a put, %.2f of the size of the files.\n",
		middle(last, rate)/middle(first, rate), middle(last, cpu)/middle(first, cpu), middle(last, size)/middle(first, size))
	return nil
}

// profileSoak begins to write the leader's processor profile over the whole time, if that is wanted.
func profileSoak(o options, ours *raftkv, leader int) (<-chan error, error) {
	done := make(chan error, 1)
	if o.profile == "" {
		done <- nil
		return done, nil
	}
	file, err := os.Create(filepath.Clean(o.profile))
	if err != nil {
		return nil, err
	}
	go func() { done <- errors.Join(ours.Profile(leader, int(o.soak.Seconds()), file), file.Close()) }()
	return done, nil
}

func sliceOf(ours *raftkv, leader int, used loopback.Usage, sample []time.Duration, took time.Duration) (slice, error) {
	if len(sample) == 0 {
		return slice{}, fmt.Errorf("no put was acknowledged within %v", took)
	}
	now, err := totals(ours)
	if err != nil {
		return slice{}, err
	}
	stored, err := sizeOf(ours.processes()[leader].Dir)
	if err != nil {
		return slice{}, err
	}
	slices.Sort(sample)
	n := float64(len(sample))
	return slice{
		perSecond: n / took.Seconds(), p50: percentile(sample, 50), p99: percentile(sample, 99), most: sample[len(sample)-1],
		storeCPU: (now.CPU - used.CPU).Seconds() / n * perOperations, stored: stored, resident: now.ResidentBytes / members,
	}, nil
}

// sizeOf adds up the files in a directory. One that goes meanwhile, as segments of a log do, does not count.
func sizeOf(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil && !entry.IsDir() {
			size += info.Size()
		}
		return nil
	})
	return size, err
}
