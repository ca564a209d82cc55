//go:build linux

package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("chaos.seed", 0, "seed of the schedule of faults; 0 draws one")
	durationFlag = flag.Duration("chaos.duration", 0, "how long each cluster suffers; 0 means one round of all faults")
)

// seed is drawn once, so that one number repeats all tests of a run.
var seed = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
})

func tellSeed(t *testing.T) uint64 {
	t.Helper()
	t.Logf("repeat this schedule with -chaos.seed=%d", seed())
	return seed()
}

// scratch is the folder of the compiled program.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if scratch, err = os.MkdirTemp("", "raftkv-chaos-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var compiled = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "raftkv-node")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/raftkv/raftkv/cmd/node")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the node: %w\n%s", err, out)
	}
	return path, nil
})

// program compiles the node once.
func program(t *testing.T) string {
	t.Helper()
	path, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
