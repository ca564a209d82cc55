//go:build linux

// Command catchup measures how a member that was down catches up: three raftkv-node processes on loopback, one of them is stopped, so much is
// written that the log behind it is compacted, and it is started again, while a few callers go on putting small values at the
// leader. It prints how long it took from the start of the process until it had applied what was committed when it was started, and
// the callers' latency before and meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

type options struct {
	node, dir, profile string
	megabytes, callers int
	before             time.Duration
}

const (
	fillers = 32
	// settleTimeout bounds each wait for the cluster.
	settleTimeout = 60 * time.Second
	// catchUpTimeout bounds the measurement.
	catchUpTimeout = 10 * time.Minute
)

func main() {
	var o options
	flag.StringVar(&o.node, "node", "build/bench/raftkv-node", "raftkv's `program`")
	flag.StringVar(&o.dir, "dir", "build/bench", "`directory` in which the data is kept meanwhile")
	flag.IntVar(&o.megabytes, "megabytes", 1000, "how much is written while the member is down")
	flag.IntVar(&o.callers, "callers", 8, "number of callers whose latency is measured")
	flag.DurationVar(&o.before, "before", 10*time.Second, "how long latency is measured before the member comes back")
	flag.StringVar(&o.profile, "profile", "", "write processor profiles of the catch-up to this `file`.leader and .follower; -node must be the program of test/bench/profiled")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "catchup: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if flag.NArg() > 0 || o.megabytes < 1 || o.callers < 1 || o.before <= 0 {
		return errors.New("a flag has no sense: see -help")
	}
	root, err := os.MkdirTemp(o.dir, "catchup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c, err := startCluster(o.node, root, o.profile != "")
	if err != nil {
		return err
	}
	defer c.stop()
	leader, err := c.settle(ctx)
	if err != nil {
		return err
	}
	down := (leader + 1) % members
	c.Nodes[down].Stop()
	began := time.Now()
	written, err := c.fill(ctx, leader, int64(o.megabytes)*1_000_000)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "wrote %d MB in %v\n", written/1_000_000, time.Since(began).Round(time.Second))

	callers := startCallers(ctx, c.Clients[leader], o.callers)
	defer callers.stop()
	if err := pause(ctx, o.before/4); err != nil { // what the writing has left in the queues and the disk's cache
		return err
	}
	callers.take()
	if err := pause(ctx, o.before); err != nil {
		return err
	}
	before := callers.take()

	target, err := c.Status(ctx, leader)
	if err != nil {
		return err
	}
	leaderBefore, err := c.Nodes[leader].Usage()
	if err != nil {
		return err
	}
	began = time.Now()
	if err := c.Nodes[down].Start(); err != nil {
		return err
	}
	profiled := c.profile(ctx, o.profile, leader, down)
	err = loopback.Eventually(ctx, catchUpTimeout, func(ctx context.Context) error {
		s, err := c.Status(ctx, down)
		if err == nil && s.Applied < target.Commit {
			err = fmt.Errorf("it has applied %d of %d", s.Applied, target.Commit)
		}
		return err
	})
	took := time.Since(began)
	during := callers.take()
	if err != nil {
		return fmt.Errorf("the member does not catch up: %w\n%s", err, c.Nodes[down].LogTail())
	}
	leaderUsage, leaderErr := c.Nodes[leader].Usage()
	followerUsage, followerErr := c.Nodes[down].Usage()
	if err := errors.Join(leaderErr, followerErr); err != nil {
		return err
	}
	now, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	if now != leader {
		return errors.New("the leader has changed meanwhile: the figures mean nothing")
	}
	if err := <-profiled; err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	megabytes := float64(written) / 1e6
	fmt.Printf("%s, %d processors, %s, load average %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), strings.Fields(string(load))[0])
	fmt.Printf("| measure | value |\n|---|---:|\n")
	fmt.Printf("| written while the member was down, values of 1 to 16 KiB | %.0f MB |\n", megabytes)
	fmt.Printf("| caught up, from the start of its process | %.1f s |\n", took.Seconds())
	fmt.Printf("| rate | %.0f MB/s |\n", megabytes/took.Seconds())
	fmt.Printf("| CPU of the leader meanwhile, its callers' puts included | %.1f s |\n", (leaderUsage.CPU - leaderBefore.CPU).Seconds())
	fmt.Printf("| CPU of the member | %.1f s |\n", followerUsage.CPU.Seconds())
	fmt.Printf("| put at the leader before, %d callers: rate, p50, p99 | %s |\n", o.callers, before)
	fmt.Printf("| meanwhile | %s |\n", during)
	fmt.Printf("| p99 meanwhile to before | %.2fx |\n", during.p99.Seconds()/before.p99.Seconds())
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill writes distinct keys with values between 1 and 16 KiB and returns how many bytes of them were acknowledged.
func (c *cluster) fill(ctx context.Context, leader int, bytes int64) (int64, error) {
	var next, written atomic.Int64
	failed := make(chan error, fillers)
	for range fillers {
		go func() {
			failed <- func() error {
				client := newPutter(c.Clients[leader])
				value := randomValue()
				for written.Load() < bytes {
					i := next.Add(1)
					n := 1<<10 + int(i*7919%(15<<10+1))
					if err := client.put(ctx, fmt.Sprintf("fill/%012d", i), value[:n]); err != nil {
						return err
					}
					written.Add(int64(n))
				}
				return nil
			}()
		}()
	}
	var err error
	for range fillers {
		err = errors.Join(err, <-failed)
	}
	return written.Load(), err
}

func memberPath(root string, i int) (dir, log string) {
	dir = filepath.Join(root, fmt.Sprintf("m%d", i))
	return dir, dir + ".log"
}
