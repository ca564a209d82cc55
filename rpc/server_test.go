package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

func TestRefusalsAtTheDoor(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{
		AcceptConn: func(md rpc.Metadata, _ net.Addr) (rpc.Metadata, error) {
			if md["cluster"] != "a" {
				return nil, rpc.Refusal("wrong-cluster", "this is cluster a, not %s", md["cluster"])
			}
			return rpc.Metadata{"who": "server"}, nil
		},
		Authorize: func(_ context.Context, service string, md rpc.Metadata, _ net.Addr) error {
			if md["token"] != "secret" {
				return errors.New("wrong token for " + service)
			}
			return nil
		},
	}, newImpl())
	_, err := rpc.Dial(t.Context(), addr, rpc.ClientOptions{Metadata: rpc.Metadata{"cluster": "b"}})
	if rpc.CodeOf(err) != rpc.CodeRefused || rpc.ReasonOf(err) != "wrong-cluster" || !strings.Contains(err.Error(), "this is cluster a, not b") || !rpc.NotSent(err) {
		t.Fatalf("connection: %v", err)
	}
	c := dial(t, addr, rpc.ClientOptions{Metadata: rpc.Metadata{"cluster": "a"}})
	if c.Metadata()["who"] != "server" {
		t.Fatalf("server's metadata: %v", c.Metadata())
	}
	var svc testService
	if err := rpc.Bind(c, "test", &svc); rpc.CodeOf(err) != rpc.CodeUnauthenticated || !strings.Contains(err.Error(), "wrong token for test") {
		t.Fatalf("service: %v", err)
	}
	bind(t, dial(t, addr, rpc.ClientOptions{Metadata: rpc.Metadata{"cluster": "a", "token": "secret"}}))
}

func TestAcceptorByKind(t *testing.T) {
	s, addr := serve(t, rpc.ServerOptions{}, newImpl())
	s.AcceptKind("peer", func(rpc.Metadata, net.Addr) (rpc.Metadata, error) { return nil, rpc.Refusal("no", "no peers") })
	if _, err := rpc.Dial(t.Context(), addr, rpc.ClientOptions{Metadata: rpc.Metadata{rpc.MetaKind: "peer"}}); rpc.ReasonOf(err) != "no" {
		t.Fatal(err)
	}
	dial(t, addr, rpc.ClientOptions{})
}

func TestConnectionsAreBounded(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{MaxConns: 2}, newImpl())
	a := dial(t, addr, rpc.ClientOptions{})
	dial(t, addr, rpc.ClientOptions{})
	if _, err := rpc.Dial(t.Context(), addr, rpc.ClientOptions{}); rpc.CodeOf(err) != rpc.CodeExhausted {
		t.Fatal(err)
	}
	_ = a.Close()
	eventually(t, "a place is free", func() bool {
		c, err := rpc.Dial(t.Context(), addr, rpc.ClientOptions{})
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

func TestShutdownAnswersWhatIsRunning(t *testing.T) {
	i := newImpl()
	s, addr := serve(t, rpc.ServerOptions{}, i)
	c := dial(t, addr, rpc.ClientOptions{})
	svc := bind(t, c)
	results := make(chan error, 3)
	for range cap(results) {
		go func() {
			_, err := svc.Block(t.Context(), &echoReq{})
			results <- err
		}()
	}
	eventually(t, "handlers run", func() bool { return i.running.Load() == 3 })
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	eventually(t, "new calls are refused", func() bool {
		_, err := svc.Echo(t.Context(), &echoReq{})
		return rpc.CodeOf(err) == rpc.CodeUnavailable && rpc.NotSent(err)
	})
	if _, err := rpc.Dial(t.Context(), addr, rpc.ClientOptions{}); rpc.CodeOf(err) != rpc.CodeUnavailable {
		t.Fatalf("new connection: %v", err)
	}
	close(i.gate)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Fatalf("a running call: %v", err)
		}
	}
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	<-c.Done()
}

