package rpc_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

// events records what a Peer tells.
type events struct {
	mu  sync.Mutex
	all []rpc.PeerEvent
}

func (e *events) add(x rpc.PeerEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, x)
}

func (e *events) count(match func(rpc.PeerEvent) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, x := range e.all {
		if match(x) {
			n++
		}
	}
	return n
}

func connected(e rpc.PeerEvent) bool { return e.State == rpc.PeerConnected }

func newPeer(t *testing.T, opts rpc.PeerOptions) *rpc.Peer {
	p := rpc.NewPeer(opts)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// A server that comes back at another address behind the same name is found, and stubs go on working.
func TestPeerFindsTheServerAgain(t *testing.T) {
	var current atomic.Value
	dialer := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "node.example:2380" {
			t.Errorf("dial of %q", address)
		}
		return new(net.Dialer).DialContext(ctx, network, current.Load().(string))
	}
	first, addr := serve(t, rpc.ServerOptions{}, newImpl())
	current.Store(addr)
	var seen events
	p := newPeer(t, rpc.PeerOptions{Address: "node.example:2380", Client: rpc.ClientOptions{Dial: dialer}, OnEvent: seen.add,
		MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
	svc := bind(t, p)
	if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	eventually(t, "loss and a failed dial are told", func() bool {
		lost := seen.count(func(e rpc.PeerEvent) bool { return e.Lost && e.State == rpc.PeerUnreachable && e.Err != nil })
		failed := seen.count(func(e rpc.PeerEvent) bool { return !e.Lost && e.State == rpc.PeerUnreachable && e.Err != nil })
		return lost == 1 && failed > 0
	})
	if err := svc.Note(t.Context(), number(1)); rpc.CodeOf(err) != rpc.CodeUnavailable || !rpc.NotSent(err) {
		t.Fatalf("one-way without a connection: %v", err)
	}
	_, addr = serve(t, rpc.ServerOptions{}, newImpl())
	current.Store(addr)
	if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second connection is told", func() bool { return seen.count(connected) >= 2 }) // who waits for it may be quicker
	if n := seen.count(connected); n != 2 {
		t.Fatalf("connected twice, told %d times", n)
	}
}

func TestPeerRefused(t *testing.T) {
	var open atomic.Bool
	_, addr := serve(t, rpc.ServerOptions{AcceptConn: func(rpc.Metadata, net.Addr) (rpc.Metadata, error) {
		if !open.Load() {
			return nil, rpc.Refusal("removed", "you were removed")
		}
		return nil, nil
	}}, newImpl())
	p := newPeer(t, rpc.PeerOptions{Address: addr, MaxBackoff: 10 * time.Millisecond, MinBackoff: time.Millisecond})
	svc := bind(t, p)
	eventually(t, "refused", func() bool { state, _ := p.State(); return state == rpc.PeerRefused })
	if _, err := svc.Echo(t.Context(), &echoReq{}); rpc.ReasonOf(err) != "removed" || !rpc.NotSent(err) {
		t.Fatal(err)
	}
	open.Store(true)
	eventually(t, "let in", func() bool { _, err := svc.Echo(t.Context(), &echoReq{}); return err == nil })
}

func TestPeerBindErrorsComeWithTheFirstCall(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl())
	p := newPeer(t, rpc.PeerOptions{Address: addr})
	var wrong personService
	if err := rpc.Bind(p, "test", &wrong); err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Get(t.Context(), &person{}); rpc.CodeOf(err) != rpc.CodeNotFound || !rpc.NotSent(err) {
		t.Fatal(err)
	}
}

func TestPeerLeavesADrainingServer(t *testing.T) {
	i := newImpl()
	first, addr := serve(t, rpc.ServerOptions{}, i)
	p := newPeer(t, rpc.PeerOptions{Address: addr, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
	svc := bind(t, p)
	running := make(chan error, 1)
	go func() {
		_, err := svc.Block(t.Context(), &echoReq{})
		running <- err
	}()
	eventually(t, "handler runs", func() bool { return i.running.Load() == 1 })
	down := make(chan error, 1)
	go func() { down <- first.Shutdown(t.Context()) }()
	eventually(t, "the drained connection is left", func() bool { return p.Client() == nil })
	_, other := serve(t, rpc.ServerOptions{}, newImpl())
	p.SetAddress(other)
	if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatal(err)
	}
	close(i.gate)
	if err := <-running; err != nil {
		t.Fatalf("the call in flight: %v", err)
	}
	if err := <-down; err != nil {
		t.Fatal(err)
	}
}

// A peer that moves while its old address is being dialed is looked for at the new one.
func TestAPeerThatMovesDuringADialIsNotLeftBehind(t *testing.T) {
	_, old := serve(t, rpc.ServerOptions{}, newImpl())
	_, moved := serve(t, rpc.ServerOptions{}, newImpl())
	peers := make(chan *rpc.Peer, 1)
	var seen events
	p := newPeer(t, rpc.PeerOptions{Address: old, OnEvent: seen.add, Client: rpc.ClientOptions{
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if address == old {
				(<-peers).SetAddress(moved)
			}
			return conn, err
		},
	}})
	peers <- p
	c, err := p.Connected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.RemoteAddr().String(); got != moved {
		t.Errorf("connected to %s, the peer has moved to %s", got, moved)
	}
	eventually(t, "one connection is told", func() bool { return seen.count(connected) == 1 })
}

func TestPeerClosed(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl())
	p := rpc.NewPeer(rpc.PeerOptions{Address: addr})
	svc := bind(t, p)
	_ = p.Close()
	if _, err := svc.Echo(t.Context(), &echoReq{}); rpc.CodeOf(err) != rpc.CodeUnavailable || !rpc.NotSent(err) {
		t.Fatal(err)
	}
}

// Time is virtual: the pauses between dials grow from MinBackoff to MaxBackoff, less up to a half, and a call's wait is bounded.
func TestPeerBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var dials []time.Time
		p := rpc.NewPeer(rpc.PeerOptions{Address: "nowhere:1", MinBackoff: 100 * time.Millisecond, MaxBackoff: 2 * time.Second,
			Client: rpc.ClientOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				dials = append(dials, time.Now())
				return nil, errors.New("no route")
			}}})
		svc := bind(t, p)
		start := time.Now()
		_, err := svc.Echo(t.Context(), &echoReq{})
		if rpc.CodeOf(err) != rpc.CodeUnavailable || !rpc.NotSent(err) || !strings.Contains(err.Error(), "no route") {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != rpc.DefaultConnectWait {
			t.Fatalf("the call waited %v", waited)
		}
		time.Sleep(time.Minute) // virtual
		_ = p.Close()
		mu.Lock()
		defer mu.Unlock()
		full := 100 * time.Millisecond
		for k := 1; k < len(dials); k++ {
			if d := dials[k].Sub(dials[k-1]); d < full/2 || d > full {
				t.Fatalf("pause %d: %v, want %v to %v", k, d, full/2, full)
			}
			full = min(full*2, 2*time.Second)
		}
		if n := len(dials); n < 30 || n > 70 {
			t.Fatalf("%d dials in a minute", n)
		}
	})
}
