package rpc

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultMaxConns bounds a server's connections; further ones are refused with CodeExhausted. As many again may be there that have not said yet who
	// they are: of more of them, the one that has been silent for longest makes room.
	DefaultMaxConns = 4096
	// MaxHandlers bounds the handlers that run at the same time for one connection; past it the server stops reading from it, which
	// the caller's send queue feels.
	MaxHandlers = 256
	// strangerFrameBytes bounds the frames of a client that was allowed no service yet: all that it has to send is a bind, and what is read of one, and takes
	// many times its length as it is decoded, is the price of letting anybody ask.
	strangerFrameBytes = 256 << 10
	// oneWayQueueMessages bounds one-way messages of one connection that wait for their handler.
	oneWayQueueMessages = 256
)

// AcceptFunc decides on a connection by the metadata that its client sent, and gives the server's own in return. A refusal is best a
// Refusal or *Error; any other error is sent as CodeInternal.
type AcceptFunc func(md Metadata, remote net.Addr) (Metadata, error)

// ServerOptions tune a server; the zero value accepts everyone.
type ServerOptions struct {
	AcceptConn       AcceptFunc    // nil accepts all; see also AcceptKind
	Authorize        AuthorizeFunc // for services that were registered without their own; nil allows all
	MaxFrameBytes    int           // 0 means DefaultMaxFrameBytes
	MaxConns         int           // 0 means DefaultMaxConns
	PingInterval     time.Duration // 0 means DefaultPingInterval
	IdleTimeout      time.Duration // 0 means DefaultIdleTimeout
	HandshakeTimeout time.Duration // 0 means DefaultHandshakeTimeout
	Logger           *slog.Logger  // nil discards
}

// Server is the callee's side of any number of connections.
type Server struct {
	opts    ServerOptions
	base    context.Context // ends with Close
	endBase context.CancelFunc
	methods atomic.Pointer[[]*method] // by id; copied on write
	calls   Calls

	mu        sync.Mutex
	services  map[string]*service
	accepts   map[string]AcceptFunc
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]*accepted
	silent    list.List // of net.Conn: those that have not greeted, the oldest first
	known     int       // connections that have
	stopping  bool
	serving   sync.WaitGroup // ServeConn calls

	background sync.WaitGroup // what Background runs
}

// accepted is what the server knows of a connection that it has taken. Guarded by Server.mu.
type accepted struct {
	silent  *list.Element // in Server.silent; nil once the client has greeted, or had to make room
	greeted bool          // metadata is what the client said of itself
	md      Metadata      // also while the acceptor still decides
	// serving is nil until both sides have greeted; refused is why it must end then (DisconnectIf).
	serving *serverConn
	refused *Error
}

// NewServer makes a server without services; see Register, Serve and ServeConn.
func NewServer(opts ServerOptions) *Server {
	opts.MaxFrameBytes = frameLimit(opts.MaxFrameBytes)
	if opts.MaxConns <= 0 {
		opts.MaxConns = DefaultMaxConns
	}
	opts.PingInterval = orDefault(opts.PingInterval, DefaultPingInterval)
	opts.IdleTimeout = orDefault(opts.IdleTimeout, DefaultIdleTimeout)
	opts.HandshakeTimeout = orDefault(opts.HandshakeTimeout, DefaultHandshakeTimeout)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: opts, services: map[string]*service{}, accepts: map[string]AcceptFunc{},
		listeners: map[net.Listener]struct{}{}, conns: map[net.Conn]*accepted{},
	}
	s.base, s.endBase = context.WithCancel(context.Background())
	s.methods.Store(&[]*method{})
	return s
}

// AcceptKind sets who decides on connections whose metadata has this kind (MetaKind), in place of ServerOptions.AcceptConn.
func (s *Server) AcceptKind(kind string, accept AcceptFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepts[kind] = accept
}

