package sim

import (
	"errors"
	"math"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
)

// walDisk is the real write-ahead log on a file system in memory.
type walDisk struct {
	fs  *vfs.Mem
	log *wal.Log
}

const (
	walDirectory = "wal"
	// mostOperations bounds after how many operations on files an append is interrupted; an append that begins a segment
	// does about eight.
	mostOperations = 10
)

var errKilled = errors.New("the process is gone")

var errSync = errors.New("the sync fails")

func walOptions(m *member) wal.Options {
	return wal.Options{
		Identity:     wal.Identity{Cluster: clusterID, Member: m.id, Incarnation: m.incarnation},
		SegmentBytes: wal.MinSegmentBytes, Inline: true, MustExist: true,
	}
}

// prepare makes the log of a new member.
func (d *walDisk) prepare(m *member, batch []*raft.StoreRequest) {
	options := walOptions(m)
	options.MustExist = false
	log, _, err := wal.Open(d.fs, walDirectory, options)
	if err == nil {
		err = errors.Join(log.Append(batch), log.Close())
	}
	if err != nil {
		fail("a healthy disk stores", "member %s: %v", m.id, err)
	}
}

func (d *walDisk) open(m *member) (image, error) {
	log, found, err := wal.Open(d.fs, walDirectory, walOptions(m))
	if err != nil {
		return image{}, err
	}
	d.log = log
	return imageOf(found), nil
}

func imageOf(found wal.Recovered) image {
	return image{hard: found.HardState, start: found.Start, entries: found.Entries, snapshot: found.Snapshot}
}

// failSync writes the batch, but its sync fails, after which the operating system takes what was written for stored.
func (d *walDisk) failSync(batch []*raft.StoreRequest) error {
	d.fs.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			return errSync
		}
		return nil
	})
	defer d.fs.SetHook(nil)
	return d.log.Append(batch)
}

// fill lets nothing grow any more, or ends that.
func (d *walDisk) fill(full bool) {
	d.fs.SetCapacity(math.MaxInt64)
	if full {
		// What is reserved may still be written to.
		d.fs.SetCapacity(0)
	}
}

// kill ends the process before, during or after the append under way. Nothing that it wrote is lost.
func (d *walDisk) kill(batch []*raft.StoreRequest, chance *random) {
	if d.log == nil {
		return
	}
	left := chance.n(mostOperations)
	d.fs.SetHook(func(op vfs.Op) error {
		if !op.Kind.Changes() {
			return nil
		}
		if left--; left < 0 {
			return errKilled
		}
		return nil
	})
	if len(batch) > 0 {
		_ = d.log.Append(batch)
	}
	left = 0
	_ = d.log.Close() // gives up the lock, as the end of a process does; its mark is refused
	d.fs.SetHook(nil)
	d.log = nil
}

// losePower cuts the power at some operation of the append under way.
func (d *walDisk) losePower(batch []*raft.StoreRequest, chance *random) {
	if d.log != nil {
		if len(batch) > 0 {
			d.fs.CutPowerAfter(chance.n(mostOperations))
			_ = d.log.Append(batch)
		}
		d.log = nil
	}
	d.fs.Crash()
}
