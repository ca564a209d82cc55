package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// Handshakes that fail are logged at this rate, and so many at once; the rest of them only when everything is.
const (
	failuresPerSecond = 1
	failuresAtOnce    = 10
)

// The protocols that are agreed on in the handshake (RFC 7301).
const (
	protocolHTTP2 = "h2"
	protocolHTTP1 = "http/1.1"
)

// Listen puts TLS on a listener's connections, which are *Conn. The handshake is made by the first Read. Clients that know HTTP/2 speak it; those
// that offer nothing, as native ones, speak what they like.
func Listen(l net.Listener, k *Keeper) net.Listener {
	return &listener{l, k.server([]string{protocolHTTP2, protocolHTTP1}), k.logger, rate.NewLimiter(failuresPerSecond, failuresAtOnce)}
}

// Web puts TLS on the connections of an HTTP server, which makes the handshakes itself and bounds their time.
func (k *Keeper) Web(l net.Listener) net.Listener {
	return tls.NewListener(l, k.server([]string{protocolHTTP2, protocolHTTP1}))
}

type listener struct {
	net.Listener
	config  *tls.Config
	logger  *slog.Logger
	limiter *rate.Limiter
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h := &hearing{Conn: c}
	return &Conn{Conn: tls.Server(h, l.config), hearing: h, listener: l}, nil
}

// hearing notes what a client offers.
type hearing struct {
	net.Conn
	web bool
}

func (h *hearing) heard(hello *tls.ClientHelloInfo) {
	h.web = slices.Contains(hello.SupportedProtos, protocolHTTP2) && slices.Contains(hello.SupportedProtos, protocolHTTP1)
}

// Conn is a connection with TLS.
type Conn struct {
	*tls.Conn
	hearing  *hearing
	listener *listener
	shaken   bool
}

// Read makes the handshake first. It is called by one goroutine at a time.
func (c *Conn) Read(b []byte) (int, error) {
	if !c.shaken {
		if err := c.Handshake(); err != nil {
			c.listener.failed(c, err)
			return 0, err
		}
		c.shaken = true
	}
	return c.Conn.Read(b)
}

// OffersWeb tells, after the handshake, whether the client offered both HTTP/2 and HTTP/1, as browsers and curl do. Those of gRPC offer HTTP/2 alone, but for some.
func (c *Conn) OffersWeb() bool { return c.hearing.web }

// failed tells why a client does not get in. Who only looks whether the port is open fails too, and is no news.
func (l *listener) failed(c net.Conn, err error) {
	level := slog.LevelWarn
	if errors.Is(err, io.EOF) || !l.limiter.AllowN(time.Now(), 1) {
		level = slog.LevelDebug
	}
	l.logger.Log(context.Background(), level, "a client's TLS handshake failed", "remote", c.RemoteAddr().String(), "error", err)
}
