package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/certificates"
)

const patience = 60 * time.Second

// logBuffer is written by the server and read by the test.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// server answers each connection with a byte, and keeps what is logged.
func server(t *testing.T, files config.TLS) (address string, log *logBuffer) {
	t.Helper()
	log = new(logBuffer)
	k, err := Open(files, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	secured := Listen(l, k)
	go func() {
		defer close(ended)
		for {
			c, err := secured.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); err == nil {
				answer := "g"
				if c.(*Conn).OffersWeb() {
					answer = "w"
				}
				_, _ = io.WriteString(c, answer)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String(), log
}

// ask shakes hands and returns the name in the server's certificate and its answer.
func ask(t *testing.T, address string, c *tls.Config) (name, answer string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	name = conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	if _, err := conn.Write([]byte{0}); err != nil {
		return name, "", err
	}
	b := make([]byte, 1)
	_, err = io.ReadFull(conn, b)
	return name, string(b), err
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	ca, dir := certificates.New(t, "ca"), t.TempDir()
	p := ca.Issue(t, dir, "first")
	address, log := server(t, config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, MinVersion: tls.VersionTLS12})
	want := func(name string) {
		t.Helper()
		if got, _, err := ask(t, address, &tls.Config{RootCAs: ca.Pool}); err != nil || got != name {
			t.Errorf("%q, %v; want %q", got, err, name)
		}
	}
	want("first")
	// Of a new pair one file comes first: the old pair stays in use, and once a change is enough to say so.
	next := ca.Issue(t, t.TempDir(), "second")
	move(t, next.CertFile, p.CertFile)
	want("first")
	want("first")
	if n := strings.Count(log.String(), "of no use yet"); n != 1 {
		t.Errorf("%d lines of half a pair\n%s", n, log)
	}
	move(t, next.KeyFile, p.KeyFile)
	want("second")
	if err := os.Remove(p.KeyFile); err != nil {
		t.Fatal(err)
	}
	want("second")
	ca.Issue(t, dir, "third")
	want("third")
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyClientsOfTheAuthorityGetIn(t *testing.T) {
	ca, other, clients := certificates.New(t, "ca"), certificates.New(t, "other"), filepath.Join(t.TempDir(), "clients.pem")
	p := ca.Issue(t, t.TempDir(), "server")
	mine, theirs := ca.Issue(t, t.TempDir(), "mine"), other.Issue(t, t.TempDir(), "theirs")
	copyFile(t, ca.File, clients)
	address, log := server(t, config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: clients, MinVersion: tls.VersionTLS12})
	cache := tls.NewLRUClientSessionCache(8)
	with := func(show ...tls.Certificate) error {
		_, _, err := ask(t, address, &tls.Config{RootCAs: ca.Pool, Certificates: show, ClientSessionCache: cache})
		return err
	}
	if err := with(mine.Certificate); err != nil {
		t.Errorf("a certificate of the authority: %v", err)
	}
	if with() == nil || with(theirs.Certificate) == nil {
		t.Error("a client without a certificate of the authority gets in")
	}
	// Another authority: who was let in before is not any more, whatever is remembered of it.
	copyFile(t, other.File, clients)
	if with(mine.Certificate) == nil || with(theirs.Certificate) != nil {
		t.Error("the authorities were not read again")
	}
	for end := time.Now().Add(patience); !strings.Contains(log.String(), "handshake failed"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing is said of who was turned away\n%s", log)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	replace(t, to, contentOf(t, from))
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replace puts another file in the place of one, as who renews certificates does.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	err := os.WriteFile(path+".new", content, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatClientsOffer(t *testing.T) {
	ca := certificates.New(t, "ca")
	p := ca.Issue(t, t.TempDir(), "server")
	address, _ := server(t, config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, MinVersion: tls.VersionTLS13})
	for offer, want := range map[string]string{"h2": "g", "h2,http/1.1": "w", "http/1.1,h2": "w", "http/1.1": "g", "": "g"} {
		c := &tls.Config{RootCAs: ca.Pool}
		if offer != "" {
			c.NextProtos = strings.Split(offer, ",")
		}
		if _, got, err := ask(t, address, c); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", offer, got, err, want)
		}
	}
	if _, _, err := ask(t, address, &tls.Config{RootCAs: ca.Pool, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is spoken where 1.3 was asked for")
	}
}

func TestFilesThatAreOfNoUse(t *testing.T) {
	ca, dir := certificates.New(t, "ca"), t.TempDir()
	p, q := ca.Issue(t, t.TempDir(), "p"), ca.Issue(t, t.TempDir(), "q")
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, x := range []struct {
		files config.TLS
		want  []string
	}{
		{config.TLS{CertFile: missing, KeyFile: p.KeyFile}, []string{missing, "no such file"}},
		{config.TLS{CertFile: p.CertFile, KeyFile: dir}, []string{dir, "is a directory"}},
		{config.TLS{CertFile: p.CertFile, KeyFile: q.KeyFile}, []string{p.CertFile, q.KeyFile, "does not match"}},
		{config.TLS{CertFile: empty, KeyFile: p.KeyFile}, []string{empty, "PEM"}},
		{config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: empty}, []string{empty, "no certificate of an authority"}},
		{config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: missing}, []string{missing, "no such file"}},
	} {
		_, err := Open(x.files, slog.New(slog.DiscardHandler))
		for _, want := range x.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", x.files, err, want)
			}
		}
	}
}

// What failed may have been the reading, of files that are what they should be: nothing about them changes when they can be read again.
func TestFilesThatCouldNotBeReadAreReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := certificates.New(t, "ca").Issue(t, t.TempDir(), "server")
		good, err := os.ReadFile(p.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		log := new(logBuffer)
		k, err := Open(config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile}, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		first, later := k.current(), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
		put := func(content []byte) {
			t.Helper()
			if err := os.WriteFile(p.CertFile, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(p.CertFile, later, later); err != nil {
				t.Fatal(err)
			}
		}
		put(make([]byte, len(good)))
		for range 3 {
			if k.current() != first {
				t.Fatal("files of no use are in use")
			}
			time.Sleep(retryPause)
		}
		if n := strings.Count(log.String(), "of no use yet"); n != 1 {
			t.Errorf("said %d times", n)
		}
		put(good)
		time.Sleep(retryPause)
		if k.current() == first {
			t.Error("what can be read again is not in use")
		}
	})
}
