package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func sealed(t frameType, flags uint8, id uint64, payload []byte) []byte {
	f := newFrame()
	f.b = append(f.b, payload...)
	f.seal(t, flags, id)
	out := bytes.Clone(f.b)
	f.release()
	return out
}

func readOne(b []byte, limit int) (frame, error) {
	fr := frameReader{r: bufio.NewReader(bytes.NewReader(b)), maxBytes: limit}
	return fr.read()
}

func TestFrameRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 100, readStepBytes - 1, readStepBytes, 3*readStepBytes + 5} {
		payload := bytes.Repeat([]byte{7, 9}, size)[:size]
		f, err := readOne(sealed(frameError, flagNotRun, 1<<60, payload), DefaultMaxFrameBytes)
		if err != nil || f.typ != frameError || f.flags != flagNotRun || f.callID != 1<<60 || !bytes.Equal(f.payload.b, payload) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}

// Every bit of a frame is covered, and a damaged header is found without waiting for the bytes that it speaks of.
func TestEveryBitOfAFrameIsChecked(t *testing.T) {
	good := sealed(frameRequest, 0, 5, []byte("payload"))
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		var p *protocolError
		if _, err := readOne(bad, DefaultMaxFrameBytes); !errors.As(err, &p) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}

func TestTruncatedFrame(t *testing.T) {
	good := sealed(frameRequest, 0, 5, []byte("payload"))
	for n := range good {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := readOne(good[:n], DefaultMaxFrameBytes); !errors.Is(err, want) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestOversizedAndUnknownFrames(t *testing.T) {
	big := sealed(frameRequest, 0, 1, make([]byte, 70<<10))
	if _, err := readOne(big, 64<<10); err == nil || !strings.Contains(err.Error(), "frame of 71700 bytes is past the limit of 65536") {
		t.Fatal(err)
	}
	if _, err := readOne(sealed(frameTypeLast+1, 0, 1, nil), DefaultMaxFrameBytes); err == nil || !strings.Contains(err.Error(), "unknown type") {
		t.Fatal(err)
	}
}

// A header alone does not make the receiver allocate what it announces.
func TestHeaderAloneAllocatesLittle(t *testing.T) {
	whole := sealed(frameRequest, 0, 1, make([]byte, 15<<20))
	header := bytes.Clone(whole[:frameHeaderBytes+10])
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readOne(header, DefaultMaxFrameBytes); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4*readStepBytes {
		t.Fatalf("%d bytes were allocated", got)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(sealed(frameRequest, 0, 1, []byte("abc")))
	f.Add(sealed(framePing, 0, 0, make([]byte, 8)))
	f.Add(sealed(frameError, flagNotRun, 9, appendError(nil, Refusal("why", "text"))))
	f.Add(append(sealed(frameCancel, 0, 1, nil), sealed(frameOneWay, 0, 2, []byte{0, 0})...))
	f.Add(sealed(frameRequest, 0, 1, []byte("abc"))[:15])
	f.Fuzz(func(t *testing.T, data []byte) {
		fr := frameReader{r: bufio.NewReader(bytes.NewReader(data)), maxBytes: 1 << 20}
		for rest := data; ; {
			got, err := fr.read()
			if err != nil {
				return
			}
			again := sealed(got.typ, got.flags, got.callID, got.payload.b)
			if !bytes.HasPrefix(rest, again) {
				t.Fatalf("%x was read as what is written %x", rest, again)
			}
			rest = rest[len(again):]
			if got.typ == frameError {
				if e, err := decodeError(got.payload.b); err == nil && e.Error() == "" {
					t.Fatal("an error without text")
				}
			}
			got.payload.release()
		}
	})
}

// rawClient greets a server over a pipe and gives what is needed to speak frames by hand.
func rawClient(t *testing.T, register func(*Server)) (net.Conn, *frameReader, <-chan error) {
	s := NewServer(ServerOptions{})
	register(s)
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- s.ServeConn(theirs) }()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = s.Close()
	})
	if _, err := clientHandshake(ours, nil, DefaultMaxFrameBytes); err != nil {
		t.Fatal(err)
	}
	return ours, &frameReader{r: bufio.NewReader(ours), maxBytes: DefaultMaxFrameBytes}, served
}

