package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Simulation is what has to catch the bugs.
type Simulation struct {
	// Package holds it, as a path of the module: "./raft/sim".
	Package string
	// Arguments have its test program run so many seeds, as long as none fails.
	Arguments func(seeds int) []string
	// Failure finds a seed that failed in what the program says, and what was broken: its two groups.
	Failure *regexp.Regexp
	// Seeds is how many seeds a bug may survive, unless the command line says otherwise.
	Seeds int
}

// Main is the command: it tries the bugs, tells who caught them, and fails if one was not caught.
func Main(s Simulation, bugs []Bug) {
	seeds := flag.Int("seeds", s.Seeds, "how many seeds a bug may survive")
	only := flag.String("only", "", "try only the bugs whose name matches this regular expression")
	flag.Parse()
	if err := s.run(bugs, *seeds, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (s Simulation) run(bugs []Bug, seeds int, only string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BUG\tSEEDS\tCAUGHT AS")
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	tried, missed, highest := 0, []string{}, 0
	for _, b := range bugs {
		if !chosen.MatchString(b.Name) {
			continue
		}
		tried++
		v, err := s.try(b, root, dir, seeds)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		if !v.caught {
			missed = append(missed, b.Name)
			v.property = "NOT CAUGHT"
		}
		highest = max(highest, v.seed)
		fmt.Fprintf(table, "%s\t%d\t%s\n", b.Name, v.seed, v.property)
		fmt.Fprintf(os.Stderr, "%s: seed %d: %s\n", b.Name, v.seed, v.property)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	// A seed that fails anyway has caught nothing.
	if v, err := s.simulate(root, dir, highest+1); err != nil {
		return fmt.Errorf("the sources as they are: %w", err)
	} else if v.caught {
		return fmt.Errorf("seed %d fails without any bug, so that those it caught, and those after it, may not be caught at all: %s", v.seed, v.property)
	}
	if len(missed) > 0 {
		return fmt.Errorf("%d of %d bugs were not caught within %d seeds: %s", len(missed), tried, seeds, strings.Join(missed, "; "))
	}
	fmt.Printf("all %d bugs were caught\n", tried)
	return nil
}

// verdict says which seed caught a bug, if one did, and as what.
type verdict struct {
	caught   bool
	seed     int
	property string
}

const (
	buildLimit = 5 * time.Minute
	runLimit   = 30 * time.Minute
)

// try runs the simulation with the bug in it until a seed fails.
func (s Simulation) try(b Bug, root, dir string, seeds int) (verdict, error) {
	text, err := b.mutate(root)
	if err != nil {
		return verdict{}, err
	}
	file := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return verdict{}, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, b.File): file}})
	if err != nil {
		return verdict{}, err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return verdict{}, err
	}
	return s.simulate(root, dir, seeds, "-overlay", overlayFile)
}

// simulate builds the simulation and runs the seeds until one fails.
func (s Simulation) simulate(root, dir string, seeds int, flags ...string) (verdict, error) {
	program := filepath.Join(dir, "mutant.test")
	building, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	build := exec.CommandContext(building, "go", append(append([]string{"test", "-vet=off", "-c", "-o", program}, flags...), s.Package)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("build: %w\n%s", err, out)
	}
	running, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	out, err := exec.CommandContext(running, program, append(s.Arguments(seeds), "-test.cpu="+strconv.Itoa(runtime.NumCPU()))...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}
	least := s.firstFailure(string(out))
	if exit != nil && !least.caught {
		return verdict{}, fmt.Errorf("the simulation ended with %w\n%s", exit, out)
	}
	return least, nil
}

// firstFailure is that of the smallest seed: several run at once.
func (s Simulation) firstFailure(out string) (least verdict) {
	for _, m := range s.Failure.FindAllStringSubmatch(out, -1) {
		if seed, err := strconv.Atoi(m[1]); err == nil && (!least.caught || seed < least.seed) {
			least = verdict{true, seed, m[2]}
		}
	}
	return least
}