func (s *Server) add(svc *service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[svc.name] != nil {
		return Errorf(CodeInvalid, "service %q is already registered", svc.name)
	}
	methods := append([]*method(nil), *s.methods.Load()...)
	for _, m := range svc.methods {
		m.id = uint64(len(methods))
		m.counters = s.calls.method(m.name, m.shape.oneWay)
		methods = append(methods, m)
	}
	s.services[svc.name] = svc
	s.methods.Store(&methods)
	return nil
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("rpc: the server is closed")

// Serve accepts connections until the listener fails or the server is closed. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		_ = l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		_ = l.Close()
	}()
	for failures := 0; ; {
		conn, err := l.Accept()
		if err == nil {
			failures = 0
			go func() { _ = s.ServeConn(conn) }() // ServeConn logs
			continue
		}
		if s.isStopping() {
			return ErrServerClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors and the like pass; wait for it a little longer each time.
		failures++
		s.opts.Logger.Warn("accepting a connection failed", "listener", l.Addr().String(), "error", err)
		select {
		case <-time.After(min(time.Duration(failures)*10*time.Millisecond, time.Second)):
		case <-s.base.Done():
			return ErrServerClosed
		}
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// ServeConn serves one connection until it ends and says why it did; it takes the connection over. A conn whose first bytes were
// looked at must give them again.
func (s *Server) ServeConn(conn net.Conn) error {
	defer func() { _ = conn.Close() }()
	if !s.enter(conn) {
		return ErrServerClosed
	}
	defer s.leave(conn)
	remote := conn.RemoteAddr()
	if err := conn.SetDeadline(time.Now().Add(s.opts.HandshakeTimeout)); err != nil {
		return err
	}
	hs, err := serverHandshake(conn, s.opts.MaxFrameBytes, func(md Metadata) (Metadata, error) {
		s.greeted(conn, md)
		return s.acceptConn(md, remote)
	})
	if err != nil {
		s.opts.Logger.Info("connection refused", "remote", addrString(remote), "error", err)
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	sc := newServerConn(s, conn, hs)
	refused, ok := s.established(conn, sc)
	if !ok {
		return ErrServerClosed
	}
	if refused != nil {
		sc.end(refused)
	}
	err = sc.serve()
	s.opts.Logger.Debug("connection ended", "remote", addrString(remote), "error", err)
	return err
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func (s *Server) acceptConn(md Metadata, remote net.Addr) (Metadata, error) {
	s.mu.Lock()
	accept, known := s.accepts[md[MetaKind]]
	tooMany := s.known > s.opts.MaxConns
	s.mu.Unlock()
	if tooMany {
		return nil, Errorf(CodeExhausted, "the server has its limit of %d connections: try again later", s.opts.MaxConns)
	}
	if !known {
		accept = s.opts.AcceptConn
	}
	if accept == nil {
		return nil, nil
	}
	return accept(md, remote)
}

func (s *Server) enter(conn net.Conn) bool {
	var oldest net.Conn
	defer func() {
		if oldest != nil {
			_ = oldest.Close() // ends its handshake
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if s.silent.Len() >= s.opts.MaxConns {
		// Who has something to say says it at once, so those who only hold places lock nobody out.
		oldest = s.silent.Front().Value.(net.Conn)
		s.notSilent(s.conns[oldest])
	}
	s.conns[conn] = &accepted{silent: s.silent.PushBack(conn)}
	s.serving.Add(1)
	return true
}

// notSilent takes a connection out from those that are. The caller holds mu.
func (s *Server) notSilent(a *accepted) {
	if a.silent != nil {
		s.silent.Remove(a.silent)
		a.silent = nil
	}
}

// greeted notes who is there before the acceptor is asked: what it would refuse a moment later, DisconnectIf finds.
func (s *Server) greeted(conn net.Conn, md Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.conns[conn]
	s.notSilent(a)
	a.greeted, a.md = true, md
	s.known++
}

// established notes that the connection serves from now on, and gives the reason to end it at once if there is one; false while the
// server stops.
func (s *Server) established(conn net.Conn, sc *serverConn) (refused *Error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, false
	}
	s.conns[conn].serving = sc
	return s.conns[conn].refused, true
}

func (s *Server) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.conns[conn]
	s.notSilent(a)
	if a.greeted {
		s.known--
	}
	delete(s.conns, conn)
	s.serving.Done()
}

// DisconnectIf asks about each connection by its metadata and ends those for which a reason is given, telling their clients that
// reason; calls in flight fail, and none begins. A connection about which its acceptor is being asked counts: what was accepted by
// what held before does not slip through.
func (s *Server) DisconnectIf(refused func(Metadata) *Error) {
	s.mu.Lock()
	var all []*accepted
	for _, a := range s.conns {
		if a.greeted {
			all = append(all, a)
		}
	}
	s.mu.Unlock()
	for _, a := range all {
		if reason := refused(a.md); reason != nil { // once greeted, md stays as it is
			s.disconnect(a, reason)
		}
	}
}

func (s *Server) disconnect(a *accepted, reason *Error) {
	s.mu.Lock()
	serving := a.serving
	a.refused = reason
	s.mu.Unlock()
	if serving != nil {
		serving.end(reason)
	}
}

// Background runs f, for what a service has to do beside its calls, under a context that ends when the server is closed. Close waits for it. On a
// server that stops already f does not run.
func (s *Server) Background(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.background.Go(func() { f(s.base) })
	}
}

func (s *Server) connections() []*serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*serverConn
	for _, a := range s.conns {
		if a.serving != nil {
			all = append(all, a.serving)
		}
	}
	return all
}

// Shutdown takes no new connections or calls, waits for the calls in flight and sends their answers, then closes. When the
// context ends first it closes at once and returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopListening()
	for _, sc := range s.connections() {
		sc.drain()
	}
	ended := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, s.Close())
}

// stopListening closes the listeners and the connections that are still greeting.
func (s *Server) stopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for l := range s.listeners {
		_ = l.Close() // Serve reports that the server is closed
	}
	for conn, a := range s.conns {
		if a.serving == nil {
			_ = conn.Close() // ends its handshake
		}
	}
}

// Close ends all connections and cancels their handlers, then waits for them, and for what runs in the background; so it must be called by neither.
func (s *Server) Close() error {
	s.stopListening()
	for _, sc := range s.connections() {
		sc.fail(&Error{Code: CodeUnavailable, Message: "the server was closed"})
	}
	s.endBase() // after the connections: no handler may answer "canceled" to a caller that canceled nothing
	s.serving.Wait()
	s.background.Wait()
	return nil
}
