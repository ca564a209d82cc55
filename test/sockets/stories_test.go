package sockets

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/raftkv/raftkv/raft/sim"
	"github.com/raftkv/raftkv/raft/sim/scenario"
)

var (
	seedFlag  = flag.Uint64("sockets.seed", 1, "the chance with which each story is played; the order of events is the machine's")
	storyPath = filepath.Join("..", "..", "raft", "sim", "scenario", "testdata")
)

// atOnce is how many stories are played at the same time, unless -parallel says it: most of their time is waiting.
const atOnce = 12

// parallel is -parallel if it was given.
func parallel() int {
	n := atOnce
	flag.Visit(func(f *flag.Flag) {
		if given, err := strconv.Atoi(f.Value.String()); f.Name == "test.parallel" && err == nil {
			n = given
		}
	})
	return n
}

// TestStories plays the stories of the simulation.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(storyPath, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	longestFirst(t, files)
	inOrder(t, files, parallel(), func(t *testing.T, file string) {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		story, err := scenario.Parse(file, f)
		if err != nil {
			t.Fatal(err)
		}
		stage := func(s sim.Setup) (scenario.Cluster, error) { return open(t, s) }
		if err := story.PlayOn(*seedFlag, stage, nil); err != nil {
			t.Fatal(err)
		}
	})
}
