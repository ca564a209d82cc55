//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mebibyte = 1 << 20
	// largeBytes is the size of the values that fill a disk; the limit is 1 MiB.
	largeBytes = 900 << 10
	// maxLarge bounds the values that are written until a disk is full.
	maxLarge = 300
	// fullKeys is the number of keys that they are written to.
	fullKeys = 8
	// roomyBytes is the size that makes enough room.
	roomyBytes = 600 * mebibyte
)

// disk is what a node stores on: a file system in memory of a limited size or, where nothing may be mounted, any directory and a
// limit on the size of each file.
type disk struct {
	t       *testing.T
	dir     string
	mounted bool
	// fileBytes takes the place of a size where nothing is mounted.
	fileBytes uint64
	full      string // what the system calls it
}

// newDisk mounts in a mount namespace of this test's thread, which is gone with the thread.
func newDisk(t *testing.T, sizeBytes int64, fileBytes uint64) *disk {
	t.Helper()
	d := &disk{t: t, dir: filepath.Join(t.TempDir(), "disk"), fileBytes: fileBytes, full: syscall.EFBIG.Error()}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // for ever: a thread with a namespace of its own is of no use to anyone else
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount("raftkv-chaos", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", sizeBytes))
	}
	switch {
	case err == nil:
		d.mounted, d.full = true, syscall.ENOSPC.Error()
		t.Cleanup(func() {
			if err := unix.Unmount(d.dir, 0); err != nil {
				t.Errorf("unmount %s: %v", d.dir, err)
			}
		})
	case errors.Is(err, syscall.EPERM):
		t.Logf("nothing may be mounted here (%v): the size of files is limited instead", err)
	default:
		t.Fatal(err)
	}
	return d
}

// narrow puts the limit on a process where the disk has none.
func (d *disk) narrow(p *process) {
	d.t.Helper()
	if d.mounted {
		return
	}
	limit := unix.Rlimit{Cur: d.fileBytes, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		d.t.Fatal(err)
	}
}

// widen makes room. Where nothing is mounted, the next process has it anyway.
func (d *disk) widen() {
	d.t.Helper()
	if !d.mounted {
		return
	}
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", roomyBytes)); err != nil {
		d.t.Fatal(err)
	}
}

// A node whose disk is full stops and says so; the others go on; with room it comes back and nothing that was acknowledged is lost.
func TestFullDisk(t *testing.T) {
	// A node reserves 64 MiB for the log, and as much again for what comes next if it can.
	for _, x := range []struct {
		name      string
		size      int // of the cluster
		sizeBytes int64
		fileBytes uint64
		// conditional writes fail and so go into the log, but not into the state.
		conditional bool
		words       []string
	}{
		{"the state of a node alone", 1, 150 * mebibyte, 66 * mebibyte, false, []string{"kv.db", "make room, then start again"}},
		{"the state of one of three", 3, 150 * mebibyte, 66 * mebibyte, false, []string{"kv.db", "make room, then start again"}},
		{"the log of a node alone", 1, 88 * mebibyte, 64*mebibyte - 1, true, []string{"make room, then start again"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := newDisk(t, x.sizeBytes, x.fileBytes)
			c := newCluster(t, x.size, t.TempDir())
			victim := c.nodes[x.size-1]
			victim.dataDir = filepath.Join(d.dir, "data")
			victim.flags = append(victim.flags, "--quota-backend-bytes=2147483648") // else the store is full before its disk is
			c.start(c.nodes...)
			c.awaitReady()
			d.narrow(victim.process)
			f := &filler{cluster: c, victim: victim, allowed: map[string][]string{}, conditional: x.conditional}
			written := f.run(t)
			if code := victim.process.wait(t); code == 0 {
				t.Error("it ended with code 0")
			}
			lines := strings.Split(strings.TrimSpace(victim.log()), "\n")
			said := lines[len(lines)-1]
			t.Logf("after %d values of %d KiB: %s", written, largeBytes>>10, said)
			words := []string{d.full, victim.dataDir}
			if d.mounted { // a limit on the size of files is not what the advice is for
				words = append(words, x.words...)
			}
			for _, w := range words {
				if !strings.Contains(said, w) {
					t.Errorf("it did not say %q", w)
				}
			}
			victim.process.expected = true
			c.network.shut(victim.index)
			if x.size > 1 {
				f.mustWrite(t)
			}
			d.widen()
			c.start(victim)
			held := c.converge(convergenceTimeout)
			f.mustBeIn(t, held)
			f.mustWrite(t)
		})
	}
}

// filler writes large values and knows what each key may hold.
type filler struct {
	cluster     *cluster
	victim      *node
	conditional bool
	count       int
	// allowed are the value that was acknowledged last and those that were tried since.
	allowed map[string][]string
}

// run writes until the victim has ended.
func (f *filler) run(t *testing.T) (written int) {
	t.Helper()
	cl := newClient(true)
	defer cl.close()
	for f.victim.process.running() {
		if written++; written > maxLarge {
			t.Fatalf("%s goes on after %d values", f.victim.name, maxLarge)
		}
		if f.write(cl, f.cluster.nodes[0]).outcome != answered {
			select { // perhaps it is about to end
			case <-f.victim.process.exited:
			case <-time.After(refusedPause):
			}
		}
		if f.conditional && f.victim.process.running() {
			header := http.Header{"If-Match": {`"1"`}} // the revision before the first write
			r := cl.do(context.Background(), f.cluster.nodes[0], http.MethodPut, "full/conditional", f.value(largeBytes), header)
			if r.outcome == answered && r.status == http.StatusOK {
				t.Fatal("a write on a condition that does not hold was made")
			}
		}
	}
	return written
}

// value is unlike all others.
func (f *filler) value(bytes int) string {
	f.count++
	word := fmt.Sprintf("%d.", f.count)
	return strings.Repeat(word, bytes/len(word))
}

func (f *filler) write(cl *client, n *node) reply {
	bytes := largeBytes
	if f.conditional {
		bytes = 1 << 10
	}
	value := f.value(bytes)
	key := fmt.Sprintf("full/%d", f.count%fullKeys)
	r := cl.do(context.Background(), n, http.MethodPut, key, value, nil)
	switch r.outcome {
	case answered:
		f.allowed[key] = []string{value}
	case unknown, wrong:
		f.allowed[key] = append(f.allowed[key], value)
	}
	return r
}

// mustWrite shows that the cluster takes writes.
func (f *filler) mustWrite(t *testing.T) {
	t.Helper()
	cl := newClient(false)
	defer cl.close()
	eventually(t, patience, "a write", func() error {
		if r := f.write(cl, f.cluster.nodes[0]); r.outcome != answered {
			return fmt.Errorf("%v: %.200s", r.outcome, r.text)
		}
		return nil
	})
}

func (f *filler) mustBeIn(t *testing.T, held map[string]item) {
	t.Helper()
	for key, allowed := range f.allowed {
		x, there := held[key]
		if !there || !slices.Contains(allowed, string(x.Value)) {
			t.Errorf("%s: what was acknowledged is not there; held: %v, %.20q...", key, there, x.Value)
		}
	}
}
