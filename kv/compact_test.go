package kv

import (
	"fmt"
	"testing"
)

// TestHistoryGoesWithTheFlush: removal has a commit of its own only when nothing is flushed for long.
func TestHistoryGoesWithTheFlush(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	for i := range 100 {
		h.do(Put([]byte("k"), fmt.Append(nil, i)))
	}
	h.do(Compact(90))
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	before := h.machine.Stats().Commits
	h.do(Put([]byte("k"), []byte("again")))
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	if n := h.machine.Stats().Commits - before; n != 1 {
		t.Errorf("%d commits, want one for both", n)
	}
	if h.machine.header.scrub.done != 90 {
		t.Errorf("history is removed up to %d, want 90", h.machine.header.scrub.done)
	}
}
