package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func run(args ...string) (string, error) {
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.Execute()
	return out.String(), err
}

func TestHelpIsInGroupsWithExamples(t *testing.T) {
	text, err := run("--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Examples:", "--initial-cluster a=http://127.0.0.1:2380", "Listeners (nothing is opened", "--admin-token-file", "RAFTKV_DATA_DIR", "raftkv-node version"} {
		if !strings.Contains(text, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

func TestVersion(t *testing.T) {
	if text, err := run("version"); err != nil || !strings.HasPrefix(text, "raftkv-node "+version+" go") {
		t.Errorf("%q, %v", text, err)
	}
	// As Kubernetes' hack/lib/etcd.sh asks: the third word of the line with "Version".
	text, err := run("--version")
	if _, line, found := strings.Cut(text, "etcd Version: "); err != nil || !found || !strings.HasPrefix(line, "3.6.") || strings.Count(text, "Version") != 1 {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTheEnvironmentsMemoryLimitComesFirst(t *testing.T) {
	const limit = 8 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit)) // as the runtime does at its start
	t.Setenv("GOMEMLIMIT", "8GiB")
	if got, err := limitMemory(t.Context()); err != nil || got != limit || debug.SetMemoryLimit(-1) != limit {
		t.Errorf("%d, %v; in force is %d", got, err, debug.SetMemoryLimit(-1))
	}
}

func TestWithoutOneTheContainersIsInForce(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	t.Setenv("GOMEMLIMIT", "")
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil {
		t.Fatal(err)
	}
	got, err := limitMemory(t.Context())
	inForce := debug.SetMemoryLimit(-1)
	if err != nil || (got == 0) != (inForce == math.MaxInt64) || (got != 0 && got != inForce) {
		t.Errorf("%d, %v; in force is %d", got, err, inForce)
	}
}

func TestBadUseIsRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"--no-such-flag"}, {"stray"}, {"--name=a", "--heartbeat-interval=x"}} {
		if _, err := run(args...); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestRestoreExplainsItselfAndRefusesWhatIsNotThere(t *testing.T) {
	text, err := run("restore", "--help")
	if err != nil || !strings.Contains(text, "--bump-revision number") || !strings.Contains(text, "--data-dir") || !strings.Contains(text, "etcdctl snapshot save") {
		t.Errorf("%v: %s", err, text)
	}
	dir := filepath.Join(t.TempDir(), "data")
	flags := []string{"--name=a", "--data-dir=" + dir, "--listen-peer-urls=http://127.0.0.1:2380"}
	if _, err := run("restore"); err == nil {
		t.Error("without a file")
	}
	if _, err := run(append([]string{"restore", filepath.Join(t.TempDir(), "none")}, flags...)...); err == nil {
		t.Error("a file that is not there")
	}
	file := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(file, []byte("no snapshot, but long enough to be one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(append([]string{"restore", file}, flags...)...); err == nil || !strings.Contains(err.Error(), "does not begin with") {
		t.Errorf("no snapshot: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory is left")
	}
}