func TestShutdownGivesUpAtTheContext(t *testing.T) {
	i := newImpl()
	s, addr := serve(t, rpc.ServerOptions{}, i)
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
	go func() { _, _ = svc.Block(t.Context(), &echoReq{}) }()
	eventually(t, "handler runs", func() bool { return i.running.Load() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := <-i.ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("handler: %v", err)
	}
}

func TestDisconnectTellsTheReason(t *testing.T) {
	s, addr := serve(t, rpc.ServerOptions{}, newImpl())
	bad := dial(t, addr, rpc.ClientOptions{Metadata: rpc.Metadata{"name": "bad"}})
	good := bind(t, dial(t, addr, rpc.ClientOptions{}))
	s.DisconnectIf(func(md rpc.Metadata) *rpc.Error {
		if md["name"] == "bad" {
			return rpc.Refusal("removed", "you were removed")
		}
		return nil
	})
	<-bad.Done()
	if err := bad.Err(); rpc.ReasonOf(err) != "removed" {
		t.Fatal(err)
	}
	if _, err := good.Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatal(err)
	}
}

// hooked calls a function before it writes.
type hooked struct {
	*net.TCPConn
	before func()
}

func (h *hooked) Write(b []byte) (int, error) {
	h.before()
	return h.TCPConn.Write(b)
}

// A connection that is being accepted when DisconnectIf is called does not slip through, wherever on its way it is.
func TestDisconnectFindsConnectionsThatAreStillGreeting(t *testing.T) {
	for _, moment := range []string{"the acceptor has made up its mind", "the answer is on its way"} {
		t.Run(moment, func(t *testing.T) {
			var s *rpc.Server
			remove := func(at string) {
				if at == moment {
					s.DisconnectIf(func(md rpc.Metadata) *rpc.Error { return rpc.Refusal("removed", "%s was removed", md["name"]) })
				}
			}
			s = rpc.NewServer(rpc.ServerOptions{AcceptConn: func(rpc.Metadata, net.Addr) (rpc.Metadata, error) {
				remove("the acceptor has made up its mind")
				return nil, nil
			}})
			if err := rpc.Register(s, "test", newImpl()); err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					served <- err
					return
				}
				var greeting sync.Once
				served <- s.ServeConn(&hooked{conn.(*net.TCPConn), func() { greeting.Do(func() { remove("the answer is on its way") }) }})
			}()
			c, err := rpc.Dial(t.Context(), l.Addr().String(), rpc.ClientOptions{Metadata: rpc.Metadata{"name": "demo"}})
			if err != nil {
				t.Fatal(err)
			}
			var svc testService
			if err := rpc.Bind(c, "test", &svc); err == nil {
				t.Error("a client that was removed while it connected is served")
			}
			_ = c.Close()
			if err := c.Err(); rpc.ReasonOf(err) != "removed" || !strings.Contains(err.Error(), "demo was removed") {
				t.Errorf("it was told: %v", err)
			}
			if err := <-served; err == nil {
				t.Error("its connection ended without a reason")
			}
			_ = l.Close()
			_ = s.Close()
		})
	}
}

// Handlers of one connection are bounded, what is above waits, and a cancel still works once there is room.
func TestHandlersAreBounded(t *testing.T) {
	i := newImpl()
	_, addr := serve(t, rpc.ServerOptions{}, i)
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
	const n = rpc.MaxHandlers + 50
	var ok atomic.Int64
	var callers sync.WaitGroup
	for range n {
		callers.Go(func() {
			if _, err := svc.Block(t.Context(), &echoReq{}); err == nil {
				ok.Add(1)
			}
		})
	}
	eventually(t, "the bound is reached", func() bool { return i.running.Load() == rpc.MaxHandlers })
	for range 20 {
		runtime.Gosched()
		if r := i.running.Load(); r > rpc.MaxHandlers {
			t.Fatalf("%d handlers run", r)
		}
	}
	close(i.gate)
	callers.Wait()
	if ok.Load() != n {
		t.Fatalf("%d of %d calls succeeded", ok.Load(), n)
	}
}