type secretService struct {
	Tell func(context.Context, *struct{}) (*struct{}, error)
}

// Who goes past the stub gets no further than with it.
func TestServiceThatWasNotBoundDoesNotRun(t *testing.T) {
	conn, in, served := rawClient(t, func(s *Server) {
		err := Register(s, "secret", secretService{func(context.Context, *struct{}) (*struct{}, error) {
			t.Error("the handler ran")
			return &struct{}{}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := conn.Write(sealed(frameRequest, 0, 7, []byte("\x00\x00{}"))); err != nil {
		t.Fatal(err)
	}
	f, err := in.read()
	for err == nil && f.typ == framePing {
		f, err = in.read()
	}
	if err != nil || f.typ != frameError || f.flags != flagNotRun || f.callID != 7 {
		t.Fatalf("%+v, %v", f, err)
	}
	if e, err := decodeError(f.payload.b); err != nil || e.Code != CodeUnauthenticated {
		t.Fatalf("%v, %v", e, err)
	}
	if _, err := conn.Write(sealed(frameRequest, 0, 8, []byte("\x05\x00{}"))); err != nil { // no such method
		t.Fatal(err)
	}
	if err := <-served; err == nil || !strings.Contains(err.Error(), "request for unknown method 5") {
		t.Fatal(err)
	}
}

type noteService struct {
	Note func(context.Context, *struct{}) error
}

// What a client sends after it was told to go is not handled, also when it came with what was.
func TestNothingBeginsAfterTheEnd(t *testing.T) {
	var s *Server
	handled := 0
	conn, in, served := rawClient(t, func(server *Server) {
		s = server
		err := Register(s, "notes", noteService{func(context.Context, *struct{}) error {
			handled++
			s.DisconnectIf(func(Metadata) *Error { return Refusal("removed", "you were removed") })
			return nil
		}}, Inline())
		if err != nil {
			t.Fatal(err)
		}
	})
	bind := sealed(frameBind, 0, 1, []byte(`{"service":"notes","versionMin":1,"versionMax":1,"methods":{}}`))
	note := sealed(frameOneWay, 0, 0, []byte("\x00\x00{}"))
	if _, err := conn.Write(bytes.Join([][]byte{bind, note, note, note}, nil)); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := in.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.typ == frameGoAway {
			break
		}
	}
	if err := <-served; err == nil || handled != 1 {
		t.Fatalf("%d notes were handled, %v", handled, err)
	}
}

// Who pings but does not read is not told the reason, and goes all the same.
func TestWhoDoesNotListenGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{})
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(theirs) }()
		if _, err := clientHandshake(ours, nil, DefaultMaxFrameBytes); err != nil {
			t.Fatal(err)
		}
		pinging := make(chan struct{})
		go func() {
			defer close(pinging)
			for {
				if _, err := ours.Write(sealed(framePing, 0, 0, make([]byte, 8))); err != nil {
					return
				}
				time.Sleep(DefaultPingInterval / 2) // virtual
			}
		}()
		time.Sleep(time.Minute)
		began := time.Now()
		s.DisconnectIf(func(Metadata) *Error { return Refusal("removed", "you were removed") })
		if err := <-served; err == nil || time.Since(began) > 2*lingerTimeout {
			t.Errorf("it kept its connection for %v: %v", time.Since(began), err)
		}
		<-pinging
		_ = ours.Close()
		_ = s.Close()
	})
}

// A place is a stranger's for no longer than the server's own patience, whatever it asks for: all that it says of itself may be a lie.
func TestAStrangerCannotMakeTheServerPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{Authorize: func(context.Context, string, Metadata, net.Addr) error { return errors.New("who are you?") }})
		if err := Register(s, "notes", noteService{func(context.Context, *struct{}) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		began := time.Now()
		go func() { served <- s.ServeConn(theirs) }()
		if _, err := clientHandshake(ours, Metadata{metaPingInterval: maxAskedPingInterval.String()}, DefaultMaxFrameBytes); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, ours) }() // and says nothing to it
		if _, err := ours.Write(sealed(frameBind, 0, 1, []byte(`{"service":"notes","versionMin":1,"versionMax":1,"methods":{}}`))); err != nil {
			t.Fatal(err)
		}
		err := <-served
		if took := time.Since(began); took > DefaultIdleTimeout+2*DefaultPingInterval || !strings.Contains(err.Error(), "nothing heard") { // virtual
			t.Errorf("a client that was allowed nothing was given up after %v: %v", took, err)
		}
		_ = ours.Close()
		_ = s.Close()
	})
}

