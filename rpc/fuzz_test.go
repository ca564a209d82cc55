package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// blob has a binary encoding of its own.
type blob struct{ data []byte }

func (b *blob) AppendBinary(to []byte) ([]byte, error) { return append(to, b.data...), nil }

func (b *blob) UnmarshalBinary(from []byte) error {
	b.data = append([]byte(nil), from...)
	return nil
}

type fuzzedService struct {
	Echo func(context.Context, *blob) (*blob, error)
	JSON func(context.Context, *bindRequest) (*bindRequest, error)
	Tell func(context.Context, *blob) error
}

// FuzzConnection lets a client that has greeted say anything: bytes as they are, then frames whose checksums are right and whose types
// and payloads are anything. The server neither hangs nor fails, and takes no more memory than what came is worth.
func FuzzConnection(f *testing.F) {
	bind, err := json.Marshal(bindRequest{Service: "fuzzed", VersionMin: 1, VersionMax: 1, Methods: map[string]*methodSignature{"Nothing": nil}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(frameBind), byte(0), bind, sealed(frameRequest, 0, 1, []byte{0, 0, 'x'}))
	f.Add(byte(frameRequest), byte(0), []byte{1, 0, '{', '}'}, sealed(frameOneWay, 0, 2, []byte{2, 0}))
	f.Add(byte(frameCancel), byte(1), []byte{}, sealed(framePing, 0, 0, make([]byte, 8)))
	f.Add(byte(framePong), byte(0), []byte{1}, []byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(byte(frameGoAway), byte(0), appendError(nil, Refusal("r", "t")), []byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0})
	f.Add(byte(99), byte(255), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{})
	f.Fuzz(func(t *testing.T, typ, flags byte, payload, raw []byte) {
		s := NewServer(ServerOptions{MaxFrameBytes: 1 << 20})
		defer func() { _ = s.Close() }()
		err := Register(s, "fuzzed", fuzzedService{
			Echo: func(_ context.Context, b *blob) (*blob, error) { return b, nil },
			JSON: func(_ context.Context, b *bindRequest) (*bindRequest, error) { return b, nil },
			Tell: func(context.Context, *blob) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(theirs) }()
		if _, err := clientHandshake(ours, nil, 1<<20); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		var svc bindRequest
		svc.Service, svc.VersionMin, svc.VersionMax = "fuzzed", 1, 1
		svc.Methods = map[string]*methodSignature{}
		body, err := json.Marshal(svc)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, b := range [][]byte{sealed(frameBind, 0, 1, body), sealed(frameType(typ), flags, 2, payload), raw} {
			if len(b) == 0 {
				continue
			}
			if _, err := ours.Write(b); err != nil {
				break // it has had enough
			}
		}
		_ = ours.Close()
		select {
		case err := <-served:
			if err == nil || err.Error() == "" {
				t.Fatal("a connection ended for no reason")
			}
		case <-time.After(time.Minute):
			t.Fatal("the server hangs")
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(4<<20+64*(len(payload)+len(raw))) {
			t.Fatalf("%d bytes of input took %d bytes", len(payload)+len(raw), got)
		}
	})
}

// FuzzAnswers lets a server that has greeted say anything to a client with a call under way, which ends.
func FuzzAnswers(f *testing.F) {
	f.Add(byte(frameResponse), byte(0), uint64(1), []byte(`{"methods":{"Echo":0,"JSON":1,"Tell":2}}`))
	f.Add(byte(frameError), byte(flagNotRun), uint64(1), appendError(nil, Refusal("r", "t")))
	f.Add(byte(frameError), byte(0), uint64(1), []byte{0})
	f.Add(byte(frameGoAway), byte(0), uint64(0), appendError(nil, Refusal("r", "t")))
	f.Add(byte(frameGoAway), byte(0), uint64(0), []byte{1, 0xff})
	f.Add(byte(frameRequest), byte(0), uint64(1), []byte{})
	f.Fuzz(func(t *testing.T, typ, flags byte, id uint64, payload []byte) {
		ours, theirs := net.Pipe()
		go func() {
			if _, err := serverHandshake(theirs, 1<<20, acceptAll); err != nil {
				return
			}
			in := &frameReader{r: bufio.NewReader(theirs), maxBytes: 1 << 20}
			for {
				f, err := in.read()
				if err != nil {
					return
				}
				if f.typ == frameBind {
					break
				}
			}
			_, _ = theirs.Write(sealed(frameType(typ), flags, id, payload))
			_ = theirs.Close()
		}()
		c, err := NewClient(t.Context(), ours, ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		var svc fuzzedService
		if err := Bind(c, "fuzzed", &svc); err != nil && err.Error() == "" {
			t.Fatal("an error without text")
		}
		<-c.Done()
	})
}
