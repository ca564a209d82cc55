package nodes

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/server/admin"
)

// A node whose status never stays the same is asked again and again, and must not take all of the operator's time.
func TestANodeWithNewsWithoutEndIsHeardSoOftenAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, wakes atomic.Int64
		dial := func(string, string) (admin.Service, func(), error) {
			return admin.Service{WaitStatus: func(context.Context, *admin.WaitStatusRequest) (*admin.Status, error) {
				return &admin.Status{Name: "demo-0", Generation: uint64(calls.Add(1))}, nil
			}}, func() {}, nil
		}
		w := NewWatcher(dial, func(types.NamespacedName) { wakes.Add(1) })
		w.Follow(demo, []Target{{UID: "u", Name: "demo-0"}})
		time.Sleep(time.Second)
		w.Follow(demo, nil)
		w.running.Wait()
		if most := int64(time.Second/minRound) + 1; calls.Load() > most || wakes.Load() > most || wakes.Load() < most/2 {
			t.Errorf("%d calls and %d wakes in a second, want at most %d", calls.Load(), wakes.Load(), most)
		}
	})
}
