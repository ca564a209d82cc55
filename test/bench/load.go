//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	valueBytes = 256
	// warmUp runs before each measurement, answerTimeout bounds the wait for the answers behind it.
	warmUp        = 500 * time.Millisecond
	answerTimeout = 30 * time.Second
	// perOperations is the unit in which processor time is told.
	perOperations = 100_000
)

// workload is what all callers of one measurement do.
type workload struct {
	name    string
	callers int
	// writes says that each operation puts one value.
	writes bool
	// nativeClients, if it is not zero, is how many of the system's own clients the callers share, where the system has one.
	nativeClients int
	// tool, if there is one, makes the load instead of this program: etcd's benchmark tool with its arguments.
	tool []string
	// keys, if it is not zero, is the number of keys, instead of the number that all others have.
	keys int
	run  func(ctx context.Context, c caller, key string, value []byte) error
}

func putWorkload(callers int) workload {
	return workload{name: fmt.Sprintf("put, %d callers", callers), callers: callers, writes: true,
		run: func(ctx context.Context, c caller, key string, value []byte) error { return c.put(ctx, key, value) }}
}

func getWorkload(callers int, serializable bool) workload {
	kind := "linearizable"
	if serializable {
		kind = "serializable"
	}
	return workload{name: fmt.Sprintf("%s get, %d callers", kind, callers), callers: callers,
		run: func(ctx context.Context, c caller, key string, _ []byte) error { return c.get(ctx, key, serializable) }}
}

// mixWorkload reads linearizably nine times of ten, and puts once.
func mixWorkload(callers int) workload {
	const readsOfTen = 9
	return workload{name: fmt.Sprintf("mix of 90 %% linearizable get and 10 %% put, %d callers", callers), callers: callers,
		run: func(ctx context.Context, c caller, key string, value []byte) error {
			if rand.IntN(10) < readsOfTen {
				return c.get(ctx, key, false)
			}
			return c.put(ctx, key, value)
		}}
}

// outcome is what one measurement showed.
type outcome struct {
	perSecond float64
	p50, p99  time.Duration
	// storeCPU and loadCPU are seconds of the three members and of this program, for perOperations operations.
	storeCPU, loadCPU float64
	// writtenPerByte is how many bytes the device was told to write for a byte of value: for three members, and for whatever
	// else uses the device.
	writtenPerByte float64
}

// connect makes the callers.
func (w workload) connect(s system, leader int) ([]caller, func(), error) {
	if own, ok := s.(nativeSystem); ok && w.nativeClients > 0 {
		return own.connectNative(leader, w.callers, w.nativeClients)
	}
	return s.connect(leader, w.callers)
}

func keyName(i int) string { return fmt.Sprintf("bench/%08d", i) }

// preload writes every key once.
func preload(s system, leader, keys int) error {
	const callers = 64
	made, closeAll, err := s.connect(leader, callers)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var next atomic.Int64
	return inParallel(made, func(c caller) error {
		value := make([]byte, valueBytes)
		for {
			i := int(next.Add(1)) - 1
			if i >= keys {
				return nil
			}
			if err := c.put(ctx, keyName(i), value); err != nil {
				return err
			}
		}
	})
}

// inParallel runs f for every caller and returns the first error.
func inParallel(callers []caller, f func(caller) error) error {
	failed := make(chan error, len(callers))
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			if err := f(c); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

// measure runs a workload on the leader. An operation counts when its answer comes within the measured time.
func measure(s system, w workload, keys int, duration time.Duration) (outcome, error) {
	if w.keys > 0 {
		keys = w.keys
	}
	if w.tool != nil {
		return measureTool(s, w, keys, duration)
	}
	leader, err := settled(s)
	if err != nil {
		return outcome{}, err
	}
	callers, closeAll, err := w.connect(s, leader)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(context.Background(), warmUp+duration+answerTimeout)
	defer cancel()

	var measuring, over atomic.Bool
	var lock sync.Mutex
	var latencies []time.Duration
	finished := make(chan error, 1)
	go func() {
		finished <- inParallel(callers, func(c caller) error {
			value := make([]byte, valueBytes)
			for i := range value {
				value[i] = byte(rand.Uint32())
			}
			var mine []time.Duration
			for !over.Load() {
				begin := time.Now()
				if err := w.run(ctx, c, keyName(rand.IntN(keys)), value); err != nil {
					return err
				}
				if measuring.Load() {
					mine = append(mine, time.Since(begin))
				}
			}
			lock.Lock()
			defer lock.Unlock()
			latencies = append(latencies, mine...)
			return nil
		})
	}()

	time.Sleep(warmUp)
	used, load, err := snapshotUsage(s)
	written := loopback.WrittenToDisk(s.processes()[leader].Dir)
	if err != nil {
		return outcome{}, err
	}
	begin := time.Now()
	measuring.Store(true)
	time.Sleep(duration)
	measuring.Store(false)
	elapsed := time.Since(begin)
	usedAfter, loadAfter, err := snapshotUsage(s)
	writtenAfter := loopback.WrittenToDisk(s.processes()[leader].Dir)
	if err != nil {
		return outcome{}, err
	}
	over.Store(true)
	if err := <-finished; err != nil {
		return outcome{}, fmt.Errorf("%s: %s: %w", s.name(), w.name, err)
	}
	if len(latencies) == 0 {
		return outcome{}, fmt.Errorf("%s: %s: no answer within %v", s.name(), w.name, duration)
	}
	slices.Sort(latencies)
	n := float64(len(latencies))
	return outcome{
		perSecond: n / elapsed.Seconds(),
		p50:       percentile(latencies, 50), p99: percentile(latencies, 99),
		storeCPU:       (usedAfter.CPU - used.CPU).Seconds() / n * perOperations,
		loadCPU:        (loadAfter - load).Seconds() / n * perOperations,
		writtenPerByte: float64(writtenAfter-written) / (n * valueBytes),
	}, nil
}

func snapshotUsage(s system) (members loopback.Usage, load time.Duration, err error) {
	if members, err = totals(s); err != nil {
		return members, 0, err
	}
	load, err = loopback.OwnCPU()
	return members, load, err
}

// percentile takes a sorted sample that is not empty.
func percentile[T any](sorted []T, percent int) T {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}
