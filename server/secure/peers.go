package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/config"
)

// scheme begins the address of a member that is reached by TLS.
const scheme = "https://"

// What is logged of connections between members.
const (
	sayTurnedAway = "a member that connects is turned away"
	sayNotReached = "a member is not reached by TLS"
	sayRefusesUs  = "a member refuses this node's certificate"
)

// errPlainPort and errNeedsTLS are for members of which one speaks with TLS and the other without.
var (
	errPlainPort = errors.New("it speaks TLS, and this port has none: give this node https:// in --listen-peer-urls, or let the others dial it by http://")
	errNeedsTLS  = errors.New("this port has TLS: dial it by https://, in --initial-cluster or by an update of the member's URL")
)

// Peers puts TLS between members: on the connections that come, and on those that are made to addresses with https:// before them. Both sides show the
// certificates of their files.
type Peers struct {
	keeper     *Keeper // nil where there is no certificate
	dialer     net.Dialer
	dns        resolver
	complaints *complaints
	// plain refuses members without TLS in their own protocol.
	plain *rpc.Server
	// shaking are the handshakes of members that connect.
	shaking crowd
}

// OpenPeers reads the files, if there are any.
func OpenPeers(files config.TLS, logger *slog.Logger) (*Peers, error) {
	p := &Peers{dns: net.DefaultResolver, complaints: newComplaints(logger)}
	p.plain = rpc.NewServer(rpc.ServerOptions{AcceptConn: func(rpc.Metadata, net.Addr) (rpc.Metadata, error) {
		return nil, rpc.Refusal("TLSNeeded", "%v", errNeedsTLS)
	}})
	if !files.Enabled() {
		return p, nil
	}
	var err error
	if p.keeper, err = Open(files, logger); err != nil {
		return nil, err
	}
	if m := p.keeper.current(); m.trusted != nil && !forClients(m.dialled.Leaf) {
		logger.Warn("the certificate that members are shown is not one for clients (its extended key usage): those that ask for certificates refuse this node. "+
			"Give one that is for both, or another by --peer-client-cert-file", "certificate", m.dialled.Leaf.Subject.String())
	}
	return p, nil
}

// forClients tells whether a certificate is for those who dial (RFC 5280 §4.2.1.12).
func forClients(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// Listen serves a listener's connections with TLS, without it, or both, as it was asked for. Which of them a caller speaks is found out, and the handshake made, by the first
// Read; deadlines bound both.
func (p *Peers) Listen(l net.Listener, how config.Listen) net.Listener {
	return &peerListener{Listener: l, peers: p, how: how}
}

// Dial connects to a member, by TLS if its address says so, and makes the handshake.
func (p *Peers) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	target, encrypted := strings.CutPrefix(address, scheme)
	conn, err := p.dialer.DialContext(ctx, network, target)
	if err != nil || !encrypted {
		return conn, err
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, p.client(host))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		err = explain(err)
		p.complaints.log(sayNotReached, target, err)
		return nil, err
	}
	return &dialled{Conn: secured, target: target, peers: p}, nil
}

// client is for a member that is dialled: it must show a certificate for the host of its address.
func (p *Peers) client(host string) *tls.Config {
	host, _, _ = strings.Cut(host, "%") // a zone is this machine's own name for a network
	if p.keeper == nil {
		return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	m, c := p.keeper.current(), p.keeper.spoken()
	c.ServerName, c.RootCAs, c.VerifyConnection = host, m.trusted, m.verify
	c.InsecureSkipVerify = m.files.SelfSigned > 0
	// Shown whatever authorities the member asks for: if it is of another, the member says so, and not that there was none.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.dialled, nil }
	return c
}

// explain says of an error of a handshake what it means.
func explain(err error) error {
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record) && strings.HasPrefix(string(record.RecordHeader[:]), rpc.Magic):
		return fmt.Errorf("it speaks without TLS: give it https:// in --listen-peer-urls, or have it dialled by http://: %w", err)
	case errors.As(err, &record):
		return fmt.Errorf("what listens there speaks no TLS: %w", err)
	}
	for _, end := range []error{io.EOF, syscall.ECONNRESET} { // without ports, which would make it news each time
		if errors.Is(err, end) {
			return fmt.Errorf("it ended the handshake of TLS without a word: %w", end)
		}
	}
	return fmt.Errorf("TLS: %w", err)
}

// dialled is a connection by TLS that this side has made. That the other side refuses the certificate shows when it is first read (RFC 8446 §4.4.2.4).
type dialled struct {
	*tls.Conn
	target string
	peers  *Peers
	heard  bool
}

// Read is called by one goroutine at a time.
func (c *dialled) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.heard || n > 0 {
		c.heard = true
		return n, err
	}
	if refused(err) {
		err = fmt.Errorf("it refuses this node's certificate: %w", err)
		c.peers.complaints.log(sayRefusesUs, c.target, err)
	}
	return n, err
}

// refused tells whether the other side has ended TLS with a reason.
func refused(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error"
}
