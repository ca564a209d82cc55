package kv

import (
	"fmt"
	"sync"
	"testing"
)

// TestOverlayReadsBesideItsWriter looks up keys that are there all the time while the writer puts others all around them, and
// newer versions in front of them.
func TestOverlayReadsBesideItsWriter(t *testing.T) {
	const fixed, rounds = 64, 150
	o := newOverlay()
	for i := range fixed {
		o.add(fmt.Appendf(nil, "%04d", i), version{mod: 2, create: 2})
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				key := fmt.Appendf(nil, "%04d", i%fixed)
				if v, ok := o.get(key, 2); !ok || v.mod != 2 {
					t.Errorf("%s: %+v, %v", key, v, ok)
					return
				}
			}
		})
	}
	mod := uint64(2)
	for round := range rounds {
		for i := range fixed {
			mod++
			o.add(fmt.Appendf(nil, "%04d", i), version{mod: mod, create: 2})
			mod++
			// Just in front of the next key, and every one in front of the last.
			o.add(fmt.Appendf(nil, "%04d/%06d", i, rounds-round), version{mod: mod, create: mod})
		}
	}
	close(done)
	readers.Wait()
}
