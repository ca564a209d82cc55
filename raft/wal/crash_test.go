package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

// TestCrashesKeepWhatWasSynced loses power again and again, at any operation of the disk, during appends,
// compaction, close and recovery itself, and each time compares what is found with a plain model.
func TestCrashesKeepWhatWasSynced(t *testing.T) {
	const seeds = 1500
	var total coverage
	for seed := range uint64(seeds) {
		if err := crashCampaign(seed, &total); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if total.repaired == 0 || total.lost == 0 || total.survived == 0 || total.recycled == 0 || total.installs == 0 ||
		total.compactions == 0 || total.openCrashes == 0 || total.rolls == 0 || total.cleanOpens == 0 {
		t.Fatalf("the campaign missed something: %+v", total)
	}
	t.Logf("%+v", total)
}

// coverage counts what a campaign went through.
type coverage struct {
	repaired, lost, survived, recycled, installs, compactions, openCrashes, rolls, cleanOpens int
}

func crashCampaign(seed uint64, total *coverage) error {
	const lives = 8
	disk, w := newDisk(seed), newWriter(seed)
	// durable is what must be there, or tried if the last append or what it began with made it to the disk.
	durable := w.now.clone()
	tried := []model{}
	for range lives {
		disk.CutPowerAfter(w.random.IntN(60))
		l, got, err := Open(disk, testDir, testOptions())
		for ; errors.Is(err, vfs.ErrPowerLost); l, got, err = Open(disk, testDir, testOptions()) {
			total.openCrashes++
			disk.Crash()
			if w.random.IntN(2) == 0 {
				disk.CutPowerAfter(w.random.IntN(12))
			}
		}
		if err != nil {
			return err
		}
		if got.Repaired != "" {
			total.repaired++
		}
		if durable, err = found(durable, tried, got, w.gone, total); err != nil {
			return err
		}
		w.now = durable.clone()
		if err := tidyDirectory(disk, l); err != nil {
			return err
		}
		if err := readsBack(l, w, got.Entries); err != nil && !errors.Is(err, vfs.ErrPowerLost) {
			return err
		}
		tried, err = live(l, w, &durable, total)
		if err != nil && !errors.Is(err, vfs.ErrPowerLost) {
			return err
		}
		if err == nil {
			total.cleanOpens++
		}
		disk.Crash()
	}
	return nil
}

// found tells which of the allowed states was recovered.
func found(durable model, tried []model, got Recovered, gone map[raft.Index]raft.Entry, total *coverage) (model, error) {
	err := durable.differs(got, gone)
	if err == nil {
		total.lost++
		return durable, nil
	}
	for _, m := range tried {
		if m.differs(got, gone) == nil {
			total.survived++
			return m, nil
		}
	}
	return model{}, fmt.Errorf("%w (nor any of %d later states)", err, len(tried))
}

// live uses a log until it fails or is closed. It returns the states that the last, failed append may have left.
func live(l *Log, w *writer, durable *model, total *coverage) ([]model, error) {
	steps := w.random.IntN(60)
	for range steps {
		segments := len(l.segments)
		if w.random.IntN(10) == 0 {
			p := w.position()
			w.now.compact(p, w.gone)
			durable.compact(p, w.gone)
			if err := l.Compact(p); err != nil {
				return nil, err
			}
			if len(l.segments) < segments {
				total.compactions++
			}
			total.recycled += len(l.stock.spares)
			continue
		}
		batch := make([]*raft.StoreRequest, w.random.IntN(4))
		for i := range batch {
			batch[i] = w.request()
			if batch[i].Snapshot != nil {
				total.installs++
			}
		}
		if err := l.Append(batch); err != nil {
			if again := l.Append(nil); again != err {
				return nil, fmt.Errorf("a failed log answered %w after %s", again, err.Error())
			}
			return []model{w.now.clone()}, err
		}
		if len(l.segments) > segments {
			total.rolls++
		}
		*durable = w.now.clone()
		if w.random.IntN(20) == 0 {
			if err := readsBack(l, w, w.now.entries); err != nil {
				return nil, err
			}
		}
	}
	return nil, l.Close()
}

// tidyDirectory checks that Open has left nothing but the segments that are needed.
func tidyDirectory(disk *vfs.Mem, l *Log) error {
	files, err := list(disk, testDir)
	if errors.Is(err, vfs.ErrPowerLost) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(files.spares) != 0 || files.segments[0] != l.first || len(files.segments) != len(l.segments) {
		return fmt.Errorf("files %+v after Open; segments %+v are needed", files, l.segments)
	}
	return nil
}

// readsBack reads a random range of the entries from the disk.
func readsBack(l *Log, w *writer, entries []raft.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	a, b := w.random.IntN(len(entries)), w.random.IntN(len(entries))
	a, b = min(a, b), max(a, b)
	const maxBytes = 3000
	got, err := l.ReadEntries(entries[a].Index, entries[b].Index, maxBytes)
	if err != nil {
		return err
	}
	size := 0
	for i, e := range got {
		if !sameEntry(e, entries[a+i]) {
			return fmt.Errorf("read back %v, want %v", e, entries[a+i])
		}
		size += e.EncodedSize()
	}
	if len(got) == 0 || len(got) > b-a+1 || len(got) > 1 && size > maxBytes ||
		len(got) < b-a+1 && size+entries[a+len(got)].EncodedSize() <= maxBytes {
		return fmt.Errorf("read back %d entries of %d bytes, asked for %d", len(got), size, b-a+1)
	}
	return nil
}
