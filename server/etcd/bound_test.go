package etcd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const limit = 7 * time.Second

func TestACallEndsWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBounds()
		began := time.Now()
		ctx, leave := b.enter(t.Context(), limit)
		defer leave()
		if deadline, ok := ctx.Deadline(); !ok || deadline.Sub(began) != limit {
			t.Errorf("the deadline is %v, %v", deadline, ok)
		}
		time.Sleep(limit - time.Nanosecond)
		if ctx.Err() != nil {
			t.Fatalf("it ended after %v: %v", time.Since(began), ctx.Err())
		}
		<-ctx.Done()
		if late := time.Since(began) - limit; late > sweepPause {
			t.Errorf("it ended %v late", late)
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("it ended with %v, %v", ctx.Err(), context.Cause(ctx))
		}
	})
}

func TestACallEndsWhenItsCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBounds()
		caller, gone := context.WithCancel(context.WithValue(t.Context(), limit, "kept"))
		ctx, leave := b.enter(caller, limit)
		other, leaveOther := b.enter(t.Context(), limit)
		defer leaveOther()
		if ctx.Value(limit) != "kept" {
			t.Error("the caller's values are lost")
		}
		gone()
		began := time.Now()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) || time.Since(began) > sweepPause {
			t.Errorf("it ended with %v after %v", ctx.Err(), time.Since(began))
		}
		if other.Err() != nil {
			t.Errorf("another call ended too: %v", other.Err())
		}
		leave()
	})
}

func TestACallThatIsOverEndsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBounds()
		for range 3 {
			ctx, leave := b.enter(t.Context(), limit)
			child, cancel := context.WithCancel(ctx)
			leave()
			<-child.Done()
			cancel()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("it ended with %v", ctx.Err())
			}
			leave() // does nothing more
		}
		time.Sleep(2 * sweepPause)
		b.mu.Lock()
		armed := b.armed
		b.mu.Unlock()
		if armed {
			t.Error("the calls are looked at though there are none")
		}
		ctx, leave := b.enter(t.Context(), limit)
		defer leave()
		<-ctx.Done() // the timer runs again
	})
}

func TestACallersOwnEarlierDeadlineNeedsNoBound(t *testing.T) {
	b := newBounds()
	caller, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	ctx, leave := b.enter(caller, limit)
	defer leave()
	if ctx != caller {
		t.Error("a call that ends earlier anyway was bound")
	}
}
