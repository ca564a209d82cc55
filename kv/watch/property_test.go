package watch

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/kv"
)

// TestWatchesAgainstHistory: whatever the bounds, the pace of the consumers, compaction and progress, a watch sees the history, in
// order, without a gap or a repeat, and revisions as a whole.
func TestWatchesAgainstHistory(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 3 {
				s, err := w.hub.NewStream()
				if err != nil {
					t.Fatal(err)
				}
				w.streams = append(w.streams, &played{stream: s.(*stream), watches: map[int64]*received{}})
			}
			w.meddles = seed%2 == 0
			for range 600 {
				if w.IntN(40) < 12 {
					w.pull(w.streams[w.IntN(len(w.streams))])
				} else {
					w.act()
				}
			}
			w.meddles = false
			if w.lags {
				w.install()
			}
			w.handOut()
			for _, s := range w.streams {
				for w.pull(s) {
				}
				for _, x := range s.watches {
					w.check(x)
					w.checkReason(x)
				}
			}
			if st := w.hub.Stats(); st.Behind != 0 || w.hub.held != 0 {
				t.Errorf("%+v and %d bytes held after everything was pulled", st, w.hub.held)
			}
			for k, n := range w.seen {
				seen[k] += n
			}
		})
	}
	for _, what := range []string{"own progress", "progress", "fragment", "compacted", "shed", "installed", "succeeded"} {
		if seen[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

// TestIntervalsAgainstAList inserts and removes ranges and looks keys up.
func TestIntervalsAgainstAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	tree := newIntervals()
	list := map[span]*group{}
	text := func() []byte { return fmt.Appendf(nil, "%02d", random.IntN(40)) }
	for range 5000 {
		s := spanOf(kv.Span(text(), text()))
		if random.IntN(10) == 0 {
			s = spanOf(kv.Span(text(), []byte{0}))
		}
		if list[s] == nil {
			list[s] = &group{}
			tree.insert(s, list[s])
		} else {
			delete(list, s)
			tree.remove(s)
		}
		key := string(text())
		found := map[*group]bool{}
		tree.find(key, func(g *group) { found[g] = true })
		for s, g := range list {
			if want := s.start <= key && s.endsBehind(key); found[g] != want {
				t.Fatalf("%+v holds %q: %t, want %t", s, key, found[g], want)
			}
			delete(found, g)
		}
		if len(found) > 0 {
			t.Fatal("a range that was removed is found")
		}
	}
}
