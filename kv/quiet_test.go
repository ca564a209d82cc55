package kv

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/kv/store"
)

// TestCompactionNeedsNoWrites: a store that is full takes none until its history is gone.
func TestCompactionNeedsNoWrites(t *testing.T) {
	for name, more := range map[string]int{"one compaction": 0, "one after the other": 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Options{Disk: store.NewMemory()})
				const revisions = 100
				for i := range revisions {
					h.do(Put([]byte("k"), make([]byte, i)))
				}
				flushNow(t, h)
				h.do(Compact(2))
				for i := range more {
					time.Sleep(compactPatience / 2)
					h.do(Compact(uint64(i + 3)))
				}
				if more == 0 {
					time.Sleep(3 * compactPatience)
				}
				synctest.Wait()
				h.machine.maintenance.Lock()
				done := h.machine.header.scrub.done
				h.machine.maintenance.Unlock()
				if done < 2 {
					t.Errorf("history is removed up to %d", done)
				}
				if err := h.machine.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
