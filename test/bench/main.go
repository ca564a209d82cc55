//go:build linux

// Command bench measures raftkv beside etcd: three processes of each on this machine and this disk, both with their default
// settings, in turn, in one run. It prints one table.
//
// Callers wait for each answer before they send the next request, and all of them speak to the leader. raftkv is spoken to over
// REST with one connection for each caller, or, where a line says so, by its own Go client, etcd by its own Go client with ten callers on a connection. The load is made on
// the same processors that the stores run on; its processor time is in the table. The idle one of the two systems stays up.
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
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	node, etcd, dir, profile string
	duration                 time.Duration
	rounds, keys             int
	failovers, peerFailovers int
	load, native             bool
}

func main() {
	var o options
	flag.StringVar(&o.node, "node", "build/bench/raftkv-node", "raftkv's `program`")
	flag.StringVar(&o.etcd, "etcd", "build/bench/etcd", "etcd's `program`")
	flag.StringVar(&o.dir, "dir", "build/bench", "`directory` in which the data is kept meanwhile")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long each cell of the table is measured")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is measured; the table shows medians")
	flag.IntVar(&o.failovers, "failovers", 10, "how often each system's leader is killed, frozen and stopped")
	flag.IntVar(&o.peerFailovers, "peer-failovers", 10, "how often etcd's leader goes, at most; each takes much longer")
	flag.BoolVar(&o.load, "load", true, "measure rates and latencies too, not failovers alone")
	flag.IntVar(&o.keys, "keys", 10_000, "number of keys")
	flag.BoolVar(&o.native, "native", false, "measure raftkv's native client alone, beside etcd's gRPC; with --profile, profile that")
	flag.StringVar(&o.profile, "profile", "",
		"only put with 256 callers (1024 with --native), and write the leader's processor profile to this `file`; --node must be the program of test/bench/profiled")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if flag.NArg() > 0 || o.rounds < 1 || o.failovers < 0 || o.peerFailovers < 1 || o.keys < 1 || o.duration <= 0 {
		return errors.New("a flag has no sense: see -help")
	}
	root, err := os.MkdirTemp(o.dir, "data-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stopped
		_ = os.RemoveAll(root) // the members end with this process
		os.Exit(1)
	}()
	ours, err := newRaftkv(o.node, root, o.profile != "")
	if err != nil {
		return err
	}
	defer shutDown(ours)
	if o.profile != "" {
		return profilePut(o, ours)
	}
	theirs, err := newEtcd(o.etcd, root)
	if err != nil {
		return err
	}
	defer theirs.close()
	defer shutDown(theirs)
	return compare(o, ours, theirs)
}

func start(s system, keys int) (leader int, err error) {
	if err := launch(s); err != nil {
		return 0, err
	}
	if leader, err = settled(s); err != nil {
		return 0, err
	}
	return leader, preload(s, leader, keys)
}

func compare(o options, systems ...system) error {
	for _, s := range systems {
		if _, err := start(s, o.keys); err != nil {
			return err
		}
	}
	var workloads []workload
	if o.load && !o.native {
		workloads = []workload{
			putWorkload(1), putWorkload(64), putWorkload(256), putWorkload(1000), getWorkload(256, false), getWorkload(256, true),
		}
	}
	if o.load {
		workloads = append(workloads, nativePutWorkload(1, 1), nativePutWorkload(1000, 1), nativePutWorkload(1024, 16),
			nativeGetWorkload(256, false), nativeGetWorkload(256, true))
	}
	before, err := terms(systems)
	if err != nil {
		return err
	}
	outcomes := make([][2][]outcome, len(workloads))
	for round := range o.rounds {
		for i, w := range workloads {
			for j := range systems {
				// Whoever is first in one round is second in the next.
				which := (j + round) % len(systems)
				result, err := measure(systems[which], w, o.keys, o.duration)
				if err != nil {
					return err
				}
				progress("round %d: %s: %s: %s, p99 %v", round+1, w.name, systems[which].name(), perSecond(result.perSecond), result.p99)
				outcomes[i][which] = append(outcomes[i][which], result)
			}
		}
	}
	var rows []row
	for i, w := range workloads {
		rows = append(rows, workloadRows(w, outcomes[i][0], outcomes[i][1])...)
	}
	memory, err := memoryRow(systems)
	if err != nil {
		return err
	}
	after, err := terms(systems)
	if err != nil {
		return err
	}
	rows = append(rows, memory, row{"elections while all that was measured", after[0] - before[0], after[1] - before[1], count, true})
	for _, how := range endings {
		if o.failovers == 0 {
			break
		}
		more, err := failovers(o, how, systems)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	fmt.Printf("%s, %d processors, %s, load average %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), loadAverage())
	printTable(os.Stdout, systems[1].name(), rows)
	return nil
}

// failovers are the lines of one way in which a leader goes.
func failovers(o options, how ending, systems []system) ([]row, error) {
	var times [2][]time.Duration
	for i := range o.failovers {
		for j, s := range systems {
			if j > 0 && i >= o.peerFailovers {
				continue
			}
			took, err := failover(s, i, how)
			if err != nil {
				return nil, err
			}
			progress("%s, %d: %s: %v", how.name, i+1, s.name(), took.Round(time.Millisecond))
			times[j] = append(times[j], took)
		}
	}
	return failoverRows(how.name, times[0], times[1]), nil
}

// terms are those of the systems' leaders.
func terms(systems []system) ([2]float64, error) {
	var out [2]float64
	for i, s := range systems {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		term, err := s.term(ctx)
		cancel()
		if err != nil {
			return out, err
		}
		out[i] = float64(term)
	}
	return out, nil
}

// memoryRow is the mean of the members, after all that was written.
func memoryRow(systems []system) (row, error) {
	r := row{measure: "memory resident, each member, after the above", format: mebibytes, lowerIsBetter: true}
	for i, s := range systems {
		u, err := totals(s)
		if err != nil {
			return r, err
		}
		*[]*float64{&r.raftkv, &r.peer}[i] = float64(u.ResidentBytes) / members
	}
	return r, nil
}

func profilePut(o options, ours *raftkv) error {
	leader, err := start(ours, o.keys)
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Clean(o.profile))
	if err != nil {
		return err
	}
	defer file.Close()
	profiled := make(chan error, 1)
	go func() { profiled <- ours.Profile(leader, int((warmUp + o.duration).Seconds()), file) }()
	w := putWorkload(256)
	if o.native {
		w = nativePutWorkload(1024, 16)
	}
	result, err := measure(ours, w, o.keys, o.duration)
	if err := errors.Join(err, <-profiled); err != nil {
		return err
	}
	fmt.Printf("%s, p50 %v, p99 %v, per 100k %.2f s of the store's processor time and %.2f s of the load's\n",
		perSecond(result.perSecond), result.p50, result.p99, result.storeCPU, result.loadCPU)
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:1], "")
}
