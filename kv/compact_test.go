package kv

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
)

// overwrite puts one key so often, flushes and compacts all of it but the last ten revisions.
func overwrite(t *testing.T, h *harness, times int) (compacted uint64) {
	t.Helper()
	for i := range times {
		h.do(Put([]byte("k"), bytes.Repeat([]byte{byte(i)}, 100)))
	}
	revision, _ := h.machine.Revision()
	h.do(Compact(revision - 10))
	flushNow(t, h)
	return revision - 10
}

func flushNow(t *testing.T, h *harness) {
	t.Helper()
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryGoesWithTheFlush: removal has a commit of its own only when nothing is flushed for long.
func TestHistoryGoesWithTheFlush(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	compacted := overwrite(t, h, 5000)
	before := h.machine.Stats().Commits
	h.do(Put([]byte("k"), []byte("again")))
	flushNow(t, h)
	if n := h.machine.Stats().Commits - before; n != 1 {
		t.Errorf("%d commits, want one for both", n)
	}
	if done := h.machine.header.scrub.done; done != compacted {
		t.Errorf("history is removed up to %d, want %d", done, compacted)
	}
	if _, err := h.machine.Verify(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestLittleHistoryWaitsForMore: what is not worth changing most pages of the store for stays while there is other work, and goes as soon as
// there is none.
func TestLittleHistoryWaitsForMore(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	for i := range 5000 {
		h.do(Put(fmt.Appendf(nil, "other-%d", i), make([]byte, 100)))
	}
	compacted := overwrite(t, h, 100)
	for range 5 {
		h.do(Put([]byte("k"), []byte("again")))
		flushNow(t, h)
	}
	if done := h.machine.header.scrub.done; done != 0 {
		t.Errorf("history is removed up to %d while there is other work", done)
	}
	flushNow(t, h)
	if done := h.machine.header.scrub.done; done != compacted {
		t.Errorf("history is removed up to %d when there is nothing else to do, want %d", done, compacted)
	}
}

// TestScrubBesideWrites: what is not worth it goes all the same when somebody asks for it, with the writes that keep coming.
func TestScrubBesideWrites(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	for i := range 5000 {
		h.do(Put(fmt.Appendf(nil, "other-%d", i), make([]byte, 100)))
	}
	compacted := overwrite(t, h, 100)
	before := h.machine.Stats().Commits
	for done := false; !done; {
		h.do(Put([]byte("k"), []byte("again")))
		var err error
		if done, _, err = h.machine.scrubStep(compacted); err != nil {
			t.Fatal(err)
		}
		if n := h.machine.Stats().Commits - before; n > 2 {
			t.Fatalf("%d commits, and what 5,200 writes have given up is still there", n)
		}
	}
}

// TestRemovalAfterARestart: places are forgotten with the process and found again; what went already is not missed.
func TestRemovalAfterARestart(t *testing.T) {
	o, disk := memory()
	o.compactMost = 7
	h := newHarness(t, o)
	for i := range 200 {
		key := fmt.Appendf(nil, "k%d", i%9)
		if i%13 == 0 {
			h.do(Delete(key))
		} else {
			h.do(Put(key, fmt.Append(nil, i)))
		}
	}
	revision, _ := h.machine.Revision()
	h.do(Compact(revision))
	flushNow(t, h)
	want, err := h.machine.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for steps := 0; h.machine.header.scrub.done != revision; steps++ {
		if steps > 1000 {
			t.Fatalf("history is removed up to %d after %d steps, want %d", h.machine.header.scrub.done, steps, revision)
		}
		flushNow(t, h)
		// Later and later, so that every process gets further than the one before it.
		if steps%10 == 9 && len(h.machine.removal.going) > 0 {
			disk.Crash()
			h.machine = open(t, o)
			for range steps {
				flushNow(t, h)
			}
		}
		if got, err := h.machine.Hash(t.Context()); err != nil || got.Hash != want.Hash {
			t.Fatalf("step %d: the hash is %v, %v, want %v", steps, got, err, want)
		}
	}
	v, err := h.machine.Verify(t.Context(), func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.machine.Range(t.Context(), RangeRequest{Keys: All()})
	if err != nil {
		t.Fatal(err)
	}
	// A tombstone of the compacted revision itself may still be watched.
	if v.Records < len(all.Items) || v.Records > len(all.Items)+1 {
		t.Errorf("%d records are left of %d keys", v.Records, len(all.Items))
	}
}

// TestTombstonesOfAnEarlierTarget: a compaction keeps the tombstones of its own revision; the next one removes them, also if the first was
// interrupted in the middle of them.
func TestTombstonesOfAnEarlierTarget(t *testing.T) {
	for _, restart := range []bool{false, true} {
		const keys = 40
		o, disk := memory()
		o.compactMost = 1
		h := newHarness(t, o)
		var txn Txn
		for i := range keys {
			key := fmt.Appendf(nil, "k%02d", i)
			h.do(Put(key, []byte("v")))
			txn.Success = append(txn.Success, DeleteOp(One(key)))
		}
		h.do(Transaction(txn))
		deleted, _ := h.machine.Revision()
		h.do(Compact(deleted))
		for h.machine.removal.next.mod < deleted || h.machine.removal.next.sub < keys/2 {
			flushNow(t, h)
			if h.machine.header.scrub.done == deleted {
				t.Fatal("the removal was not interrupted")
			}
		}
		if restart {
			h.machine.removal.begin()
			for len(h.machine.removal.going) > 0 {
				flushNow(t, h)
			}
		}
		h.do(Put([]byte("k"), []byte("v")))
		h.do(Put([]byte("k"), []byte("v")))
		revision, _ := h.machine.Revision()
		h.do(Compact(revision))
		flushNow(t, h)
		if restart {
			disk.Crash()
			h.machine = open(t, o)
		}
		for steps := 0; h.machine.header.scrub.done < revision; steps++ {
			if steps > 100*keys {
				t.Fatal("the removal does not come to an end")
			}
			flushNow(t, h)
		}
		v, err := h.machine.Verify(t.Context(), func(context.Context) error { return nil })
		if err != nil || v.Records != 1 {
			t.Errorf("restart %v: %d records are left of one key, %v", restart, v.Records, err)
		}
	}
}

func TestRemovalIsDue(t *testing.T) {
	some := []place{{mod: 1}}
	for _, x := range []struct {
		name        string
		r           removal
		u           urgency
		used, quota int64
		complete    bool
		want        bool
	}{
		{name: "nothing was found: the progress is written down", want: true},
		{name: "a small part of the store", r: removal{found: some, bytes: 24}, used: 100, complete: true},
		{name: "a good part of the store", r: removal{found: some, bytes: 25}, used: 100, want: true},
		{name: "something is going", r: removal{found: some, bytes: 25, going: some}, used: 100},
		{name: "no more can be noted", r: removal{found: make([]place, removalMost)}, used: 1 << 40, want: true},
		{name: "at once, but more is to be found", r: removal{found: some}, u: atOnce, used: 100},
		{name: "at once, and all is found", r: removal{found: some}, u: atOnce, used: 100, complete: true, want: true},
		{name: "the store is nearly full", r: removal{found: some, bytes: 1}, used: 800, quota: 1000, complete: true, want: true},
		{name: "the store has room", r: removal{found: some, bytes: 1}, used: 700, quota: 1000, complete: true},
	} {
		if got := x.r.due(x.u, x.used, x.quota, x.complete); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// TestRemovalGoesByPlace: what was found in any order goes in the order of the places, each once.
func TestRemovalGoesByPlace(t *testing.T) {
	r := removal{found: []place{{5, 1}, {2, 0}, {5, 0}, {2, 0}, {9, 0}}, next: scrub{done: 3, mod: 10}}
	before := scrub{mod: 1}
	r.begin()
	var got []place
	for len(r.going) > 0 {
		if p := r.progress(before); p != before {
			t.Errorf("progress %v while something is left", p)
		}
		got = append(got, r.take(2)...)
	}
	if want := []place{{2, 0}, {5, 0}, {5, 1}, {9, 0}}; !slices.Equal(got, want) {
		t.Errorf("they went in the order %v, want %v", got, want)
	}
	if p := r.progress(before); p != (scrub{done: 3, mod: 10}) {
		t.Errorf("progress %v after all of it", p)
	}
}
