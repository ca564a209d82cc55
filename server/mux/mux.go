package mux

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// MaxPrefixBytes bounds what a matcher may want to see.
	MaxPrefixBytes = 32
	// maxUndecided bounds the connections that have not said enough, or that nobody has taken yet. Past it accepting waits, and the one that has said too little
	// for longest is closed once that is silencePatience: who says nothing locks nobody out.
	maxUndecided    = 1024
	silencePatience = time.Second
	// sniffTimeout bounds how long a connection may take to say it.
	sniffTimeout = 10 * time.Second
	// acceptPause spares the processor while the system refuses to accept, as when file descriptors have run out.
	acceptPause = 50 * time.Millisecond
)

// Verdict is what a matcher makes of a connection's first bytes.
type Verdict int

const (
	// No: not this protocol.
	No Verdict = iota
	// Yes: this protocol.
	Yes
	// More: not to be told from so few bytes.
	More
)

// Matcher judges the first bytes. With MaxPrefixBytes of them it must not answer More.
type Matcher func(prefix []byte) Verdict

// Mux shares out the connections of one listener.
type Mux struct {
	source net.Listener
	logger *slog.Logger
	routes []*route
	slots  chan struct{}
	// drained is closed when no connection is accepted any more, closed when those that were are given up too.
	drained  chan struct{}
	draining sync.Once
	closed   chan struct{}
	closing  sync.Once
	// served is closed when Serve has returned.
	served chan struct{}
	// sniffing counts the goroutines that read first bytes; pending holds their connections, those that came first in front.
	sniffing sync.WaitGroup
	mu       sync.Mutex
	pending  list.List                  // of silent
	places   map[net.Conn]*list.Element // in pending
}

// silent is a connection that has not said enough.
type silent struct {
	net.Conn
	since time.Time
}

type route struct {
	mux   *Mux
	match Matcher
	of    func(net.Conn) bool
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// New shares out the connections of source. Add the routes before Serve.
func New(source net.Listener, logger *slog.Logger) *Mux {
	return &Mux{
		source: source, logger: logger,
		slots: make(chan struct{}, maxUndecided), drained: make(chan struct{}), closed: make(chan struct{}), served: make(chan struct{}), places: map[net.Conn]*list.Element{},
	}
}

// Listen adds a protocol. Matchers are asked in the order in which they were added.
func (m *Mux) Listen(match Matcher) net.Listener {
	return m.ListenOf(func(net.Conn) bool { return true }, match)
}

// ListenOf is Listen for those connections that of is true of, which is asked after the first bytes have come.
func (m *Mux) ListenOf(of func(net.Conn) bool, match Matcher) net.Listener {
	r := &route{mux: m, match: match, of: of, conns: make(chan net.Conn), done: make(chan struct{})}
	m.routes = append(m.routes, r)
	return r
}

// Serve accepts connections until Drain or Close, and then returns net.ErrClosed. It is called once.
func (m *Mux) Serve() error {
	defer close(m.served)
	defer m.sniffing.Wait()
	for {
		c, err := m.source.Accept()
		if err != nil {
			if m.isDrained() || errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			m.logger.Warn("accepting a client's connection failed", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-m.drained:
			}
			continue
		}
		if !m.room() {
			_ = c.Close() // the node stops, and nothing was done for it
			return net.ErrClosed
		}
		m.track(c)
		m.sniffing.Add(1)
		go m.sniff(c)
	}
}

// room takes a place for a connection; false means that there will be none any more.
func (m *Mux) room() bool {
	select {
	case m.slots <- struct{}{}:
		return true
	default:
	}
	for {
		patience := time.NewTimer(m.closeOldest())
		select {
		case m.slots <- struct{}{}:
			patience.Stop()
			return true
		case <-m.drained:
			patience.Stop()
			return false
		case <-patience.C:
		}
	}
}

func (m *Mux) isDrained() bool {
	select {
	case <-m.drained:
		return true
	default:
		return false
	}
}

func (m *Mux) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

func (m *Mux) track(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.places[c] = m.pending.PushBack(silent{c, time.Now()})
	if m.isClosed() {
		_ = c.Close()
	}
}

func (m *Mux) untrack(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(c)
}

// forget takes a connection out of pending. The caller holds mu.
func (m *Mux) forget(c net.Conn) {
	if e, there := m.places[c]; there {
		m.pending.Remove(e)
		delete(m.places, c)
	}
}

// closeOldest closes the connection that has said too little for longest, if that is too long, and returns when to look again. Whoever reads from it finds
// that out, and gives its place up.
func (m *Mux) closeOldest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.pending.Front()
	if e == nil {
		return silencePatience
	}
	oldest := e.Value.(silent)
	if left := silencePatience - time.Since(oldest.since); left > 0 {
		return left
	}
	m.forget(oldest.Conn)
	_ = oldest.Close()
	return silencePatience
}

