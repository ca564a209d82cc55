package client

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestNothingBeginsBesideAClose that it does not wait for: under the race detector the two of them would be found.
func TestNothingBeginsBesideAClose(t *testing.T) {
	n := newFakeNode(t, 1)
	for range 50 {
		c, err := Open(Config{Endpoints: []string{n.address}})
		if err != nil {
			t.Fatal(err)
		}
		var closing sync.WaitGroup
		closing.Go(func() { _ = c.Close() })
		<-c.ctx.Done()
		k := c.KeepAlive(7)
		<-k.Done()
		if !errors.Is(k.Err(), ErrClosed) {
			t.Errorf("beside Close: %v", k.Err())
		}
		closing.Wait()
		k = c.KeepAlive(7)
		<-k.Done()
		if !errors.Is(k.Err(), ErrClosed) {
			t.Errorf("after Close: %v", k.Err())
		}
		k.Close()
	}
}

// TestALeaseThatIsLostLeavesNothingBehind, also where nobody closes what kept it alive.
func TestALeaseThatIsLostLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	k := &KeepAlive{cancel: cancel, done: make(chan struct{})}
	k.end(ErrLeaseNotFound)
	<-k.Done()
	if ctx.Err() == nil || !errors.Is(k.Err(), ErrLeaseNotFound) {
		t.Errorf("%v, %v", ctx.Err(), k.Err())
	}
}
