package store

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestTheFileStopsGrowing overwrites random keys for long, and drops what was written a while ago, as a store with a bounded history does. Once each
// page has moved a few times the file is as large as it will be. A commit writes the list of free pages to pages that follow each other: where single
// pages are taken from anywhere there soon are none, so that each commit takes new ones behind the end, which makes the next list longer.
func TestTheFileStopsGrowing(t *testing.T) {
	const keys, batch, kept, warmUp, commits = 20_000, 800, 2_000, 40, 50
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{AppendBuckets: []Bucket{2}}))
	s := must[Store](t)(d.Open())
	defer func() { ok(t, s.Close()) }()
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 256)
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

	var b Batch
	for k := range uint64(keys) {
		b.Put(1, number(k), value)
	}
	ok(t, s.Commit(&b))
	var written uint64
	var warm int64
	for c := range warmUp + commits {
		b.Reset()
		for range batch {
			b.Put(1, number(random.Uint64N(keys)), value)
			b.Put(2, number(written), value)
			if written >= kept {
				b.Delete(2, number(written-kept))
			}
			written++
		}
		ok(t, s.Commit(&b))
		if c == warmUp-1 {
			warm = s.Stats().FileBytes
		}
	}
	if got := s.Stats().FileBytes; got > warm+warm/100 {
		t.Errorf("the file went on growing, from %d bytes after %d commits to %d after %d", warm, warmUp, got, warmUp+commits)
	}
}