// sniff finds the connection's route and hands it over.
func (m *Mux) sniff(c net.Conn) {
	defer m.sniffing.Done()
	// Until somebody has taken the connection, so that no more wait for that than may wait to be told apart.
	defer func() { <-m.slots }()
	r, prefix := m.decide(c)
	m.untrack(c)
	if r == nil {
		if len(prefix) > 0 {
			m.logger.Debug("closed a connection of an unknown protocol", "remote", c.RemoteAddr().String(), "prefix", string(prefix))
		}
		_ = c.Close()
		return
	}
	select {
	case r.conns <- &conn{Conn: c, unread: prefix}:
	case <-r.done:
		_ = c.Close()
	case <-m.closed:
		_ = c.Close()
	}
}

func (m *Mux) decide(c net.Conn) (*route, []byte) {
	// Writing has a deadline too, since reading may take a handshake.
	if err := c.SetDeadline(time.Now().Add(sniffTimeout)); err != nil {
		return nil, nil
	}
	var buffer [MaxPrefixBytes]byte
	n := 0
	for n < len(buffer) {
		k, err := c.Read(buffer[n:])
		n += k
		if n > 0 {
			r, decided := m.route(c, buffer[:n])
			if decided {
				if r != nil && c.SetDeadline(time.Time{}) != nil {
					r = nil
				}
				return r, buffer[:n]
			}
		}
		if err != nil {
			break
		}
	}
	return nil, buffer[:n]
}

// route asks the matchers in order; one that wants more holds up those behind it.
func (m *Mux) route(c net.Conn, prefix []byte) (*route, bool) {
	for _, r := range m.routes {
		if !r.of(c) {
			continue
		}
		switch r.match(prefix) {
		case Yes:
			return r, true
		case More:
			return nil, false
		case No:
		}
	}
	return nil, true
}

// Drain closes the source, so that new clients are refused and know that nothing was done for them, and waits until
// every connection that was accepted is handed over or has ended, or ctx ends. The protocols' listeners go on.
func (m *Mux) Drain(ctx context.Context) error {
	var err error
	m.draining.Do(func() {
		close(m.drained)
		err = m.source.Close()
	})
	select {
	case <-m.served:
	case <-ctx.Done():
		m.closePending() // a client that says nothing is owed nothing
	}
	return err
}

func (m *Mux) closePending() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.places {
		_ = c.Close()
	}
}

// Close closes the source and every connection that was not handed over yet.
func (m *Mux) Close() error {
	var err error
	m.closing.Do(func() {
		close(m.closed)
		m.draining.Do(func() {
			close(m.drained)
			err = m.source.Close()
		})
		m.closePending()
	})
	return err
}

// Accept is that of a protocol's listener.
func (r *route) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	case <-r.mux.closed:
		return nil, net.ErrClosed
	}
}

// Close ends one protocol; the others go on.
func (r *route) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

func (r *route) Addr() net.Addr { return r.mux.source.Addr() }

// conn gives the sniffed bytes first.
type conn struct {
	net.Conn
	unread []byte
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// CloseWrite ends one direction, where the connection can: a client that is still sending can then read the answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