// A server that spares itself its pings while the client's come sends them once those do not, and gives the connection up when nothing comes at all.
func TestAServerPingsAClientThatFallsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{})
		if err := Register(s, "notes", noteService{func(context.Context, *struct{}) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(theirs) }()
		const interval = 10 * time.Second
		if _, err := clientHandshake(ours, Metadata{metaPingInterval: interval.String()}, DefaultMaxFrameBytes); err != nil {
			t.Fatal(err)
		}
		var pings []time.Time // when the server's came
		read := make(chan struct{})
		go func() {
			defer close(read)
			for in := (frameReader{r: bufio.NewReader(ours), maxBytes: DefaultMaxFrameBytes}); ; {
				f, err := in.read()
				if err != nil {
					return
				}
				if f.typ == framePing {
					pings = append(pings, time.Now())
				}
				f.payload.release()
			}
		}()
		if _, err := ours.Write(sealed(frameBind, 0, 1, []byte(`{"service":"notes","versionMin":1,"versionMax":1,"methods":{}}`))); err != nil {
			t.Fatal(err)
		}
		// Never at an instant at which the server looks, too: finding its reader at work on a ping, it sends one of its own, as it should.
		time.Sleep(interval / 4) // virtual
		for range 60 {
			time.Sleep(interval)
			if _, err := ours.Write(sealed(framePing, 0, 0, make([]byte, 8))); err != nil {
				t.Fatal(err)
			}
		}
		silent := time.Now()
		err := <-served
		if took := time.Since(silent); took < askedPingsPerTimeout*interval || took > (askedPingsPerTimeout+2)*interval || !strings.Contains(err.Error(), "nothing heard") {
			t.Errorf("a silent client was given up after %v: %v", took, err)
		}
		_ = ours.Close()
		<-read
		if len(pings) == 0 || pings[0].Before(silent) || pings[0].Sub(silent) > 3*interval {
			t.Errorf("%d pings of the server's, the first %v after the client fell silent", len(pings), pings[0].Sub(silent))
		}
		_ = s.Close()
	})
}

