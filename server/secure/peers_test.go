package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/certificates"
)

// side is one member's end of the connections of a test.
type side struct {
	*Peers
	log *logBuffer
}

func newSide(t *testing.T, files config.TLS) side {
	t.Helper()
	s := side{log: new(logBuffer)}
	var err error
	if s.Peers, err = OpenPeers(files, slog.New(slog.NewTextHandler(s.log, nil))); err != nil {
		t.Fatal(err)
	}
	return s
}

// mutual is the TLS of a member with this certificate that asks for one of the authority.
func mutual(p certificates.Pair, ca string) config.TLS {
	return config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca, MinVersion: tls.VersionTLS12}
}

// listen answers what comes with the same, and returns the port.
func (s side) listen(t *testing.T, how config.Listen) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	secured := s.Listen(l, how)
	go func() {
		defer close(ended)
		for {
			c, err := secured.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			b := make([]byte, 1)
			if _, err := c.Read(b); err == nil {
				_, _ = c.Write(b)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// call sends a byte to a member and reads it.
func (s side) call(t *testing.T, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := s.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte{7}); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// awaitLog waits for words in a log: the other side writes it after this one has gone on.
func (s side) awaitLog(t *testing.T, words string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(s.log.String(), words); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q is not in the log:\n%s", words, s.log)
		}
	}
}

var overTLS = config.Listen{TLS: true}

// TestMembersAreToldWhyTheyAreRefused by those who call and by those who are called, on both sides.
func TestMembersAreToldWhyTheyAreRefused(t *testing.T) {
	ca, other := certificates.New(t, "ca"), certificates.New(t, "other")
	issue := func(name string, hosts ...string) certificates.Pair {
		return ca.IssueFor(t, t.TempDir(), name, hosts...)
	}
	own, stolen, crl := issue("member", "127.0.0.1"), issue("stolen", "127.0.0.1"), filepath.Join(t.TempDir(), "crl.pem")
	ca.Revoke(t, crl, stolen)
	foreign := other.IssueFor(t, t.TempDir(), "foreign", "127.0.0.1")
	strict := func(change func(*config.TLS)) config.TLS {
		files := mutual(own, ca.File)
		change(&files)
		return files
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	bundle(t, both, ca.File, other.File)
	for _, x := range []struct {
		name           string
		caller, called config.TLS
		// callersError is what the caller gets, callersLog and calledLog are what is logged.
		callersError, callersLog, calledLog string
	}{
		{"one authority", mutual(own, ca.File), mutual(issue("b", "127.0.0.1"), ca.File), "", "", ""},
		{"no names at all", mutual(issue("x"), ca.File), mutual(own, ca.File), "", "", ""},
		{"a caller of another authority", mutual(foreign, both), mutual(own, ca.File),
			"refuses this node's certificate: remote error: tls: unknown certificate authority", sayRefusesUs, "CN=foreign"},
		{"called of another authority", mutual(own, ca.File), mutual(foreign, both), "certificate signed by unknown authority", sayNotReached, sayRefusesUs},
		{"a caller without a certificate", config.TLS{}, mutual(own, ca.File), "certificate signed by unknown authority", sayNotReached, sayRefusesUs},
		{"called by another name", mutual(own, ca.File), mutual(issue("b", "elsewhere.example"), ca.File), "cannot validate certificate for 127.0.0.1", sayNotReached, sayRefusesUs},
		{"calling from another place", mutual(issue("x", "192.0.2.1"), ca.File), mutual(own, ca.File), "bad certificate", sayRefusesUs, "192.0.2.1"},
		{"from anywhere", mutual(issue("x", "192.0.2.1"), ca.File), strict(func(c *config.TLS) { c.FromAnywhere = true }), "", "", ""},
		{"a caller of another name", mutual(issue("x", "127.0.0.1"), ca.File), strict(func(c *config.TLS) { c.AllowedNames = []string{"a", "b"} }),
			"bad certificate", sayRefusesUs, `the certificate is of \"x\"`},
		{"a caller of one of the names", mutual(issue("b", "127.0.0.1"), ca.File), strict(func(c *config.TLS) { c.AllowedNames = []string{"a", "b"} }), "", "", ""},
		{"called with another name", strict(func(c *config.TLS) { c.AllowedNames = []string{"member"} }), mutual(issue("x", "127.0.0.1"), ca.File),
			`the certificate is of "x"`, sayNotReached, sayRefusesUs},
		{"a caller for another host", mutual(issue("x", "127.0.0.1", "b.example"), ca.File), strict(func(c *config.TLS) { c.AllowedHosts = []string{"a.example"} }),
			"bad certificate", sayRefusesUs, "a.example"},
		{"a caller for one of the hosts", mutual(issue("x", "127.0.0.1", "*.a.example"), ca.File), strict(func(c *config.TLS) { c.AllowedHosts = []string{"x", "m.a.example"} }), "", "", ""},
		{"a caller that was revoked", mutual(stolen, ca.File), strict(func(c *config.TLS) { c.CRLFile = crl }), "bad certificate", sayRefusesUs, "was revoked by"},
		{"called that was revoked", strict(func(c *config.TLS) { c.CRLFile = crl }), mutual(stolen, ca.File), "was revoked by", sayNotReached, sayRefusesUs},
		{"not revoked", mutual(own, ca.File), strict(func(c *config.TLS) { c.CRLFile = crl }), "", "", ""},
		{"another certificate to those who are called", strict(func(c *config.TLS) {
			c.CertFile, c.KeyFile, c.ClientCertFile, c.ClientKeyFile = foreign.CertFile, foreign.KeyFile, own.CertFile, own.KeyFile
		}), mutual(own, ca.File), "", "", ""},
		{"nobody is asked", mutual(foreign, ca.File), mutual(own, ""), "", "", ""},
		{"older TLS", strict(func(c *config.TLS) { c.MaxVersion = tls.VersionTLS12 }), strict(func(c *config.TLS) { c.MinVersion = tls.VersionTLS13 }),
			"protocol version not supported", sayNotReached, "unsupported versions"},
	} {
		t.Run(x.name, func(t *testing.T) {
			caller, called := newSide(t, x.caller), newSide(t, x.called)
			err := caller.call(t, "https://127.0.0.1:"+called.listen(t, overTLS))
			if x.callersError == "" {
				if err != nil || caller.log.String()+called.log.String() != "" {
					t.Fatalf("%v\n%s\n%s", err, caller.log, called.log)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), x.callersError) {
				t.Errorf("%v, want %q", err, x.callersError)
			}
			caller.awaitLog(t, x.callersLog)
			called.awaitLog(t, x.calledLog)
		})
	}
}

// TestWhoIsTurnedAwayHearsWhyWhateverItStillSays: what nobody reads must not reset the connection, with the reason on it.
func TestWhoIsTurnedAwayHearsWhyWhateverItStillSays(t *testing.T) {
	ca, other, trusted := certificates.New(t, "ca"), certificates.New(t, "other"), filepath.Join(t.TempDir(), "both.pem")
	bundle(t, trusted, ca.File, other.File)
	caller := newSide(t, mutual(other.Issue(t, t.TempDir(), "x"), trusted))
	called := newSide(t, mutual(ca.Issue(t, t.TempDir(), "y"), ca.File))
	conn, err := caller.Dial(t.Context(), "tcp", "https://127.0.0.1:"+called.listen(t, overTLS))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for n := range 50 {
		if _, err := conn.Write([]byte{7}); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		time.Sleep(time.Millisecond) // for what comes back
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Error(err)
	}
}

// bundle writes the authorities of several files to one.
func bundle(t *testing.T, to string, files ...string) {
	t.Helper()
	var all []byte
	for _, f := range files {
		all = append(all, contentOf(t, f)...)
	}
	replace(t, to, all)
}

// TestPlainTextAndTLSMeet: each side says what the other speaks.
func TestPlainTextAndTLSMeet(t *testing.T) {
	ca := certificates.New(t, "ca")
	files := mutual(ca.Issue(t, t.TempDir(), "member"), ca.File)
	secured, plain := newSide(t, files), newSide(t, config.TLS{})

	port := secured.listen(t, overTLS)
	_, err := rpc.Dial(t.Context(), "127.0.0.1:"+port, rpc.ClientOptions{Dial: plain.Dial})
	if rpc.ReasonOf(err) != "TLSNeeded" || !strings.Contains(err.Error(), "this port has TLS") {
		t.Errorf("without TLS: %v", err)
	}
	secured.awaitLog(t, "this port has TLS")

	for how, want := range map[config.Listen]string{{}: "it speaks without TLS", {TLS: true, Both: true}: ""} {
		called := newSide(t, files)
		err = secured.call(t, "https://127.0.0.1:"+called.listen(t, how))
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v by TLS: %v", how, err)
		}
		if want != "" {
			secured.awaitLog(t, want)
			called.awaitLog(t, "it speaks TLS, and this port has none")
		}
		if err := plain.call(t, "127.0.0.1:"+called.listen(t, how)); err != nil {
			t.Errorf("%+v without TLS: %v", how, err)
		}
	}
}

// TestSomethingElseThatListens is not taken for a member without TLS.
func TestSomethingElseThatListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	answers := []string{"HTTP/1.1 400 Bad Request\r\n\r\n", ""}
	go func() {
		for _, a := range answers {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1<<16))
			_, _ = io.WriteString(c, a)
			_ = c.Close()
		}
	}()
	s := newSide(t, config.TLS{})
	for i, want := range []string{"speaks no TLS", "without a word"} {
		if err := s.call(t, "https://"+l.Addr().String()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", answers[i], err, want)
		}
	}
}

