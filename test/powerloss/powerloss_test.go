//go:build linux

package powerloss

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/test/powerloss/disk"
)

// TestOne cuts the power of a node that is a cluster of its own.
func TestOne(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 1))
	r, c := runOne(t, build(t), random, *writesFlag)
	if err := r.happened(false); err != nil {
		t.Errorf("this run is no proof: %v", err)
	}
	r.prove(t, c, random)
}

// runOne runs a node under load, kills it in between, and ends it.
func runOne(t *testing.T, program string, random *rand.Rand, writes int) (*run, *cluster) {
	t.Helper()
	d, dir := mountDisk(t)
	c := newCluster(t, program, dir, 1)
	r := &run{disk: d, history: &history{disk: d}, names: []string{"a"}}
	c.start(c.machines...)
	c.awaitReady()
	r.formed = d.Operations()
	r.history.load(t, c, random, writes, nil)
	// A process that is killed and comes back goes on with the same disk.
	c.kill(c.machines...)
	c.start(c.machines...)
	c.awaitReady()
	r.crown(c)
	r.history.load(t, c, random, writes, nil)
	c.kill(c.machines...)
	return r, c
}

// prove cuts the power in thought, and then lets the program itself come back from some of the images.
func (r *run) prove(t *testing.T, c *cluster, random *rand.Rand) {
	t.Helper()
	points := r.cutPoints(*cutsFlag/len(r.names)/slowness, random)
	tried, err := r.cutEverywhere(points, random)
	t.Logf("the disk saw %d operations; the power was cut at %d of them, %d images were opened", r.disk.Operations(), tried.cuts, tried.images)
	if err != nil {
		t.Fatal(err)
	}
	replay := r.disk.Replay()
	at := r.formed
	for n := range *restartsFlag {
		at += random.IntN(max(1, (r.last()-at)/(*restartsFlag-n)))
		replay.Advance(at)
		dir, err := r.write(replay.Image(disk.Shuffled, random))
		if err != nil {
			t.Fatal(err)
		}
		back := c.on(dir)
		back.start(back.machines...)
		back.awaitReady()
		found, err := back.list(back.machines[random.IntN(len(back.machines))])
		if err == nil {
			err = r.history.check(found, at)
		}
		if err != nil {
			t.Fatalf("started on what a power cut at operation %d left: %v", at, err)
		}
		back.kill(back.machines...)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestThree cuts the power of three nodes at once, after a member was away for so long that it needed a snapshot, and then
// that of the leader alone, in the middle of the load.
func TestThree(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 3))
	program := build(t)
	d, dir := mountDisk(t)
	c := newCluster(t, program, dir, 3)
	r := &run{disk: d, history: &history{disk: d}, names: []string{"a", "b", "c"}}
	c.start(c.machines...)
	c.awaitReady()
	r.formed = d.Operations()
	r.history.load(t, c, random, *writesFlag/2, nil)
	away := c.machines[0]
	if away == r.crown(c) {
		away = c.machines[1]
	}
	c.kill(away)
	r.history.load(t, c, random, *writesFlag, nil)
	c.start(away)
	c.awaitReady()
	r.history.load(t, c, random, *writesFlag/2, nil)
	leader := r.crown(c)
	// The leader's power fails while clients write. It comes back with nothing that it had not synced, on another disk.
	r.history.load(t, c, random, *writesFlag/2, func() { r.failPower(t, c, leader, random) })
	c.awaitReady()
	eventually(t, "the member that lost its power has everything", func() error {
		found, err := c.list(leader)
		return errors.Join(err, r.history.check(found, d.Operations()))
	})
	c.kill(c.machines...)
	if err := r.happened(true); err != nil {
		t.Errorf("this run is no proof: %v", err)
	}
	r.prove(t, c, random)
}

// failPower ends a member as a power cut does, and starts it on what its disk holds then.
// From then on one power cut for all means nothing any more.
func (r *run) failPower(t *testing.T, c *cluster, m *machine, random *rand.Rand) {
	t.Helper()
	r.end = r.disk.Operations()
	c.kill(m)
	replay := r.disk.Replay()
	replay.Advance(replay.Operations())
	dir, err := r.write(replay.Image(disk.Lost, random))
	if err != nil {
		t.Fatal(err)
	}
	m.dataDir = filepath.Join(dir, m.name)
	c.start(m)
}
