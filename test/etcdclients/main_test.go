package etcdclients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs are built once: the node, and etcd's tools at the versions of go.mod.
var programs struct{ node, etcdctl, benchmark string }

// shared is a cluster of three that tests use side by side, each below a prefix of its own. Tests that break or compact start their own.
var shared *cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "etcdclients")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if shared, err = startCluster(filepath.Join(dir, "shared"), members, progressFlag); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.stop()
	code := m.Run()
	if found := shared.races(); found != "" {
		fmt.Fprintln(os.Stderr, found)
		code = 1
	}
	if code != 0 {
		shared.logs(os.Stderr)
	}
	return code
}

func build(dir string) error {
	programs.node, programs.etcdctl, programs.benchmark = filepath.Join(dir, "raftkv-node"), filepath.Join(dir, "etcdctl"), filepath.Join(dir, "benchmark")
	for _, x := range []struct{ module, out, what string }{
		{"../..", programs.node, "./cmd/node"},
		{".", programs.etcdctl, "go.etcd.io/etcd/etcdctl/v3"},
		{".", programs.benchmark, "go.etcd.io/etcd/v3/tools/benchmark"},
	} {
		arguments, cgo := []string{"build", "-o", x.out}, "CGO_ENABLED=0"
		if raceDetector && x.out == programs.node {
			arguments, cgo = append(arguments, "-race"), "CGO_ENABLED=1"
		}
		c := exec.Command("go", append(arguments, x.what)...)
		c.Dir = x.module
		c.Env = append(os.Environ(), cgo)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", x.what, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
