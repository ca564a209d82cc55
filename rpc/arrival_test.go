package rpc_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

// follower remembers where its request is.
type follower struct {
	context.Context
	line atomic.Pointer[rpc.Client]
	end  atomic.Uint64
}

func (f *follower) Queued(c *rpc.Client, end uint64) {
	f.line.Store(c)
	f.end.Store(end)
}

// What is queued counts as arrived only when the server has read it, however early the connection took it.
func TestArrivedIsWhatTheServerHasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := rpc.NewServer(rpc.ServerOptions{})
		if err := rpc.Register(s, "test", newImpl()); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(theirs) }()
		const rate, seconds = 100_000, 12
		c, err := rpc.NewClient(t.Context(), rpctest.Uplink(ours, rate), rpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		svc := bind(t, c)
		time.Sleep(5 * time.Second)
		before := c.Arrived()
		follower := &follower{Context: t.Context()}
		answered := make(chan error, 1)
		go func() {
			_, err := svc.Echo(follower, &echoReq{Text: strings.Repeat("x", rate*seconds)})
			answered <- err
		}()
		time.Sleep((seconds - 1) * time.Second)
		if line, end := follower.line.Load(), follower.end.Load(); line != c || end < before+rate*seconds || end > before+rate*(seconds+1) {
			t.Errorf("the request ends at %d, and %d bytes were sent before", end, before)
		}
		if c.Arrived() >= before+rate {
			t.Errorf("before it could be there, %d bytes have arrived", c.Arrived()-before)
		}
		time.Sleep(4 * time.Second)
		if c.Arrived() < follower.end.Load() {
			t.Errorf("%d of %d bytes have arrived", c.Arrived(), follower.end.Load())
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		_ = c.Close()
		if err := <-served; rpc.CodeOf(err) != rpc.CodeUnavailable {
			t.Errorf("served: %v", err)
		}
		_ = s.Close()
	})
}