// pipes is a listener whose connections are in memory.
type pipes struct{ come chan net.Conn }

func (p pipes) Accept() (net.Conn, error) { return <-p.come, nil }
func (pipes) Close() error                { return nil }
func (pipes) Addr() net.Addr              { return &net.TCPAddr{} }

// TestHandshakesAtATimeAreBounded, and who begins one and says nothing more locks nobody out: the one that has gone on for longest makes room.
func TestHandshakesAtATimeAreBounded(t *testing.T) {
	s := newSide(t, config.TLS{SelfSigned: time.Hour, MinVersion: tls.VersionTLS12})
	come := make(chan net.Conn)
	l := s.Listen(pipes{come}, overTLS)
	// begin begins a handshake that goes on until the connection is closed.
	begin := func() (caller net.Conn, ended chan error) {
		caller, called := net.Pipe()
		go func() { come <- called }()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		if _, err := caller.Write([]byte{0x16}); err != nil {
			t.Fatal(err)
		}
		return caller, ended
	}
	reaches := func(n int) {
		t.Helper()
		for end := time.Now().Add(patience); s.shaking.size() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d handshakes, want %d", s.shaking.size(), n)
			}
		}
	}
	_, first := begin()
	reaches(1)
	var callers []net.Conn
	var all []chan error
	for range maxShaking - 1 {
		caller, ended := begin()
		callers, all = append(callers, caller), append(all, ended)
	}
	reaches(maxShaking)
	caller, called := net.Pipe()
	go func() { come <- called }()
	last, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = last.Read(make([]byte, 1)) }()
	secured := tls.Client(caller, s.client("127.0.0.1"))
	if err := secured.HandshakeContext(t.Context()); err != nil {
		t.Errorf("one more: %v", err)
	}
	select {
	case err := <-first:
		if !errors.Is(err, errTooMany) {
			t.Errorf("the first: %v", err)
		}
	case <-time.After(patience):
		t.Error("the first goes on")
	}
	for _, c := range callers {
		_ = c.Close()
	}
	for _, ended := range all {
		if err := <-ended; err == nil || errors.Is(err, errTooMany) {
			t.Error(err)
		}
	}
	reaches(0)
}

