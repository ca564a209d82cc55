package mux

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHTTP1IsToldByItsFirstBytes(t *testing.T) {
	for _, x := range []struct {
		prefix string
		want   Verdict
	}{
		{"G", More}, {"GET", More}, {"GET /", Yes}, {"M-SEARCH * ", Yes}, {"DELETE /v1", Yes},
		{"PRI", More}, {"PRI * HTTP/2", More}, {"PRI * HTTP/2.0\r\n", No}, {"PRI /x HTTP/1.1", Yes},
		{"RKV1", No}, {"get /", No}, {" GET", No}, {"\x16\x03\x01", No}, {strings.Repeat("A", 32), No}, {"-", No},
	} {
		if got := HTTP1([]byte(x.prefix)); got != x.want {
			t.Errorf("%q: got %d, want %d", x.prefix, got, x.want)
		}
	}
}

func TestHTTP2IsToldByItsPreface(t *testing.T) {
	for _, x := range []struct {
		prefix string
		want   Verdict
	}{
		{"P", More}, {"PRI * HTTP/2", More}, {"PRI * HTTP/2.0\r\n\r\nSM", Yes}, {"PRI /x HTTP/1.1", No}, {"GET /", No}, {"RKV1", No},
	} {
		if got := HTTP2([]byte(x.prefix)); got != x.want {
			t.Errorf("%q: got %d, want %d", x.prefix, got, x.want)
		}
	}
}

func start(t *testing.T) (*Mux, net.Listener, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := New(l, slog.New(slog.DiscardHandler))
	web := m.Listen(HTTP1)
	other := m.Listen(func(p []byte) Verdict {
		if len(p) < 4 {
			return More
		}
		if string(p[:4]) == "RKV1" {
			return Yes
		}
		return No
	})
	done := make(chan error, 1)
	go func() { done <- m.Serve() }()
	t.Cleanup(func() {
		_ = m.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return m, web, other
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// undecided is how many connections the mux has taken and not told apart yet.
func undecided(m *Mux) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pending.Len()
}

func TestEachProtocolGetsItsConnectionsWhole(t *testing.T) {
	_, web, other := start(t)
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.URL.Path)
	})}
	go func() { _ = srv.Serve(web) }()
	t.Cleanup(func() { _ = srv.Close() })
	resp, err := http.Get("http://" + web.Addr().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "hello /x" {
		t.Errorf("HTTP got %q", body)
	}

	c := dial(t, other)
	for _, b := range []byte("RKV1rest") { // one byte at a time, as a slow network might
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Close() }()
	buffer := make([]byte, 8)
	if _, err := io.ReadFull(got, buffer); err != nil || string(buffer) != "RKV1rest" {
		t.Errorf("the other protocol read %q, %v", buffer, err)
	}
}

func TestUnknownProtocolsAreClosed(t *testing.T) {
	_, web, _ := start(t)
	c := dial(t, web)
	if _, err := c.Write([]byte("\x16\x03\x01\x02nonsense")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a connection that should be closed", n)
	}
}

func TestCloseEndsSilentConnectionsAndListeners(t *testing.T) {
	m, web, other := start(t)
	c := dial(t, web)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{web, other} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection outlived the mux")
	}
}

func TestDrainServesWhoIsInAndRefusesWhoComes(t *testing.T) {
	m, web, _ := start(t)
	in := dial(t, web)
	// What the kernel alone has taken in breaks when the listener closes, and nobody can help that.
	for deadline := time.Now().Add(time.Minute); undecided(m) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is not taken")
		}
	}
	drained := make(chan error, 1)
	go func() { drained <- m.Drain(t.Context()) }()
	for {
		late, err := net.Dial("tcp", web.Addr().String())
		if err != nil {
			break // refused: the client knows that nothing was done for it
		}
		if err := late.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	got, err := web.Accept()
	if err != nil {
		t.Fatalf("a connection that was in before the drain got lost: %v", err)
	}
	defer func() { _ = got.Close() }()
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
}

func TestDrainDoesNotWaitForTheSilentForEver(t *testing.T) {
	m, web, _ := start(t)
	c := dial(t, web)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection outlived the drain")
	}
}

// callers is a listener to which so many connections come, each of which says at once that it is of the web, but the first ones, which say nothing.
type callers struct {
	net.Listener
	left     atomic.Int64
	silent   atomic.Int64
	accepted atomic.Int64
	closed   chan struct{}
	once     sync.Once
}

func (l *callers) Accept() (net.Conn, error) {
	if l.left.Add(-1) < 0 {
		<-l.closed
		return nil, net.ErrClosed
	}
	l.accepted.Add(1)
	ours, theirs := net.Pipe()
	if l.silent.Add(-1) < 0 {
		go func() { _, _ = io.WriteString(theirs, "GET / ") }()
	}
	return ours, nil
}

func (l *callers) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Who says nothing locks nobody out: the connections that have been silent for longest make room for those that come.
func TestTheSilentLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &callers{closed: make(chan struct{})}
		l.silent.Store(maxUndecided)
		const speaking = 10
		l.left.Store(maxUndecided + speaking)
		m := New(l, slog.New(slog.DiscardHandler))
		web := m.Listen(HTTP1)
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- m.Serve() }()
		for range speaking {
			c, err := web.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if took := time.Since(began); took > 2*silencePatience {
			t.Errorf("who spoke was locked out for %v", took)
		}
		synctest.Wait()
		if left := undecided(m); left < maxUndecided-speaking || left > maxUndecided {
			t.Errorf("%d silent connections are left", left)
		}
		_ = m.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// Whoever serves a protocol may be behind: then no more connections are taken than may wait to be told apart, and the one for which there is no place yet.
func TestConnectionsThatNobodyTakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &callers{closed: make(chan struct{})}
		l.left.Store(maxUndecided + 100)
		m := New(l, slog.New(slog.DiscardHandler))
		web := m.Listen(HTTP1)
		done := make(chan error, 1)
		go func() { done <- m.Serve() }()
		synctest.Wait()
		if n := l.accepted.Load(); n != maxUndecided+1 {
			t.Errorf("%d connections wait, %d may", n, maxUndecided+1)
		}
		c, err := web.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		synctest.Wait()
		if n := l.accepted.Load(); n != maxUndecided+2 {
			t.Errorf("%d connections were taken when one had gone on", n)
		}
		_ = m.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
