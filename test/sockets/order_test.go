package sockets

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What lines of a story take, about. It decides nothing but which stories begin first.
const (
	lineTime    = 20 * time.Millisecond
	agreeTime   = 200 * time.Millisecond // elect, settle, and what a quorum must agree upon
	restartTime = 500 * time.Millisecond // the end of a program, or its start, and what the others wait for it
)

// longestFirst orders the files of stories by the time that they take, so that no long one is played alone at the end.
func longestFirst(t *testing.T, files []string) {
	t.Helper()
	lengths := map[string]time.Duration{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lengths[file] = length(string(text))
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(lengths[b], lengths[a]), strings.Compare(a, b)) })
}

// length is about how long a story takes here. A line that it does not know counts as a short one.
func length(story string) (sum time.Duration) {
	loops := []float64{1} // how often the lines of each open loop are played in all
	for line := range strings.Lines(story) {
		words := strings.Fields(line)
		often := loops[len(loops)-1]
		if len(words) > 2 && words[0] == "maybe" {
			if percent, err := strconv.ParseFloat(strings.TrimSuffix(words[1], "%"), 64); err == nil {
				often *= percent / 100
			}
			words = words[2:]
		}
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#") || words[0] == "simulated":
		case words[0] == "repeat" && len(words) == 2:
			n, err := strconv.ParseFloat(words[1], 64)
			if err != nil {
				n = 1 // the story's own reader says what is wrong with it
			}
			loops = append(loops, often*n)
		case words[0] == "end" && len(loops) > 1:
			loops = loops[:len(loops)-1]
		default:
			sum += time.Duration(often * float64(lineLength(words)))
		}
	}
	return sum
}

func lineLength(words []string) time.Duration {
	switch words[0] {
	case "run":
		low, high, span := strings.Cut(words[len(words)-1], "..")
		if !span {
			high = low
		}
		a, errA := time.ParseDuration(low)
		b, errB := time.ParseDuration(high)
		if errA == nil && errB == nil {
			return (a + b) / 2
		}
	case "elect", "settle", "put", "get", "swap", "add", "promote", "remove", "transfer":
		return agreeTime
	case "crash", "power-loss", "restart", "wipe":
		return restartTime
	}
	return lineTime
}

// inOrder runs a test for each file, in their order, so many at the same time. Parallel tests would go on in an order of their own.
func inOrder(t *testing.T, files []string, atOnce int, play func(t *testing.T, file string)) {
	next := make(chan string)
	var players sync.WaitGroup
	for range atOnce {
		players.Go(func() {
			for file := range next {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
			}
		})
	}
	for _, file := range files {
		next <- file
	}
	close(next)
	players.Wait()
}

func TestTheLengthOfAStoryIsThatOfItsLines(t *testing.T) {
	const story = `# power-loss all
cluster 3
repeat 10
  run 100ms..300ms
  maybe 50% power-loss any

  repeat 2
    elect
  end
end
run 1s
simulated run 1h
`
	if want := lineTime + 10*(200*time.Millisecond+restartTime/2+2*agreeTime) + time.Second; length(story) != want {
		t.Errorf("%v, want %v", length(story), want)
	}
}
