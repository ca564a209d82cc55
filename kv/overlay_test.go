package kv

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// awkwardKey is one of few that are prefixes of each other, hold zeros, and are alike in more than their first eight bytes.
func awkwardKey(r *rand.Rand) []byte {
	b := bytes.Repeat([]byte{'/'}, r.IntN(3)*6)
	for range r.IntN(4) {
		b = append(b, []byte{0, 1, 'a', 0xff}[r.IntN(4)])
	}
	return b
}

// TestOverlayIsInOrder adds versions and puts them in order in portions of all sizes, and compares what is found with all that was added.
func TestOverlayIsInOrder(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLayer(0, 0)
		mod := uint64(1)
		for range 20 {
			for range r.IntN([]int{2, 40, 200}[seed%3]) {
				mod++
				l.add(awkwardKey(r), version{mod: mod, create: mod})
			}
			if r.IntN(2) == 0 {
				// A state of before has nothing to add.
				earlier := l
				earlier.order = l.order[:r.IntN(len(l.order)+1)]
				l.settle()
				earlier.settle()
				inOrder(t, &l, mod)
			}
		}
		l.settle()
		inOrder(t, &l, mod)
	}
}

func inOrder(t *testing.T, l *layer, latest uint64) {
	t.Helper()
	want := slices.SortedFunc(slices.Values(l.order), func(a, b *overlayNode) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(b.mod, a.mod))
	})
	for level := range overlayTableHeight {
		// On each level are those that are as high, in order.
		high := slices.DeleteFunc(slices.Clone(want), func(n *overlayNode) bool { return len(n.next) <= level })
		var got []*overlayNode
		for n := l.head.next[level].Load(); n != nil; n = n.next[level].Load() {
			got = append(got, n)
		}
		if !slices.Equal(got, high) {
			t.Fatalf("level %d has %d versions, or not in order, want %d", level, len(got), len(high))
		}
	}
	for i, n := range want {
		if newest := i == 0 || !bytes.Equal(want[i-1].key, n.key); newest && l.latest[string(n.key)] != n {
			t.Fatalf("the newest version of %q is not %d", n.key, n.mod)
		}
		if v, ok := l.get(n.key, n.mod); !ok || v.mod != n.mod {
			t.Fatalf("%q at %d: %+v, %v", n.key, n.mod, v, ok)
		}
		if v, ok := l.get(n.key, latest+1); !ok || v.mod != l.latest[string(n.key)].mod {
			t.Fatalf("%q at the end: %+v, %v", n.key, v, ok)
		}
	}
}

// TestOverlayReadsBesideItsWriter reads, at the latest of the states that a writer publishes, while it puts newer versions in front of all there are, and other keys
// around them, some of which it puts in order itself.
func TestOverlayReadsBesideItsWriter(t *testing.T) {
	const keys, rounds = 64, 300
	var published atomic.Pointer[layer] // after each round, whose number is the revision of all that it writes
	l := newLayer(0, 0)
	write := func(round int) {
		for i := range keys {
			l.add(fmt.Appendf(nil, "%04d", i), version{mod: uint64(round), create: 1})
			// Just in front of the next key, and every one in front of the last.
			l.add(fmt.Appendf(nil, "%04d/%06d", i, rounds-round), version{mod: uint64(round), create: 1})
		}
		if round%7 == 0 {
			l.settle()
		}
		now := l
		published.Store(&now)
	}
	write(1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				at := *published.Load()
				at.settle()
				round := len(at.order) / (2 * keys)
				key := fmt.Appendf(nil, "%04d", i%keys)
				if v, ok := at.get(key, uint64(round)); !ok || v.mod != uint64(round) {
					t.Errorf("%s at %d: %+v, %v", key, round, v, ok)
					return
				}
				if i%keys != 0 {
					continue
				}
				c := overlayCursor{overlay: at.overlay, revision: uint64(round)}
				n := 0
				var last []byte
				for err := c.seek(nil); err == nil && c.key() != nil; err = c.next() {
					if bytes.Compare(c.key(), last) <= 0 {
						t.Errorf("%q comes behind %q", c.key(), last)
					}
					last = c.key()
					n++
				}
				if want := keys * (1 + round); n != want {
					t.Errorf("%d keys at %d, want %d", n, round, want)
					return
				}
			}
		})
	}
	for round := 2; round <= rounds; round++ {
		write(round)
	}
	close(done)
	readers.Wait()
}

// BenchmarkOverlay adds as many versions as a flush takes, in batches after which they are put in order, or all at the end.
func BenchmarkOverlay(b *testing.B) {
	const versions = 30_000
	for _, batch := range []int{1, 16, 256, 8192, 16384, versions} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			keys := make([][]byte, versions)
			r := rand.New(rand.NewPCG(1, 1))
			for i := range keys {
				keys[i] = benchKey(r.Uint64N(100_000))
			}
			b.ReportAllocs()
			for b.Loop() {
				l := newLayer(0, 0)
				for i, key := range keys {
					l.add(key, version{mod: uint64(i)})
					if l.unsettled() >= batch {
						l.settle()
					}
				}
				l.settle()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/versions, "ns/version")
		})
	}
}
