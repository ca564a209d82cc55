//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/test/powerloss/disk"
)

// nearNames is how far from a change of names the power is cut for sure: there most can go wrong.
const nearNames = 3

// reign is a term in which a member led: it had voted for itself, durably, before it asked others (§5.2).
type reign struct {
	leader string
	term   raft.Term
	// seen is the disk's operation count when it was seen.
	seen int
}

// run is what happened to a cluster on a disk.
type run struct {
	disk    *disk.Disk
	history *history
	names   []string
	// formed is the operation by which all members had become members.
	formed int
	// end is the last operation at which the power may be cut; zero means that of the disk.
	end    int
	reigns []reign
}

// crown remembers who leads.
func (r *run) crown(c *cluster) *machine {
	m, term := c.leader()
	r.reigns = append(r.reigns, reign{m.name, term, r.disk.Operations()})
	return m
}

// cutPoints draws at how many operations the power is cut: at all of them, or at those around changes of names and others.
func (r *run) cutPoints(most int, random *rand.Rand) []int {
	all := r.last()
	if most == 0 || most > all {
		most = all
	}
	chosen := map[int]bool{all: true}
	var near []int
	for _, m := range r.disk.Moves() {
		for n := m.Operation - 1; n <= m.Operation+nearNames; n++ {
			near = append(near, n)
		}
	}
	random.Shuffle(len(near), func(i, j int) { near[i], near[j] = near[j], near[i] })
	for _, n := range near[:min(len(near), most/2)] {
		chosen[min(max(n, 0), all)] = true
	}
	for _, n := range random.Perm(all) {
		if len(chosen) >= most {
			break
		}
		chosen[n] = true
	}
	points := make([]int, 0, len(chosen))
	for n := range chosen {
		points = append(points, n)
	}
	slices.Sort(points)
	return points
}

func (r *run) last() int {
	if r.end != 0 {
		return r.end
	}
	return r.disk.Operations()
}

// accident is a power cut and what it left.
type accident struct {
	cut  int
	fate disk.Fate
	dir  string
}

// tally counts what was tried.
type tally struct{ cuts, images int }

// cutEverywhere makes the images of all fates at the given points and opens them. It returns the first thing that is wrong.
func (r *run) cutEverywhere(points []int, random *rand.Rand) (tally, error) {
	var t tally
	var failure atomic.Pointer[error]
	accidents := make(chan accident)
	var openers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		openers.Go(func() {
			for a := range accidents {
				err := r.open(a)
				if err != nil {
					err = fmt.Errorf("power cut at operation %d, what was not synced: %s: %w", a.cut, a.fate, err)
					failure.CompareAndSwap(nil, &err)
				}
				if err := os.RemoveAll(a.dir); err != nil {
					failure.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	replay := r.disk.Replay()
	identical := maphash.MakeSeed()
	for _, cut := range points {
		if failure.Load() != nil {
			break
		}
		replay.Advance(cut)
		t.cuts++
		seen := map[uint64]bool{}
		for fate := range disk.Fates {
			if fate != disk.Lost && !replay.Pending() {
				continue
			}
			image := replay.Image(fate, random)
			if sum := image.Sum(identical); seen[sum] {
				continue
			} else {
				seen[sum] = true
			}
			dir, err := r.write(image)
			if err != nil {
				failure.CompareAndSwap(nil, &err)
				break
			}
			t.images++
			accidents <- accident{cut, fate, dir}
		}
	}
	close(accidents)
	openers.Wait()
	if err := failure.Load(); err != nil {
		return t, *err
	}
	return t, nil
}

// open verifies an image. A node that panics on what it finds does not come back.
func (r *run) open(a accident) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return r.verify(a.dir, a.cut)
}

// write puts an image into a directory of its own.
func (r *run) write(image disk.Image) (string, error) {
	dir, err := os.MkdirTemp(images, "image-")
	if err != nil {
		return "", err
	}
	return dir, image.Write(dir)
}

// happened tells what a run should have gone through and has not.
func (r *run) happened(snapshot bool) error {
	rolls, retired, members, flushes, installs := 0, 0, 0, 0, 0
	for _, m := range r.disk.Moves() {
		from, to := filepath.Ext(m.From), filepath.Ext(m.To)
		switch {
		case from == ".spare" && to == ".wal":
			rolls++
		case from == ".wal":
			retired++
		case m.From == "member.new" && m.To == "member":
			members++
		case m.To == "kv.db" && from == ".staged":
			installs++
		}
	}
	flushes = r.disk.Writes("kv.db")
	const least = 3
	var missing []error
	for what, n := range map[string]int{"segments begun": rolls - len(r.names), "segments retired": retired} {
		if n < least {
			missing = append(missing, fmt.Errorf("only %d %s", n, what))
		}
	}
	if members != len(r.names) {
		missing = append(missing, fmt.Errorf("%d directories became members', of %d", members, len(r.names)))
	}
	if flushes < least*10 {
		missing = append(missing, fmt.Errorf("only %d writes to the stores", flushes))
	}
	if snapshot && installs == 0 {
		missing = append(missing, errors.New("no snapshot was installed"))
	}
	return errors.Join(missing...)
}
