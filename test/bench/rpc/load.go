//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	payloadBytes = 32
	// sampleEvery is one call of so many of each caller whose latency is taken, so that reading the clock is no part of what is measured.
	sampleEvery = 16
	perCalls    = 100_000
)

// callFunc makes one call for a caller and checks the answer.
type callFunc func(ctx context.Context, caller int, payload []byte) error

// tally is what all callers of a cell have seen.
type tally struct {
	mu        sync.Mutex
	calls     uint64
	latencies []time.Duration
}

// load runs all callers for a while. Each waits for its answer before it calls again.
func load(ctx context.Context, call callFunc, callers int, duration time.Duration, t *tally) error {
	var stop atomic.Bool
	timer := time.AfterFunc(duration, func() { stop.Store(true) })
	defer timer.Stop()
	var failure error
	var once sync.Once
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			payload := []byte(fmt.Sprintf("%0*d", payloadBytes, i))
			var samples []time.Duration
			n := uint64(0)
			for ; !stop.Load(); n++ {
				var began time.Time
				if n%sampleEvery == 0 {
					began = time.Now()
				}
				if err := call(ctx, i, payload); err != nil {
					once.Do(func() { failure = err })
					stop.Store(true)
					return
				}
				if n%sampleEvery == 0 {
					samples = append(samples, time.Since(began))
				}
			}
			if t != nil {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.calls += n
				t.latencies = append(t.latencies, samples...)
			}
		})
	}
	wait.Wait()
	return failure
}

type outcome struct {
	perSecond            float64
	p50, p99             time.Duration
	callerCPU, calleeCPU float64 // seconds for perCalls calls
}

func (t *tally) outcome(took, ours, theirs time.Duration) outcome {
	slices.Sort(t.latencies)
	at := func(quantile float64) time.Duration {
		if len(t.latencies) == 0 {
			return 0
		}
		return t.latencies[int(quantile*float64(len(t.latencies)-1))]
	}
	unit := float64(t.calls) / perCalls
	return outcome{float64(t.calls) / took.Seconds(), at(0.5), at(0.99), ours.Seconds() / unit, theirs.Seconds() / unit}
}

func median(all []outcome, of func(outcome) float64) float64 {
	var values []float64
	for _, o := range all {
		values = append(values, of(o))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func printTable(cells []cell, outcomes [][]outcome) {
	fmt.Println("| callers | system | calls/s | p50 | p99 | CPU of the caller per 100k | of the callee | both | calls per CPU second, raftkv to this |")
	fmt.Println("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
	first := map[int]float64{}
	for i, c := range cells {
		m := func(of func(outcome) float64) float64 { return median(outcomes[i], of) }
		both := m(func(o outcome) float64 { return o.callerCPU + o.calleeCPU })
		if first[c.callers] == 0 {
			first[c.callers] = both
		}
		fmt.Printf("| %d | %s | %.0f | %.3f ms | %.3f ms | %.2f s | %.2f s | %.2f s | %.2fx |\n", c.callers, c.system.name,
			m(func(o outcome) float64 { return o.perSecond }), m(func(o outcome) float64 { return o.p50.Seconds() * 1000 }),
			m(func(o outcome) float64 { return o.p99.Seconds() * 1000 }), m(func(o outcome) float64 { return o.callerCPU }),
			m(func(o outcome) float64 { return o.calleeCPU }), both, both/first[c.callers])
	}
}

func ownCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // the kernel knows the call for sure
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// server is the other process.
type server struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	address string
}

func startServer(system, profile string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-serve", system}
	if profile != "" {
		args = append(args, "-server-profile", profile+".server")
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	if !s.out.Scan() {
		s.stop()
		return nil, fmt.Errorf("the server of %s did not start", system)
	}
	s.address = s.out.Text()
	return s, nil
}

func (s *server) cpu() (time.Duration, error) {
	if _, err := fmt.Fprintln(s.in); err != nil {
		return 0, err
	}
	if !s.out.Scan() {
		return 0, fmt.Errorf("the server has ended: %w", s.out.Err())
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s.out.Text()), 10, 64)
	return time.Duration(n), err
}

// stop ends the server, which ends when nothing more comes.
func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Wait() // how it ended does not matter any more
}
