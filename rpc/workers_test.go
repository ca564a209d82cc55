package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func callOf(id uint64) queuedCall { return queuedCall{received: received{callID: id}} }

// A handler that blocks holds up nobody, wherever it stands in the row, and no more than MaxHandlers run.
func TestBlockedHandlersHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var quick, blocked atomic.Int64
		w := newWorkers(func(c queuedCall) {
			if c.callID%2 == 0 {
				quick.Add(1)
				return
			}
			blocked.Add(1)
			<-release
		})
		for id := uint64(1); id < 2*MaxHandlers; id++ { // MaxHandlers that block
			w.put(callOf(id))
		}
		synctest.Wait()
		if blocked.Load() != MaxHandlers || quick.Load() != MaxHandlers-1 {
			t.Errorf("%d block and %d have run", blocked.Load(), quick.Load())
		}
		for range 3 {
			w.put(callOf(2))
			w.put(callOf(1))
		}
		synctest.Wait()
		if blocked.Load() != MaxHandlers || quick.Load() != MaxHandlers-1 {
			t.Errorf("past the bound: %d block and %d have run", blocked.Load(), quick.Load())
		}
		close(release)
		synctest.Wait()
		if blocked.Load() != MaxHandlers+3 || quick.Load() != MaxHandlers+2 {
			t.Errorf("at the end: %d and %d", blocked.Load(), quick.Load())
		}
		if w.total != idleWorkers {
			t.Errorf("%d goroutines stay", w.total)
		}
		w.shut(func(queuedCall) { t.Error("something was left") })
		w.running.Wait()
	})
}

// The row is bounded in calls and bytes, never empty under load, and every call runs once.
func TestCallsThatWaitAreBoundedAndRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var mu sync.Mutex
		seen := map[uint64]int{}
		w := newWorkers(func(c queuedCall) {
			<-release
			mu.Lock()
			defer mu.Unlock()
			seen[c.callID]++
		})
		var taken atomic.Uint64
		const all = 4*queuedCalls + MaxHandlers
		go func() {
			for id := range uint64(all) {
				w.put(callOf(id))
				taken.Add(1)
			}
		}()
		synctest.Wait()
		if n := taken.Load(); n != queuedCalls+MaxHandlers {
			t.Errorf("%d calls were taken, want %d", n, queuedCalls+MaxHandlers)
		}
		close(release)
		synctest.Wait()
		for id := range uint64(all) {
			if seen[id] != 1 {
				t.Fatalf("call %d ran %d times", id, seen[id])
			}
		}
		if cap(w.queue) > 8*queuedCalls {
			t.Errorf("the row has grown to %d", cap(w.queue))
		}

		hold := make(chan struct{})
		held := newWorkers(func(queuedCall) { <-hold })
		big := queuedCall{received: received{body: make([]byte, queuedCallBytes/2)}}
		var put atomic.Int64
		go func() {
			for range MaxHandlers + 4 {
				if held.put(big) {
					put.Add(1)
				}
			}
		}()
		synctest.Wait()
		if put.Load() != MaxHandlers+2 {
			t.Errorf("%d large calls were taken", put.Load())
		}
		dropped := 0
		held.shut(func(queuedCall) { dropped++ })
		close(hold)
		held.running.Wait()
		synctest.Wait()
		if dropped != 2 || put.Load() != MaxHandlers+2 {
			t.Errorf("%d were dropped, %d taken", dropped, put.Load())
		}
		w.shut(func(queuedCall) {})
		w.running.Wait()
	})
}

func TestCallContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, end := context.WithCancel(t.Context())
		defer end()
		info := &Info{Method: "x.Y"}

		timed := newCallContext(conn, info, time.Second)
		if d, ok := timed.Deadline(); !ok || time.Until(d) != time.Second {
			t.Errorf("deadline %v, %v", d, ok)
		}
		time.Sleep(2 * time.Second) // before anyone asks
		if !errors.Is(timed.Err(), context.DeadlineExceeded) {
			t.Errorf("late: %v", timed.Err())
		}

		early := newCallContext(conn, info, 0)
		early.cancel()
		early.cancel()
		if early.Err() == nil {
			t.Error("canceled before anyone asked")
		}

		c := newCallContext(conn, info, 0)
		child, stop := context.WithTimeout(c, time.Hour)
		defer stop()
		if got, ok := FromContext(child); !ok || got.Method != "x.Y" {
			t.Errorf("info %+v, %v", got, ok)
		}
		c.cancel()
		<-child.Done()

		last := newCallContext(conn, info, time.Hour)
		done := last.Done()
		end()
		<-done
		if !errors.Is(last.Err(), context.Canceled) {
			t.Errorf("with the connection: %v", last.Err())
		}
	})
}