// With a stalled network the send queue fills: a call waits for its context, a try fails at once, and neither was sent.
func TestFullSendQueue(t *testing.T) {
	i := newImpl()
	_, addr := serve(t, rpc.ServerOptions{IdleTimeout: time.Hour}, i)
	leaky := rpctest.NewNetwork(1)
	c := dial(t, addr, rpc.ClientOptions{Dial: leaky.Dialer(nil), IdleTimeout: time.Hour})
	svc := bind(t, c)
	leaky.Stall(rpctest.Out, true)
	sent := 0
	fill := func() error {
		for try := rpc.TrySend(t.Context()); ; sent++ {
			if err := svc.Note(try, number(uint64(sent))); err != nil {
				return err
			}
		}
	}
	eventually(t, "a note waits for its deadline", func() bool { // the writer may still take what was queued
		if err := fill(); rpc.CodeOf(err) != rpc.CodeExhausted || !rpc.NotSent(err) {
			t.Fatalf("try: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		err := svc.Note(ctx, number(uint64(sent)))
		if err == nil {
			sent++
			return false
		}
		if rpc.CodeOf(err) != rpc.CodeDeadline || !rpc.NotSent(err) {
			t.Fatalf("with a deadline: %v", err)
		}
		return true
	})
	leaky.Stall(rpctest.Out, false)
	if err := svc.Note(t.Context(), number(uint64(sent))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all arrive", func() bool { return i.noteCount() == sent+1 })
}

func TestCallThatNeverLeftIsNotSent(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{IdleTimeout: time.Hour}, newImpl())
	leaky := rpctest.NewNetwork(1)
	c := dial(t, addr, rpc.ClientOptions{Dial: leaky.Dialer(nil), IdleTimeout: time.Hour})
	svc := bind(t, c)
	leaky.Stall(rpctest.Out, true)
	for try := rpc.TrySend(t.Context()); svc.Note(try, number(1)) == nil; { // now the writer has more than it can write
	}
	results := make(chan error, 1)
	go func() {
		_, err := svc.Echo(t.Context(), &echoReq{})
		results <- err
	}()
	_ = c.Close()
	if err := <-results; rpc.CodeOf(err) != rpc.CodeUnavailable || !rpc.NotSent(err) {
		t.Fatalf("%v, not sent %v", err, rpc.NotSent(err))
	}
}

func TestDamagedBytesEndTheConnection(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl())
	leaky := rpctest.NewNetwork(5)
	for range 20 {
		c := dial(t, addr, rpc.ClientOptions{Dial: leaky.Dialer(nil)})
		svc := bind(t, c)
		leaky.Set(rpctest.Faults{FlipChance: 1})
		_, err := svc.Echo(t.Context(), &echoReq{Text: "hello"})
		if rpc.CodeOf(err) != rpc.CodeUnavailable {
			t.Fatalf("a damaged request: %v", err)
		}
		leaky.Set(rpctest.Faults{})
	}
}

func TestSilentServerIsNoticed(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl())
	leaky := rpctest.NewNetwork(1)
	c := dial(t, addr, rpc.ClientOptions{Dial: leaky.Dialer(nil), PingInterval: 100 * time.Millisecond, IdleTimeout: 3 * time.Second})
	svc := bind(t, c)
	eventually(t, "a ping comes back", func() bool { return c.RTT() > 0 })
	leaky.Stall(rpctest.In, true)
	if _, err := svc.Echo(t.Context(), &echoReq{}); rpc.CodeOf(err) != rpc.CodeUnavailable || rpc.NotSent(err) {
		t.Fatal(err)
	}
	if err := c.Err(); !strings.Contains(err.Error(), "nothing heard") {
		t.Fatal(err)
	}
}