// TestMembersThatMakeTheirCertificates take each other, and are told apart from those who ask for better ones.
func TestMembersThatMakeTheirCertificates(t *testing.T) {
	auto := config.TLS{SelfSigned: time.Hour, Hosts: []string{"elsewhere", "192.0.2.1"}, MinVersion: tls.VersionTLS12}
	a, b := newSide(t, auto), newSide(t, auto)
	if err := a.call(t, "https://127.0.0.1:"+b.listen(t, overTLS)); err != nil {
		t.Error(err)
	}
	ca := certificates.New(t, "ca")
	strict := newSide(t, mutual(ca.Issue(t, t.TempDir(), "member"), ca.File))
	if err := a.call(t, "https://127.0.0.1:"+strict.listen(t, overTLS)); err == nil {
		t.Error("a member that asks for certificates takes one that nobody has signed")
	}
}

// TestMembersTakeNewAuthorities in the order in which they are rotated: both, new certificates, the new one alone.
func TestMembersTakeNewAuthorities(t *testing.T) {
	first, second, trusted := certificates.New(t, "first"), certificates.New(t, "second"), filepath.Join(t.TempDir(), "ca.pem")
	bundle(t, trusted, first.File)
	dirs := []string{t.TempDir(), t.TempDir()}
	a := newSide(t, mutual(first.Issue(t, dirs[0], "a"), trusted))
	b := newSide(t, mutual(first.Issue(t, dirs[1], "b"), trusted))
	old := newSide(t, mutual(first.Issue(t, t.TempDir(), "old"), first.File))
	port := b.listen(t, overTLS)
	reach := func() {
		t.Helper()
		if err := a.call(t, "https://127.0.0.1:"+port); err != nil {
			t.Error(err)
		}
	}
	reach()
	bundle(t, trusted, first.File, second.File)
	reach()
	for _, dir := range dirs {
		second.Issue(t, dir, "new")
		reach()
	}
	bundle(t, trusted, second.File)
	reach()
	old.keeper.files.TrustedCAFile = second.File // it knows the others, and they do not know it
	if err := old.call(t, "https://127.0.0.1:"+port); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("a certificate of the old authority: %v", err)
	}
}

