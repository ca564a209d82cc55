package mux

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
)

// FuzzHTTP1 asks the matcher about ever longer first bytes: once it has decided it must not change its mind, it must decide
// by MaxPrefixBytes, and it must know every request line that net/http would take.
func FuzzHTTP1(f *testing.F) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI / HTTP/1.1", "M-SEARCH * HTTP/1.1", "rkrpc\x01", "\x16\x03\x01", " ", "A"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		first = first[:min(len(first), MaxPrefixBytes)]
		decided := More
		for n := 1; n <= len(first); n++ {
			v := HTTP1(first[:n])
			if decided != More && v != decided {
				t.Fatalf("%q is judged %d, its beginning was judged %d", first[:n], v, decided)
			}
			decided = v
		}
		if len(first) == MaxPrefixBytes && decided == More {
			t.Fatalf("undecided after %q", first)
		}
		if decided == Yes && bytes.HasPrefix(first, http2Preface) {
			t.Fatalf("%q is taken for HTTP/1", first)
		}
	})
}

// FuzzConnection sends any bytes in two parts: whoever gets the connection reads all of them, and they are right for it.
func FuzzConnection(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(3))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), uint8(10))
	f.Add([]byte("something else"), uint8(0))
	f.Fuzz(func(t *testing.T, sent []byte, cut uint8) {
		m := New(nil, slog.New(slog.DiscardHandler))
		routes := map[*route]Matcher{}
		for _, match := range []Matcher{HTTP1, everything} {
			r, ok := m.Listen(match).(*route)
			if !ok {
				t.Fatal("a listener of another type")
			}
			routes[r] = match
		}
		client, server := net.Pipe()
		go func() {
			n := int(cut) % (len(sent) + 1)
			_, _ = client.Write(sent[:n])
			_, _ = client.Write(sent[n:])
			_ = client.Close()
		}()
		r, prefix := m.decide(server)
		defer server.Close()
		if !bytes.HasPrefix(sent, prefix) {
			t.Fatalf("%q was sniffed of %q", prefix, sent)
		}
		if r == nil {
			if len(prefix) != len(sent) {
				t.Fatalf("given up after %q of %q", prefix, sent)
			}
			return
		}
		if routes[r](prefix) != Yes {
			t.Fatalf("%q went to a protocol that does not know it", prefix)
		}
		got, err := io.ReadAll(&conn{Conn: server, unread: prefix})
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%q arrived as %q, %v", sent, got, err)
		}
	})
}

func everything([]byte) Verdict { return Yes }
