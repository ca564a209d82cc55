//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// strainPause is between two looks at the disk, wakePause how long who waits for a processor sleeps.
	strainPause = 100 * time.Millisecond
	wakePause   = 5 * time.Millisecond
	// strainFloor is what is worth remembering, maxStrains how many of them.
	strainFloor = 10 * time.Millisecond
	maxStrains  = 100_000
	// strainBlock is what is written to the disk at a time, strainFile the size of the file that it is written to.
	strainBlock = 4 << 10
	strainFile  = 64 << 20
)

// strain watches the machine that all nodes share, so that a pause of writes which is the machine's own can be told: for how long one who wants to run waits for a
// processor, and how long it takes to sync a block of a file that is only reserved, as the members' logs do.
type strain struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	seen map[string][]delay
}

type delay struct {
	began time.Time
	took  time.Duration
}

const (
	strainProcessor = "a processor"
	strainDisk      = "a sync of a file"
)

func watchMachine(t *testing.T) *strain {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &strain{stop: cancel, seen: map[string][]delay{}}
	f, err := os.Create(filepath.Join(t.TempDir(), "strain"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, strainFile), f.Sync()); err != nil {
		t.Fatal(err)
	}
	s.done.Go(func() { s.watch(ctx, strainProcessor, wakePause, nil) })
	s.done.Go(func() { s.watch(ctx, strainDisk, strainPause, syncing(f)) })
	t.Cleanup(func() {
		s.stop()
		s.done.Wait()
	})
	return s
}

// syncing writes one block of the file after the other.
func syncing(f *os.File) func() error {
	block, at := make([]byte, strainBlock), int64(0)
	for i := range block {
		block[i] = 1
	}
	return func() error {
		if _, err := f.WriteAt(block, at); err != nil {
			return err
		}
		at = (at + strainBlock) % strainFile
		return unix.Fdatasync(int(f.Fd()))
	}
}

// watch does something again and again, or only sleeps, and remembers what took long.
func (s *strain) watch(ctx context.Context, what string, pause time.Duration, do func() error) {
	for ctx.Err() == nil {
		began := time.Now().Add(pause)
		time.Sleep(pause)
		took := time.Since(began)
		if do != nil {
			began = time.Now()
			if do() != nil {
				return
			}
			took = time.Since(began)
		}
		if took < strainFloor {
			continue
		}
		s.mu.Lock()
		if len(s.seen[what]) < maxStrains {
			s.seen[what] = append(s.seen[what], delay{began, took})
		}
		s.mu.Unlock()
	}
}

// during says what took longest of that which was under way in that time.
func (s *strain) during(from time.Time, lasted time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := func(what string) int64 {
		var most time.Duration
		for _, d := range s.seen[what] {
			if d.began.Before(from.Add(lasted)) && d.began.Add(d.took).After(from) {
				most = max(most, d.took)
			}
		}
		return most.Milliseconds()
	}
	return fmt.Sprintf("%s took %d ms to get, %s %d ms", strainProcessor, longest(strainProcessor), strainDisk, longest(strainDisk))
}
