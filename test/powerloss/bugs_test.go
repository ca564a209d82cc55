//go:build linux

package powerloss

import (
	"math/rand/v2"
	"testing"
)

// bugs are mistakes that only a loss of power shows.
var bugs = []struct {
	name string
	edit edit
}{
	{"the log is not synced", edit{"raft/wal/log.go",
		"if err := l.file.Sync(); err != nil {", "if err := error(nil); err != nil {"}},
	{"the directory of a new segment is not synced", edit{"raft/wal/segments.go",
		"\treturn l.fs.SyncDir(l.dir)\n", "\treturn nil\n"}},
	{"acknowledged before the sync", edit{"raft/node/store.go",
		"if err := n.cfg.Log.Append(batch); err != nil {",
		"n.requests.put(func() { n.core.Stored(batch[len(batch)-1].Done()) }, 0, 0, 0)\n\tif err := n.cfg.Log.Append(batch); err != nil {"}},
	{"the log is cut before the store is synced", edit{"kv/store/directory.go",
		"o.NoSync, o.NoGrowSync = staging, staging", "o.NoSync, o.NoGrowSync = true, staging"}},
	{"term and vote are not stored", edit{"raft/wal/log.go",
		"l.buffer = appendHardState(l.buffer, *h)", "_ = appendHardState"}},
	{"the identity is not synced", edit{"replica/sealedfile/sealedfile.go",
		"err = f.Sync()", "err = error(nil)"}},
}

// TestBugsAreCaught puts bugs into the node that runs, not into the code that opens the images.
func TestBugsAreCaught(t *testing.T) {
	for n, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed(t), uint64(n)))
			r, _ := runOne(t, build(t, b.edit), random, *writesFlag/2)
			tried, err := r.cutEverywhere(r.cutPoints(0, random), random)
			if err == nil {
				t.Fatalf("not caught by %d cuts and %d images", tried.cuts, tried.images)
			}
			t.Logf("caught by cut %d: %v", tried.cuts, err)
		})
	}
}
