package rpc_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

type pinned struct {
	Tell func(context.Context, *pinnedMessage) (*pinnedMessage, error)
}

type pinnedMessage struct{}

// What a service keeps for a connection can end with it, though the call that made it has long ended.
func TestAHandlerKnowsItsConnection(t *testing.T) {
	infos := make(chan rpc.Info, 4)
	s := rpc.NewServer(rpc.ServerOptions{})
	if err := rpc.Register(s, "pinned", pinned{Tell: func(ctx context.Context, m *pinnedMessage) (*pinnedMessage, error) {
		info, _ := rpc.FromContext(ctx)
		infos <- info
		return m, nil
	}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	call := func() *rpc.Client {
		c, err := rpc.Dial(context.Background(), l.Addr().String(), rpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		var stub pinned
		if err := rpc.Bind(c, "pinned", &stub); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := stub.Tell(context.Background(), &pinnedMessage{}); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	first := call()
	a, b := <-infos, <-infos
	call()
	other := <-infos
	if a.Connection != b.Connection || a.Connection == other.Connection {
		t.Error("connections are not told apart by their contexts")
	}
	if a.Connection.Err() != nil {
		t.Error("the connection's context has ended before the connection")
	}
	_ = first.Close()
	select {
	case <-a.Connection.Done():
	case <-time.After(time.Minute):
		t.Error("the connection's context outlives the connection")
	}
	if other.Connection.Err() != nil {
		t.Error("another connection's context has ended with it")
	}
}
