package scenario

import (
	"bufio"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	seedFlag  = flag.Uint64("scenario.seed", 0, "play the stories with this seed only")
	seedsFlag = flag.Uint64("scenario.seeds", 8, "with how many seeds each story is played")
	traceFlag = flag.Bool("scenario.trace", false, "write a readable account of all that happens")
)

// TestStories plays every story of testdata, and those of testdata/simulated, whose disks no file system offers.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err == nil {
		var simulated []string
		simulated, err = filepath.Glob("testdata/simulated/*.txt")
		files = append(files, simulated...)
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	first, last := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			story := read(t, file)
			for seed := first; seed <= last; seed++ {
				var res Result
				var err error
				if *traceFlag {
					out := bufio.NewWriter(os.Stdout)
					res, err = story.Play(seed, out)
					_ = out.Flush()
				} else {
					res, err = story.Play(seed, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d: %s virtual, %d entries committed, hash %016x", seed, res.Virtual, res.Commits, res.Hash)
			}
		})
	}
}

func read(t *testing.T, file string) *Story {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	story, err := Parse(file, f)
	if err != nil {
		t.Fatal(err)
	}
	return story
}
