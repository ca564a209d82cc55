package sockets

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft/sim"
	"github.com/raftkv/raftkv/raft/sim/scenario"
)

var (
	seedFlag  = flag.Uint64("sockets.seed", 1, "the chance with which each story is played; the order of events is the machine's")
	storyPath = filepath.Join("..", "..", "raft", "sim", "scenario", "testdata")
)

// atOnce is how many stories are played at the same time, unless -parallel says it: most of their time is waiting.
const atOnce = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestStories plays the stories of the simulation.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(storyPath, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
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
}
