package sim

import (
	"errors"

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

func (d *walDisk) open(m *member) image {
	log, found, err := wal.Open(d.fs, walDirectory, wal.Options{
		Identity:     wal.Identity{Cluster: 1, Member: m.id, Incarnation: m.incarnation},
		SegmentBytes: wal.MinSegmentBytes, Inline: true,
	})
	if err != nil {
		fail("the write-ahead log opens after any crash", "member %s: %v", m.id, err)
	}
	d.log = log
	return image{hard: found.HardState, start: found.Start, entries: found.Entries}
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
	if len(batch) > 0 && d.log.Append(batch) == nil {
		left = 0
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