func TestServerEndsConnectionsThatBreakTheProtocol(t *testing.T) {
	for name, payload := range map[string][]byte{
		"answer from a client": sealed(frameResponse, 0, 1, nil),
		"no method":            sealed(frameRequest, 0, 1, nil),
		"no deadline":          sealed(frameRequest, 0, 1, []byte{0}),
		"damaged":              append(sealed(framePing, 0, 1, nil)[:19], 0xff),
	} {
		conn, _, served := rawClient(t, func(s *Server) {
			if err := Register(s, "secret", secretService{func(context.Context, *struct{}) (*struct{}, error) { return nil, nil }}); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := conn.Write(payload); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err == nil || !strings.Contains(err.Error(), "protocol error") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// duplex reads from one buffer and writes to another.
type duplex struct {
	io.Reader
	bytes.Buffer
}

func (d *duplex) Read(p []byte) (int, error)  { return d.Reader.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.Buffer.Write(p) }

func hello(t testing.TB, g greeting, md Metadata) []byte {
	body, err := appendMetadata(nil, md)
	if err != nil {
		t.Fatal(err)
	}
	g.body = body
	return g.append(nil)
}

func goodHello(t testing.TB) []byte {
	return hello(t, greeting{versionMax: 1, versionMin: 1, maxFrameBytes: 1 << 20}, Metadata{"a": "1", "b": ""})
}

func acceptAll(Metadata) (Metadata, error) { return Metadata{"s": "x"}, nil }

func TestHandshake(t *testing.T) {
	toServer := &duplex{Reader: bytes.NewReader(goodHello(t))}
	hs, err := serverHandshake(toServer, 2<<20, func(md Metadata) (Metadata, error) {
		if len(md) != 2 || md["a"] != "1" {
			t.Errorf("metadata %v", md)
		}
		return Metadata{"s": "x"}, nil
	})
	if err != nil || hs.maxSendBytes != 1<<20 {
		t.Fatalf("server: %+v, %v", hs, err)
	}
	hs, err = clientHandshake(&duplex{Reader: &toServer.Buffer}, nil, 1<<20)
	if err != nil || hs.remote["s"] != "x" || hs.maxSendBytes != 1<<20 {
		t.Fatalf("client: %+v, %v", hs, err)
	}
}

func TestBadGreetings(t *testing.T) {
	good := goodHello(t)
	damaged := bytes.Clone(good)
	damaged[len(damaged)-6] ^= 1
	oversized := bytes.Clone(good)
	oversized[12] = 0xff
	for name, c := range map[string]struct {
		in      []byte
		text    string
		refused bool // the client is told
	}{
		"other protocol":  {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), `it began with "GET ", not "RKV1"`, false},
		"short":           {[]byte("SSH-"), `it began with "SSH-"`, false},
		"truncated":       {good[:len(good)-3], "unexpected EOF", false},
		"damaged":         {damaged, "checksum of the greeting", false},
		"oversized":       {oversized, "past the limit", false},
		"newer version":   {hello(t, greeting{versionMax: 9, versionMin: 7, maxFrameBytes: 1 << 20}, nil), "the client speaks wire versions 7 to 9, this server 1 to 1", true},
		"too small frame": {hello(t, greeting{versionMax: 1, versionMin: 1, maxFrameBytes: 5}, nil), "frames of only 5 bytes", true},
		"bad metadata": {(&greeting{versionMax: 1, versionMin: 1, maxFrameBytes: 1 << 20, body: []byte{200, 1}}).append(nil),
			"malformed metadata", true},
	} {
		d := &duplex{Reader: bytes.NewReader(c.in)}
		_, err := serverHandshake(d, 1<<20, acceptAll)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: server: %v", name, err)
		}
		if !c.refused {
			if d.Len() > 0 {
				t.Errorf("%s: the server answered %q", name, d.String())
			}
			continue
		}
		_, err = clientHandshake(&duplex{Reader: &d.Buffer}, nil, 1<<20)
		if err == nil || !strings.Contains(err.Error(), c.text) || !NotSent(err) {
			t.Errorf("%s: client: %v", name, err)
		}
	}
	if _, err := clientHandshake(&duplex{Reader: strings.NewReader("HTTP/1.1 400 Bad Request\r\n\r\n")}, nil, 1<<20); !errors.Is(err, errNotRPC) {
		t.Errorf("client against a web server: %v", err)
	}
	chosen := greeting{versionMax: 2, versionMin: 1, maxFrameBytes: 1 << 20, body: []byte{0}}
	if _, err := clientHandshake(&duplex{Reader: bytes.NewReader(chosen.append(nil))}, nil, 1<<20); err == nil || !strings.Contains(err.Error(), "chose wire version 2, this client speaks 1 to 1") {
		t.Errorf("client: %v", err)
	}
}

func TestMetadataIsBounded(t *testing.T) {
	many := Metadata{}
	for i := range MaxMetadataEntries + 1 {
		many[strings.Repeat("k", i+1)] = ""
	}
	for name, md := range map[string]Metadata{"entries": many, "bytes": {"k": strings.Repeat("v", maxMetadataBytes)}} {
		if _, err := clientHandshake(&duplex{Reader: strings.NewReader("")}, md, 1<<20); CodeOf(err) != CodeTooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(goodHello(f))
	f.Add(hello(f, greeting{versionMax: 9, versionMin: 7, maxFrameBytes: 1 << 20}, nil))
	f.Add((&greeting{versionMax: 1, versionMin: 1, flags: greetingRefused, maxFrameBytes: 1 << 20, body: appendError(nil, Refusal("r", "t"))}).append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if hs, err := serverHandshake(&duplex{Reader: bytes.NewReader(data)}, 1<<20, acceptAll); err == nil && hs.maxSendBytes > 1<<20 {
			t.Fatal("a limit above our own")
		}
		if hs, err := clientHandshake(&duplex{Reader: bytes.NewReader(data)}, nil, 1<<20); err == nil && len(hs.remote) > MaxMetadataEntries {
			t.Fatal("too much metadata")
		}
	})
}
