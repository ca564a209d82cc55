package rpc_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

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
		before := c.Queued()
		if behind := before - c.Arrived(); behind > 100 {
			t.Errorf("%d of %d bytes of an idle connection have not arrived", behind, before)
		}
		answered := make(chan error, 1)
		go func() {
			_, err := svc.Echo(t.Context(), &echoReq{Text: strings.Repeat("x", rate*seconds)})
			answered <- err
		}()
		time.Sleep((seconds - 1) * time.Second)
		if c.Queued() < before+rate*seconds || c.Arrived() >= before+rate {
			t.Errorf("before it could be there: %d queued, %d arrived, %d before", c.Queued(), c.Arrived(), before)
		}
		time.Sleep(4 * time.Second)
		if c.Arrived() < before+rate*seconds {
			t.Errorf("%d of %d bytes have arrived", c.Arrived(), c.Queued())
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		_ = c.Close()
		<-served
		_ = s.Close()
	})
}
