package rpc

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// testPatience is how long a test waits for what must happen.
const testPatience = time.Minute

func soon(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testPatience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Who was allowed nothing makes the server hold no more than a bind takes, and who was may send as much as was agreed.
func TestAStrangersFramesAreSmall(t *testing.T) {
	noted := make(chan struct{}, 1)
	register := func(s *Server) {
		if err := Register(s, "notes", noteService{func(context.Context, *struct{}) error {
			noted <- struct{}{}
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
	}
	large := append([]byte("\x00\x00{}"), bytes.Repeat([]byte(" "), 4*strangerFrameBytes)...)
	for name, first := range map[string]frameType{"a bind": frameBind, "a message": frameOneWay, "a ping": framePing} {
		conn, _, served := rawClient(t, register)
		if _, err := conn.Write(sealed(first, 0, 1, large)[:frameHeaderBytes]); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err == nil || !strings.Contains(err.Error(), "past the limit") {
			t.Errorf("%s of a stranger: %v", name, err)
		}
	}
	conn, in, _ := rawClient(t, register)
	go func() { _, _ = io.Copy(io.Discard, in.r) }()
	bind := sealed(frameBind, 0, 1, []byte(`{"service":"notes","versionMin":1,"versionMax":1,"methods":{}}`))
	if _, err := conn.Write(append(bind, sealed(frameOneWay, 0, 0, large)...)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-noted:
	case <-time.After(testPatience):
		t.Error("a large message of who was allowed the service was not handled")
	}
}

// Connections that say nothing have places of their own, of which the oldest makes room.
func TestWhoSaysNothingLocksNobodyOut(t *testing.T) {
	const places, strangers = 3, 20
	s := NewServer(ServerOptions{MaxConns: places, HandshakeTimeout: time.Hour})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	var gone atomic.Int64
	for range strangers {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			_, _ = conn.Read(make([]byte, 1))
			gone.Add(1)
		}()
	}
	soon(t, "all but as many as have a place are ended", func() bool { return gone.Load() == strangers-places })
	for range places {
		c, err := Dial(t.Context(), l.Addr().String(), ClientOptions{})
		if err != nil {
			t.Fatalf("among %d who say nothing: %v", places, err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if _, err := Dial(t.Context(), l.Addr().String(), ClientOptions{}); CodeOf(err) != CodeExhausted {
		t.Errorf("one who has greeted more than there are places for: %v", err)
	}
}

// A stub that is bound for every call, as by who keeps none, costs the connection nothing.
func TestBindingAgainIsFree(t *testing.T) {
	s := NewServer(ServerOptions{})
	var asked atomic.Int64
	authorize := Authorize(func(context.Context, string, Metadata, net.Addr) error { asked.Add(1); return nil })
	for _, name := range []string{"notes", "others"} {
		if err := Register(s, name, noteService{func(context.Context, *struct{}) error { return nil }}, authorize); err != nil {
			t.Fatal(err)
		}
	}
	ours, theirs := net.Pipe()
	go func() { _ = s.ServeConn(theirs) }()
	c, err := NewClient(t.Context(), ours, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	for range 100 {
		for _, name := range []string{"notes", "others"} {
			var stub noteService
			if err := Bind(c, name, &stub); err != nil {
				t.Fatal(err)
			}
			if err := stub.Note(t.Context(), &struct{}{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.mu.Lock()
	remembered := len(c.bound)
	c.mu.Unlock()
	if remembered != 2 || asked.Load() != 2 {
		t.Errorf("the connection remembers %d bindings of 2 services, the server was asked %d times", remembered, asked.Load())
	}
	var stub noteService
	if err := Bind(c, "notes", &stub, Versions(2, 3)); ReasonOf(err) != ReasonVersion {
		t.Errorf("other versions of what is bound: %v", err)
	}
}

// A request that is taken back leaves room, also when nothing is left for the writer to take.
func TestWhoWaitsForRoomHearsOfWhatIsTakenBack(t *testing.T) {
	q := newSendQueue()
	if _, err := q.place(t.Context(), &buffer{b: make([]byte, SendQueueBytes), id: 1}, false); err != nil {
		t.Fatal(err)
	}
	placed := make(chan *Error, 1)
	go func() {
		_, err := q.place(t.Context(), &buffer{b: make([]byte, 1), id: 2}, false)
		placed <- err
	}()
	soon(t, "somebody waits", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.space != nil
	})
	if !q.remove(1) {
		t.Fatal("it is not there")
	}
	select {
	case err := <-placed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testPatience):
		t.Error("there is room, and nobody told who waits for it")
	}
}

// A server that takes connections and drops them is dialed as seldom as one that takes none. Time is virtual.
func TestAPeerThatIsDroppedAtOnceDialsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		p := NewPeer(PeerOptions{Address: "somewhere:1", Client: ClientOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			ours, theirs := net.Pipe()
			go func() {
				_, _ = serverHandshake(theirs, DefaultMaxFrameBytes, func(Metadata) (Metadata, error) { return nil, nil }) // the last one is broken off
				_ = theirs.Close()
			}()
			return ours, nil
		}}})
		time.Sleep(time.Minute)
		_ = p.Close()
		if n, most := dials.Load(), int64(2*time.Minute/DefaultMaxBackoff+20); n < 30 || n > most {
			t.Errorf("%d dials in a minute, want 30 to %d", n, most)
		}
	})
}

func TestTheBackgroundEndsWithTheServer(t *testing.T) {
	s := NewServer(ServerOptions{})
	ended := false
	s.Background(func(ctx context.Context) {
		<-ctx.Done()
		ended = true
	})
	if err := s.Shutdown(t.Context()); err != nil || !ended {
		t.Errorf("what runs in the background has ended: %t, %v", ended, err)
	}
	s.Background(func(context.Context) { t.Error("it runs on a server that is closed") })
	_ = s.Close()
}
