//go:build linux

// Command rpc measures small calls through package rpc beside gRPC, net/rpc and JSON over HTTP/1.1, each between two processes on
// loopback, in turn, in one run: 32 bytes go there and 32 bytes come back. It prints one table.
//
// At depth 1 one caller waits for each answer. Pipelined, many callers share a few connections; HTTP/1.1 cannot do that and has a
// connection for each caller. Everyone has its defaults but for that. Processor time is that of both processes.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

type options struct {
	duration, warmUp             time.Duration
	rounds, callers, connections int
	only, profile                string
}

func main() {
	var o options
	var serve, serverProfile string
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each cell is measured")
	flag.DurationVar(&o.warmUp, "warm-up", 300*time.Millisecond, "how long each cell runs before")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured; the table shows medians")
	flag.IntVar(&o.callers, "callers", 1000, "number of callers that are pipelined")
	flag.IntVar(&o.connections, "connections", 2, "number of connections that they share")
	flag.StringVar(&o.only, "only", "", "measure only the `system` of this name")
	flag.StringVar(&o.profile, "profile", "", "write processor profiles of both sides to this `file` and this file with .server")
	flag.StringVar(&serve, "serve", "", "be the server of this system (for the program itself)")
	flag.StringVar(&serverProfile, "server-profile", "", "the server's profile (for the program itself)")
	flag.Parse()
	run := func() error { return compare(o) }
	if serve != "" {
		run = func() error { return serveSystem(serve, serverProfile) }
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "rpc: %v\n", err)
		os.Exit(1)
	}
}

// cell is one line of the table.
type cell struct {
	system  system
	callers int
}

func compare(o options) error {
	if flag.NArg() > 0 || o.rounds < 1 || o.callers < 1 || o.connections < 1 || o.duration <= 0 {
		return errors.New("a flag has no sense: see -help")
	}
	var cells []cell
	for _, callers := range []int{1, o.callers} {
		for _, s := range systems {
			if o.only == "" || s.name == o.only {
				cells = append(cells, cell{s, callers})
			}
		}
	}
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	outcomes := make([][]outcome, len(cells))
	for round := range o.rounds {
		for i, c := range cells {
			result, err := measure(o, c)
			if err != nil {
				return fmt.Errorf("%s with %d callers: %w", c.system.name, c.callers, err)
			}
			fmt.Fprintf(os.Stderr, "round %d: %s, %d callers: %.0f/s\n", round+1, c.system.name, c.callers, result.perSecond)
			outcomes[i] = append(outcomes[i], result)
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d processors, %s, load average %s, %d pipelined callers on %d connections\n\n", time.Now().UTC().Format(time.DateOnly),
		runtime.NumCPU(), runtime.Version(), strings.Fields(string(load))[0], o.callers, o.connections)
	printTable(cells, outcomes)
	return nil
}

// measure runs one cell against a server process of its own.
func measure(o options, c cell) (outcome, error) {
	s, err := startServer(c.system.name, o.profile)
	if err != nil {
		return outcome{}, err
	}
	defer s.stop()
	connections := min(o.connections, c.callers)
	ctx, cancel := context.WithTimeout(context.Background(), o.warmUp+o.duration+time.Minute)
	defer cancel()
	call, closeAll, err := c.system.dial(ctx, s.address, connections, c.callers)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll()
	if err := load(ctx, call, c.callers, o.warmUp, nil); err != nil {
		return outcome{}, err
	}
	runtime.GC()
	before, err := s.cpu()
	if err != nil {
		return outcome{}, err
	}
	ours, began := ownCPU(), time.Now()
	var t tally
	if err := load(ctx, call, c.callers, o.duration, &t); err != nil {
		return outcome{}, err
	}
	took, ours := time.Since(began), ownCPU()-ours
	after, err := s.cpu()
	if err != nil {
		return outcome{}, err
	}
	return t.outcome(took, ours, after-before), nil
}

// serveSystem is the other process: it prints its address, and its processor time for every line that it reads.
func serveSystem(name, profile string) error {
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for _, s := range systems {
		if s.name != name {
			continue
		}
		address, err := s.serve()
		if err != nil {
			return err
		}
		fmt.Println(address)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(int64(ownCPU()))
		}
		return nil
	}
	return fmt.Errorf("there is no system %q", name)
}
