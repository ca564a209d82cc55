package main

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

func main() {
	seeds := flag.Int("seeds", 1000, "how many seeds a bug may survive")
	only := flag.String("only", "", "try only the bugs whose name matches this regular expression")
	flag.Parse()
	if err := run(*seeds, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seeds int, only string) error {
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
	_, _ = fmt.Fprintln(table, "BUG\tSEEDS\tCAUGHT AS")
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	tried, missed := 0, []string{}
	for _, b := range bugs {
		if !chosen.MatchString(b.name) {
			continue
		}
		tried++
		v, err := b.try(root, dir, seeds)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if v.seed == 0 {
			missed = append(missed, b.name)
			v.property = "NOT CAUGHT"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\n", b.name, v.seed, v.property)
		fmt.Fprintf(os.Stderr, "%s: seed %d: %s\n", b.name, v.seed, v.property)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(missed) > 0 {
		return fmt.Errorf("%d of %d bugs were not caught within %d seeds: %s", len(missed), tried, seeds, strings.Join(missed, "; "))
	}
	fmt.Printf("all %d bugs were caught\n", tried)
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// mutate returns the file with the bug in it.
func (b bug) mutate(root string) (string, error) {
	src, err := os.ReadFile(filepath.Join(root, b.file))
	if err != nil {
		return "", err
	}
	text := string(src)
	for _, e := range b.edits {
		if n := strings.Count(text, e.find); n != 1 {
			return "", fmt.Errorf("%q occurs %d times in %s, not once: bring the bug up to date", e.find, n, b.file)
		}
		text = strings.Replace(text, e.find, e.replace, 1)
	}
	return text, nil
}

// verdict says which seed caught a bug, zero if none, and as what.
type verdict struct {
	seed     int
	property string
}

var failure = regexp.MustCompile(`(?m)seed (\d+): (.*?) broken at`)

const (
	buildLimit = 5 * time.Minute
	runLimit   = 30 * time.Minute
)

// try builds the simulation with the bug in it and runs it until a seed fails.
func (b bug) try(root, dir string, seeds int) (verdict, error) {
	text, err := b.mutate(root)
	if err != nil {
		return verdict{}, err
	}
	file := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return verdict{}, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, b.file): file}})
	if err != nil {
		return verdict{}, err
	}
	overlayFile, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return verdict{}, err
	}
	building, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	build := exec.CommandContext(building, "go", "test", "-vet=off", "-overlay", overlayFile, "-c", "-o", program, "./raft/sim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("build: %w\n%s", err, out)
	}
	running, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	out, err := exec.CommandContext(running, program, "-test.run=TestCampaign$", "-sim.seeds="+strconv.Itoa(seeds),
		"-sim.shrink=false", "-test.cpu="+strconv.Itoa(runtime.NumCPU())).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}
	least := verdict{}
	for _, m := range failure.FindAllSubmatch(out, -1) {
		seed, err := strconv.Atoi(string(m[1]))
		if err == nil && (least.seed == 0 || seed < least.seed) {
			least = verdict{seed, string(m[2])}
		}
	}
	if exit != nil && least.seed == 0 {
		return verdict{}, fmt.Errorf("the simulation ended with %w\n%s", exit, out)
	}
	return least, nil
}
