package leaderless

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A client may end a watch for good when it is told that there is no leader: one that is known again counts at once.
func TestALeaderCountsAsSoonAsItIsKnown(t *testing.T) {
	known := false
	w := New(func() bool { return known }, time.Hour)
	defer w.Close()
	for range Patience {
		if w.Lost() {
			t.Fatal("a leader that is not known for a moment is missed")
		}
		w.note(false)
	}
	if !w.Lost() {
		t.Fatal("no leader is missed")
	}
	known = true
	if w.Lost() {
		t.Error("a leader that is known is missed")
	}
}

func TestWhoRequiresALeaderEndsWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 500 * time.Millisecond
		var known atomic.Bool
		known.Store(true)
		w := New(known.Load, period)
		defer w.Close()
		enter := func(requires bool) context.Context {
			ctx, end := context.WithCancelCause(t.Context())
			leave, ok := w.Enter(end, requires)
			if !ok {
				t.Fatal("nobody may enter")
			}
			t.Cleanup(leave)
			return ctx
		}
		needs, does := enter(true), enter(false)
		time.Sleep(10*period + period/2) // between two looks
		known.Store(false)
		time.Sleep((Patience - 1) * period)
		synctest.Wait()
		if needs.Err() != nil || does.Err() != nil {
			t.Fatal("a moment without a leader has ended somebody")
		}
		time.Sleep(2 * period)
		synctest.Wait()
		if !errors.Is(context.Cause(needs), ErrLost) || does.Err() != nil || !w.Lost() {
			t.Fatalf("without a leader: %v, %v", context.Cause(needs), context.Cause(does))
		}
		w.Close()
		w.Close()
		if !errors.Is(context.Cause(does), ErrStopped) {
			t.Errorf("at the end: %v", context.Cause(does))
		}
		if _, ok := w.Enter(func(error) {}, false); ok {
			t.Error("somebody entered after the end")
		}
	})
}

func TestNobodyLooksWithoutAnElectionTimeout(t *testing.T) {
	w := New(func() bool { panic("it was looked") }, 0)
	ctx, end := context.WithCancelCause(t.Context())
	if _, ok := w.Enter(end, true); !ok || w.Lost() {
		t.Error("turned away")
	}
	w.Close()
	if !errors.Is(context.Cause(ctx), ErrStopped) {
		t.Errorf("at the end: %v", context.Cause(ctx))
	}
}
