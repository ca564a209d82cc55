//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// payloadBytes is the size of a proposal.
const payloadBytes = 256

// members is the number of processes of a system.
const members = 3

// maxCallers is below what all systems let wait.
const maxCallers = 7000

// options are the flags.
type options struct {
	dir      string
	systems  []string
	callers  []int
	duration time.Duration
	warmUp   time.Duration
	rounds   int
	profile  string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == memberCommand {
		if err := runMember(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "member: %v\n", err)
			os.Exit(1)
		}
		return
	}
	o, err := parse()
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "layer: %v\n", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	var systems, callers string
	flag.StringVar(&o.dir, "dir", ".", "`directory` in which the data is kept meanwhile; its disk is what is measured")
	flag.StringVar(&systems, "systems", strings.Join(systemNames(), ","), "which `systems` take turns")
	flag.StringVar(&callers, "callers", "1,64,256,1000,4000", "`numbers` of callers")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "how long each cell of the table is measured")
	flag.DurationVar(&o.warmUp, "warmup", time.Second, "how long each cell runs before it is measured")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured; the table shows medians")
	flag.StringVar(&o.profile, "profile", "", "write profiles of the leader and of a follower to files that begin with this `prefix`; for one system and one number of callers")
	flag.Parse()
	o.systems = strings.Split(systems, ",")
	for _, s := range o.systems {
		if engines[s] == nil {
			return o, fmt.Errorf("-systems: %q is none of %s", s, strings.Join(systemNames(), ", "))
		}
	}
	for _, text := range strings.Split(callers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxCallers {
			return o, fmt.Errorf("-callers: %q is not a number from 1 to %d", text, maxCallers)
		}
		o.callers = append(o.callers, n)
	}
	if flag.NArg() > 0 || o.rounds < 1 || o.duration <= 0 || o.warmUp < 0 {
		return o, errors.New("a flag has no sense: see -help")
	}
	if o.profile != "" && (len(o.systems) != 1 || len(o.callers) != 1) {
		return o, errors.New("-profile goes with one of -systems and one of -callers")
	}
	return o, nil
}

func run(o options) (err error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(dir, "layer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	clusters := make([]*cluster, len(o.systems))
	for i, name := range o.systems {
		c, err := startCluster(name, filepath.Join(root, name))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		clusters[i] = c
	}
	cells := make([][][]outcome, len(o.callers)) // by callers, system, round
	for i := range cells {
		cells[i] = make([][]outcome, len(clusters))
	}
	for round := range o.rounds {
		for i, callers := range o.callers {
			for j := range clusters {
				// Whoever is first in one round is second in the next.
				which := (j + round) % len(clusters)
				result, err := clusters[which].measure(ctx, load{Callers: callers, WarmUp: o.warmUp, Duration: o.duration, Profile: o.profile})
				if err != nil {
					return fmt.Errorf("%s with %d callers: %w", o.systems[which], callers, err)
				}
				fmt.Fprintf(os.Stderr, "round %d: %d callers: %s\n", round+1, callers, result.line(o.systems[which]))
				cells[i][which] = append(cells[i][which], result)
			}
		}
	}
	printTable(os.Stdout, o, cells)
	return nil
}
