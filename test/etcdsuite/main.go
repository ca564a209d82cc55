package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// timeout bounds one suite.
const timeout = "40m"

func main() {
	var only, chosen string
	var verbose, list bool
	flag.StringVar(&only, "run", "", "run the tests that this `pattern` matches, as of go test")
	flag.StringVar(&chosen, "suite", "", "run this `suite` only: common or e2e")
	flag.BoolVar(&verbose, "v", false, "print what the tests print")
	flag.BoolVar(&list, "left-out", false, "print what is left out, and why")
	flag.Parse()
	if list {
		for _, s := range suites {
			for _, x := range s.leftOut {
				fmt.Printf("%s\t%s\t%s\n", s.name, x.pattern, x.reason)
			}
		}
		return
	}
	if err := run(only, chosen, verbose); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(only, chosen string, verbose bool) error {
	dir, err := os.MkdirTemp("", "etcdsuite")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(dir); err != nil {
		return err
	}
	failed := 0
	for _, s := range suites {
		if chosen != "" && s.name != chosen {
			continue
		}
		r, err := s.run(dir, only, verbose)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", s.name, r)
		failed += r.tests.failed + r.subtests.failed
	}
	if failed > 0 {
		return fmt.Errorf("%d tests failed", failed)
	}
	return nil
}

// build makes the programs that the tests start: the node and what stands before it, and etcd's tools.
func build(dir string) error {
	for _, x := range []struct{ module, out, what string }{
		{"../..", "raftkv-node", "./cmd/node"}, {".", "etcd", "./node"},
		{".", "etcdctl", "go.etcd.io/etcd/etcdctl/v3"}, {".", "etcdutl", "go.etcd.io/etcd/etcdutl/v3"},
	} {
		c := exec.Command("go", "build", "-C", x.module, "-o", filepath.Join(dir, x.out), x.what)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", x.what, err, out)
		}
	}
	return nil
}

// run runs the suite's tests, and prints what those that fail have printed.
func (s suite) run(dir, only string, verbose bool) (report, error) {
	var without []string
	for _, x := range s.leftOut {
		without = append(without, x.pattern)
	}
	c := exec.Command("go", "test", "-json", "-count=1", "-tags=e2e", "-timeout="+timeout, "-run="+only, "-skip="+strings.Join(without, "|"), s.path,
		"-args", "-bin-dir="+dir)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return report{}, err
	}
	if err := c.Start(); err != nil {
		return report{}, err
	}
	r, err := read(out, os.Stdout, verbose)
	// A test that has failed is in the report; anything else that failed, such as the compiler, is not.
	if waitErr := c.Wait(); err == nil && waitErr != nil && r.tests.failed == 0 {
		err = fmt.Errorf("go test %s: %w", s.path, waitErr)
	}
	return r, err
}

// count is how tests ended.
type count struct{ passed, failed, skipped int }

func (c count) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

type report struct{ tests, subtests count }

func (r report) String() string { return fmt.Sprintf("tests: %s; subtests: %s", r.tests, r.subtests) }

// event is a line of `go test -json`.
type event struct{ Action, Test, Output string }

// read counts how the tests ended.
func read(from io.Reader, to io.Writer, verbose bool) (report, error) {
	var r report
	printed := map[string][]string{}
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		var e event
		if err := json.Unmarshal(text, &e); err != nil {
			fmt.Fprintf(to, "%s", text) // of the compiler
			continue
		}
		if e.Action == "output" && verbose {
			fmt.Fprint(to, e.Output)
		}
		if e.Test == "" {
			continue
		}
		if e.Action == "output" {
			printed[e.Test] = append(printed[e.Test], e.Output)
			continue
		}
		c := &r.tests
		if strings.Contains(e.Test, "/") {
			c = &r.subtests
		}
		switch e.Action {
		case "pass":
			c.passed++
		case "skip":
			c.skipped++
		case "fail":
			c.failed++
			if !verbose {
				fmt.Fprintf(to, "FAIL %s\n%s", e.Test, strings.Join(printed[e.Test], ""))
			}
		default:
			continue
		}
		delete(printed, e.Test)
	}
}
