package secure

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/mux"
)

const (
	// maxUnreadBytes bounds what is still read of a member that is turned away.
	maxUnreadBytes = 64 << 10
	// maxShaking bounds the handshakes of members that connect, at a time: each costs memory, and the work for a signature. Past it the one that has
	// gone on for longest makes room: who begins one and says nothing more locks nobody out.
	maxShaking = 512
	// recordHeaderBytes are what who speaks TLS looks at first (RFC 8446 §5.1).
	recordHeaderBytes = 5
)

// peerListener is where members connect.
type peerListener struct {
	net.Listener
	peers *Peers
	how   config.Listen
}

func (l *peerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &incoming{Conn: c, listener: l}, nil
}

// incoming is a connection that a member has made.
type incoming struct {
	net.Conn // beneath TLS
	listener *peerListener
	begun    bool
	first    [1]byte
	unread   bool // the first byte, by the protocol
	// secured is there once TLS is spoken. Other goroutines than that which reads may end the connection before.
	secured atomic.Pointer[tls.Conn]
}

// Read finds out first what is spoken. It is called by one goroutine at a time.
func (c *incoming) Read(b []byte) (int, error) {
	if !c.begun {
		if err := c.begin(); err != nil {
			return 0, err
		}
		c.begun = true
	}
	if s := c.secured.Load(); s != nil {
		return s.Read(b)
	}
	return c.readRaw(b)
}

func (c *incoming) readRaw(b []byte) (int, error) {
	if !c.unread || len(b) == 0 {
		return c.Conn.Read(b)
	}
	c.unread = false
	return copy(b, c.first[:]), nil
}

func (c *incoming) Write(b []byte) (int, error) {
	if s := c.secured.Load(); s != nil {
		return s.Write(b)
	}
	return c.Conn.Write(b)
}

// CloseWrite ends what this side says.
func (c *incoming) CloseWrite() error {
	if s := c.secured.Load(); s != nil {
		return s.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *incoming) Close() error {
	if s := c.secured.Load(); s != nil {
		return s.Close()
	}
	return c.Conn.Close()
}

// begin reads the first byte and makes the handshake, or refuses in the caller's protocol.
func (c *incoming) begin() error {
	if _, err := io.ReadFull(c.Conn, c.first[:]); err != nil {
		return err
	}
	c.unread = true
	speaksTLS, how := mux.TLS(c.first[:]) == mux.Yes, c.listener.how
	var err error
	switch {
	case speaksTLS && how.TLS:
		err = c.shake()
	case speaksTLS:
		err = c.answerInPlain()
	case how.TLS && !how.Both:
		_ = c.listener.peers.plain.ServeConn(&raw{c}) // says what the caller was told
		err = errNeedsTLS
	default:
		return nil
	}
	switch {
	case errors.Is(err, io.EOF): // who only looks whether the port is open is no news
	case refused(err):
		c.listener.peers.complaints.log(sayRefusesUs, hostOf(c.RemoteAddr()), err)
	case err != nil:
		c.listener.peers.complaints.log(sayTurnedAway, hostOf(c.RemoteAddr()), err)
	}
	return err
}

// hostOf is who an address belongs to: its port is another one each time.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// errTooMany is of who takes long while many others come. Members try again soon.
var errTooMany = fmt.Errorf("it took longer than %d others that came behind it", maxShaking)

func (c *incoming) shake() error {
	p := c.listener.peers
	leave := p.shaking.enter(c.Conn)
	s := tls.Server(&raw{c}, p.server())
	c.secured.Store(s)
	err := s.Handshake()
	if err != nil {
		c.linger()
	}
	if leave() {
		return errTooMany
	}
	return withSubject(err)
}

// crowd bounds those who are at something at the same time. The zero value is empty.
type crowd struct {
	mu  sync.Mutex
	all list.List // of *crowded; those that came first in front
}

type crowded struct {
	net.Conn
	ended bool // it had to make room
}

// enter closes the connection that came first if there are too many. leave tells whether that became of this one.
func (c *crowd) enter(conn net.Conn) (leave func() (ended bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all.Len() >= maxShaking {
		oldest := c.all.Remove(c.all.Front()).(*crowded)
		oldest.ended = true
		_ = oldest.Close() // who reads from it finds that out
	}
	own := &crowded{Conn: conn}
	place := c.all.PushBack(own)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all.Remove(place) // nothing if it is out already
		return own.ended
	}
}

func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.Len()
}

// linger ends a connection whose last words have been said, and reads what its other side still says: closing with unread bytes in the kernel could destroy them.
func (c *incoming) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, maxUnreadBytes))
	}
}

// server is for members that connect: they must come from where their certificates say.
func (p *Peers) server() *tls.Config {
	c := p.keeper.server(nil)
	inner := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner(hello)
		if err != nil || p.keeper.files.FromAnywhere {
			return c, err
		}
		verify := c.VerifyConnection
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := verify(s); err != nil || len(s.PeerCertificates) == 0 {
				return err
			}
			return comesFrom(hello.Context(), p.dns, s.PeerCertificates[0], hello.Conn.RemoteAddr())
		}
		return c, nil
	}
	return c
}

// withSubject says whose certificate could not be verified.
func withSubject(err error) error {
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
		leaf := unverified.UnverifiedCertificates[0]
		return fmt.Errorf("its certificate, of %q by %q: %w", leaf.Subject, leaf.Issuer, err)
	}
	return err
}

// answerInPlain begins an answer in the protocol of members, by which the caller's side knows what speaks here.
func (c *incoming) answerInPlain() error {
	answer := make([]byte, recordHeaderBytes)
	copy(answer, rpc.Magic)
	if _, err := c.Conn.Write(answer); err == nil {
		c.linger()
	}
	return errPlainPort
}

// raw is the connection beneath TLS, with all that was said on it.
type raw struct{ *incoming }

func (r *raw) Read(b []byte) (int, error)  { return r.readRaw(b) }
func (r *raw) Write(b []byte) (int, error) { return r.Conn.Write(b) }
func (r *raw) Close() error                { return r.Conn.Close() }