// TestACertificateThatIsForServersAlone is told of at the start: members refuse it when they are called.
func TestACertificateThatIsForServersAlone(t *testing.T) {
	ca := certificates.New(t, "ca")
	p := ca.IssueServer(t, t.TempDir(), "server", "127.0.0.1")
	newSide(t, mutual(p, ca.File)).awaitLog(t, "extended key usage")
}

// TestAMemberThatTriesAllTheTimeIsToldOfNowAndThen, and no more than a bound of others is remembered.
func TestAMemberThatTriesAllTheTimeIsToldOfNowAndThen(t *testing.T) {
	log := new(logBuffer)
	c := newComplaints(slog.New(slog.NewTextHandler(log, nil)))
	for range 100 {
		c.log("refused", "a", io.EOF)
	}
	c.log("refused", "a", io.ErrUnexpectedEOF)
	c.log("refused", "b", io.EOF)
	if n := strings.Count(log.String(), "refused"); n != 3 {
		t.Errorf("%d lines\n%s", n, log)
	}
	for i := range 10 * maxRemembered {
		c.log("refused", strings.Repeat("x", i), io.EOF)
	}
	if n := strings.Count(log.String(), "refused"); n > maxRemembered || len(c.said) > maxRemembered {
		t.Errorf("%d lines, %d remembered", n, len(c.said))
	}
}