// An idle connection stays, and a slow handler is no silence, on either side; time is virtual here.
func TestIdleConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newImpl()
		s := rpc.NewServer(rpc.ServerOptions{})
		if err := rpc.Register(s, "test", i); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(theirs) }()
		c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		svc := bind(t, c)
		time.Sleep(time.Hour) // virtual
		if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
			t.Fatalf("after an hour: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := svc.Block(ctx, &echoReq{}); rpc.CodeOf(err) != rpc.CodeDeadline {
			t.Fatalf("slow handler: %v", err)
		}
		if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
			t.Fatalf("after the slow handler: %v", err)
		}
		_ = c.Close()
		if err := <-served; rpc.CodeOf(err) != rpc.CodeUnavailable {
			t.Errorf("served: %v", err)
		}
		_ = s.Close()
	})
}

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// A client that pings less often than usual spares the server its own pings: its answers tell the one, and the client's pings the other, that it is there.
func TestQuietConnectionPingsAsTheClientAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := rpc.NewServer(rpc.ServerOptions{})
		if err := rpc.Register(s, "test", newImpl()); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		client, server := &counted{Conn: ours}, &counted{Conn: theirs}
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(server) }()
		const interval = 10 * time.Second
		c, err := rpc.NewClient(t.Context(), client, rpc.ClientOptions{PingInterval: interval})
		if err != nil {
			t.Fatal(err)
		}
		// So that the server, which looks from its binding on, never does at the very instant at which a ping of the client's keeps its reader busy: it would send one
		// of its own, as it should.
		time.Sleep(interval / 4) // virtual
		bind(t, c)               // before it, the server has no reason to be patient
		greeted := client.writes.Load() + server.writes.Load()
		const hour = time.Hour + interval/2
		time.Sleep(hour) // virtual
		// In an interval the client writes a ping and the server a pong.
		if got, want := client.writes.Load()+server.writes.Load()-greeted, 2*int64(hour/interval); got > want || got < want-2 || c.Err() != nil {
			t.Errorf("%d writes in an hour (%v), want %d", got, c.Err(), want)
		}
		_ = c.Close()
		if err := <-served; rpc.CodeOf(err) != rpc.CodeUnavailable {
			t.Errorf("served: %v", err)
		}
		_ = s.Close()
	})
}

// peeked gives bytes again that a mux has read.
type peeked struct {
	net.Conn
	r io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func TestServesBehindAMux(t *testing.T) {
	s := rpc.NewServer(rpc.ServerOptions{})
	if err := rpc.Register(s, "test", newImpl()); err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() {
		first := make([]byte, len(rpc.Magic))
		if _, err := io.ReadFull(theirs, first); err != nil || string(first) != rpc.Magic {
			t.Errorf("first bytes %q, %v", first, err)
		}
		served <- s.ServeConn(&peeked{theirs, io.MultiReader(bytes.NewReader(first), theirs)})
	}()
	c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bind(t, c).Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := <-served; rpc.CodeOf(err) != rpc.CodeUnavailable {
		t.Errorf("served: %v", err)
	}
	_ = s.Close()
}

// Whatever happened, Close leaves no goroutine.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	leaky := rpctest.NewNetwork(11)
	for range 10 {
		i := newImpl()
		s := rpc.NewServer(rpc.ServerOptions{})
		if err := rpc.Register(s, "test", i); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve(l) }()
		p := rpc.NewPeer(rpc.PeerOptions{Address: l.Addr().String(), Client: rpc.ClientOptions{Dial: leaky.Dialer(nil)}, MinBackoff: time.Millisecond})
		svc := bind(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() { _, _ = svc.Block(ctx, &echoReq{}) })
			callers.Go(func() { _ = svc.Note(ctx, number(1)) })
		}
		eventually(t, "handlers run", func() bool { return i.running.Load() == 8 })
		leaky.Cut()
		callers.Wait()
		go func() { _, _ = svc.Block(ctx, &echoReq{}) }()
		eventually(t, "a handler runs again", func() bool { return i.running.Load() == 1 })
		cancel()
		_ = p.Close()
		_ = s.Close()
	}
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}
