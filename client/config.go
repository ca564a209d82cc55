package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

// Defaults of a Config, and its bounds.
const (
	DefaultDialTimeout    = 2 * time.Second
	DefaultCallTimeout    = 10 * time.Second
	DefaultAttemptTimeout = 3 * time.Second
	// MaxConnectionsPerMember bounds Config.ConnectionsPerMember.
	MaxConnectionsPerMember = 64
)

// Config says where the cluster is, and how long to wait. Only Endpoints is needed.
type Config struct {
	// Endpoints are the addresses, host:port, of the client ports of some members, or of a load balancer before them. With https:// before it an address is
	// reached by TLS, with http:// without, with neither by TLS if there is a TLS.
	Endpoints []string
	// TLS is how members are reached by TLS: the authorities that they are checked by, and the certificate that they are shown. Nil means those of the
	// system, and none. A ServerName in it holds for all members; without one, each is checked by the host of its address.
	TLS *tls.Config
	// StaticEndpoints stays with Endpoints. Without it the client asks the cluster for all its members, and connects to them too at the
	// addresses that they are known by; which is of no use where those cannot be reached, as through a tunnel.
	StaticEndpoints bool
	// DialTimeout bounds the making of a connection; zero means DefaultDialTimeout.
	DialTimeout time.Duration
	// CallTimeout bounds a call whose context has no deadline; zero means DefaultCallTimeout. Watches have no bound. A megabyte over a megabit a second
	// takes more than the default: give such a call a deadline.
	CallTimeout time.Duration
	// AttemptTimeout is how long one node is waited for before another is asked; zero means DefaultAttemptTimeout. If an answer was still coming in, as a
	// large one does over a slow line, the next attempt of the call has twice the time. The time of a large request begins when the node has read it.
	AttemptTimeout time.Duration
	// ConnectionsPerMember is how many connections to each member carry calls; zero means one, which is enough for most.
	ConnectionsPerMember int
	// Dial makes connections; nil means TCP. A tunnel goes here, through which TLS is spoken, where it is.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger hears of nodes that cannot be reached and the like; nil means nobody does.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&c.DialTimeout, DefaultDialTimeout}, {&c.CallTimeout, DefaultCallTimeout}, {&c.AttemptTimeout, DefaultAttemptTimeout}} {
		if *d.value < 0 {
			return c, errors.New("client: a timeout is below zero")
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if c.ConnectionsPerMember < 0 || c.ConnectionsPerMember > MaxConnectionsPerMember {
		return c, fmt.Errorf("client: %d connections per member, at most %d are allowed", c.ConnectionsPerMember, MaxConnectionsPerMember)
	}
	c.ConnectionsPerMember = max(c.ConnectionsPerMember, 1)
	if len(c.Endpoints) == 0 {
		return c, errors.New("client: no endpoints: give the address of at least one member's client port")
	}
	addresses := make([]string, 0, len(c.Endpoints))
	for _, e := range c.Endpoints {
		address, err := c.parseEndpoint(e)
		if err != nil {
			return c, err
		}
		addresses = append(addresses, address)
	}
	c.Endpoints = addresses
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// The schemes of endpoints. A node's address has the second if it is reached by TLS; the first if it is not, while the client has a TLS; else none. So it
// is itself an endpoint of the same meaning.
const (
	plainScheme  = "http://"
	secureScheme = "https://"
)

// parseEndpoint makes a node's address of what a person, or the cluster, calls it.
func (c *Config) parseEndpoint(e string) (string, error) {
	address, secure := strings.CutPrefix(e, secureScheme)
	if !secure {
		plain := false
		address, plain = strings.CutPrefix(e, plainScheme)
		secure = !plain && c.TLS != nil
	}
	address = strings.TrimSuffix(address, "/")
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return "", fmt.Errorf("client: endpoint %q is not of the form host:port", e)
	}
	switch {
	case secure:
		return secureScheme + address, nil
	case c.TLS != nil:
		return plainScheme + address, nil
	}
	return address, nil
}

// rpcOptions are those of a connection.
func (c *Config) rpcOptions() rpc.ClientOptions {
	return rpc.ClientOptions{Metadata: rpc.Metadata{rpc.MetaKind: metadataKind}, DialTimeout: c.DialTimeout, HandshakeTimeout: c.DialTimeout, Dial: c.dial}
}

// dial connects to a node's address.
func (c *Config) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	target, secure := strings.CutPrefix(strings.TrimPrefix(address, plainScheme), secureScheme)
	conn, err := dial(ctx, network, target)
	if err != nil || !secure {
		return conn, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		settings = c.TLS.Clone()
	}
	if settings.ServerName == "" {
		settings.ServerName, _, _ = net.SplitHostPort(target) // it was taken apart before
	}
	encrypted := tls.Client(conn, settings)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", target, err)
	}
	return encrypted, nil
}
