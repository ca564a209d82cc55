//go:build linux

// Command bench measures raftkv beside etcd: three processes of each on this machine and this disk, both with their default
// settings, in turn, in one run. It prints one table.
//
// Callers wait for each answer before they send the next request, and all of them speak to the leader. Where a line says gRPC, etcd's own
// benchmark tool speaks to both systems. Elsewhere raftkv is spoken to over REST with one connection for each caller, or, where a line says so, by its
// own Go client, and etcd by its own Go client with ten callers on a connection. The load is made on
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
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

// options are the flags.
type options struct {
	node, etcd, tool, dir, profile, wrk string
	duration, soak                      time.Duration
	rounds, keys                        int
	failovers, peerFailovers            int
	fill, fillVersions, restarts        int
	load                                bool
	only                                string
	matches                             func(name string) bool // of only
}

func main() {
	var o options
	flag.StringVar(&o.node, "node", "build/bench/raftkv-node", "raftkv's `program`")
	flag.StringVar(&o.etcd, "etcd", "build/bench/etcd", "etcd's `program`")
	flag.StringVar(&o.tool, "tool", "build/bench/benchmark", "etcd's benchmark `program`")
	flag.StringVar(&o.dir, "dir", "build/bench", "`directory` in which the data is kept meanwhile")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long each cell of the table is measured")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is measured; the table shows medians")
	flag.IntVar(&o.failovers, "failovers", 10, "how often each system's leader is killed, frozen and stopped")
	flag.IntVar(&o.peerFailovers, "peer-failovers", 10, "how often etcd's leader goes, at most; each takes much longer")
	flag.BoolVar(&o.load, "load", true, "measure rates and latencies too, not failovers alone")
	flag.IntVar(&o.keys, "keys", 10_000, "number of keys")
	flag.StringVar(&o.only, "only", "", "measure only what this `expression` finds in the names of the table's lines; \"watch\" and \"protocols\" are such names too")
	flag.IntVar(&o.fill, "fill", 1_000_000, "number of `keys` with which memory and starting are measured; 0 leaves that out")
	flag.IntVar(&o.fillVersions, "fill-versions", 1, "how often each of them is written")
	flag.IntVar(&o.restarts, "restarts", 3, "how often one member, and then all, are stopped and started with these keys")
	flag.DurationVar(&o.soak, "soak", 0, "only put random ones of the keys of --fill for so long, to see whether the rate or the files' size drifts")
	flag.StringVar(&o.wrk, "wrk", "", "also measure raftkv's REST with wrk, which is this `program`")
	flag.StringVar(&o.profile, "profile", "",
		"only measure raftkv, and only --soak or the first line that --only finds, and write the leader's processor profile to this `file`; --node must be the program of test/bench/profiled")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if flag.NArg() > 0 || o.rounds < 1 || o.failovers < 0 || o.peerFailovers < 1 || o.keys < 1 || o.duration <= 0 || o.fill < 0 || o.fillVersions < 1 || o.restarts < 0 || o.soak < 0 || (o.soak > 0 && o.fill == 0) {
		return errors.New("a flag has no sense: see -help")
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	o.matches = only.MatchString
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
	if o.soak > 0 {
		return soak(o, ours)
	}
	if o.profile != "" {
		return profileOne(o, ours)
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
	workloads := chosen(o)
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
	memory, err := residentRow("memory resident, each member, after the above", systems, func(u loopback.Usage) int64 { return u.ResidentBytes })
	if err != nil {
		return err
	}
	if o.load && o.matches("watch") {
		watched, err := watchRows(o, systems)
		if err != nil {
			return err
		}
		rows = append(rows, watched...)
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
	if o.fill > 0 {
		more, err := millionRows(o, systems)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	fmt.Printf("%s, %d processors, %s, load average %s\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), loadAverage())
	printTable(os.Stdout, systems[1].name(), rows)
	if o.load && o.matches("protocols") {
		if err := protocols(o, systems[0]); err != nil {
			return err
		}
	}
	if o.wrk != "" {
		return byWrk(o, systems[0])
	}
	return nil
}

// chosen are the workloads that the flags ask for.
func chosen(o options) []workload {
	if !o.load {
		return nil
	}
	all := []workload{
		toolPut(o.tool, 1), toolPut(o.tool, 64), toolPut(o.tool, 256), toolPut(o.tool, 1000),
		toolRange(o.tool, 256, false), toolRange(o.tool, 256, true), toolRange(o.tool, 1000, false), toolRange(o.tool, 1000, true),
		putWorkload(1), putWorkload(64), putWorkload(256), putWorkload(1000), getWorkload(256, false), getWorkload(256, true),
		nativePutWorkload(1, 1), nativePutWorkload(1000, 1), nativePutWorkload(1024, 16), nativeGetWorkload(256, false), nativeGetWorkload(256, true),
	}
	return slices.DeleteFunc(all, func(w workload) bool { return !o.matches(w.name) })
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

// profileOne measures raftkv alone, with its leader's profile.
func profileOne(o options, ours *raftkv) error {
	workloads := chosen(o)
	if len(workloads) == 0 {
		return errors.New("--only finds nothing to profile")
	}
	w := workloads[0]
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
	result, err := measure(ours, w, o.keys, o.duration)
	if err := errors.Join(err, <-profiled); err != nil {
		return err
	}
	fmt.Printf("%s: %s, p50 %v, p99 %v, per 100k %.2f s of the store's processor time and %.2f s of the load's\n",
		w.name, perSecond(result.perSecond), result.p50, result.p99, result.storeCPU, result.loadCPU)
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
