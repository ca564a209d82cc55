package rpc

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"
)

// DialFunc opens a connection, resolving the address's host anew each time; (*net.Dialer).DialContext fits. This is also where TLS goes.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// DefaultDialTimeout bounds opening a connection, so that an address that has gone silent does not hold up a redial.
const DefaultDialTimeout = 2 * time.Second

// ClientOptions tune a client; the zero value is good.
type ClientOptions struct {
	Metadata         Metadata      // sent to the server at the handshake
	MaxFrameBytes    int           // largest frame to send or take; 0 means DefaultMaxFrameBytes
	PingInterval     time.Duration // 0 means DefaultPingInterval; more than that is asked of the server, too
	IdleTimeout      time.Duration // 0 means DefaultIdleTimeout; never less than three times PingInterval
	HandshakeTimeout time.Duration // 0 means DefaultHandshakeTimeout
	DialTimeout      time.Duration // 0 means DefaultDialTimeout
	Dial             DialFunc      // nil means TCP
	Calls            *Calls        // counts what goes over the connection; nil means nobody does
	// ReadBufferBytes is what each connection holds to read into; 0 means DefaultReadBufferBytes. Who keeps thousands of connections, on
	// which little is said, holds less. It bounds no frame.
	ReadBufferBytes int
}

func (o ClientOptions) withDefaults() ClientOptions {
	o.MaxFrameBytes = frameLimit(o.MaxFrameBytes)
	o.PingInterval = orDefault(o.PingInterval, DefaultPingInterval)
	// Like the server: less than some pings' time would give up connections on which nothing is wrong.
	o.IdleTimeout = max(orDefault(o.IdleTimeout, DefaultIdleTimeout), askedPingsPerTimeout*o.PingInterval)
	o.HandshakeTimeout = orDefault(o.HandshakeTimeout, DefaultHandshakeTimeout)
	o.DialTimeout = orDefault(o.DialTimeout, DefaultDialTimeout)
	if o.ReadBufferBytes <= 0 {
		o.ReadBufferBytes = DefaultReadBufferBytes
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	return o
}

// greeting is the metadata that the server is sent.
func (o ClientOptions) greeting() Metadata {
	if o.PingInterval <= DefaultPingInterval {
		return o.Metadata
	}
	md := Metadata{metaPingInterval: o.PingInterval.String()}
	maps.Copy(md, o.Metadata)
	return md
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

func frameLimit(n int) int {
	if n <= 0 {
		return DefaultMaxFrameBytes
	}
	return min(max(n, minMaxFrameBytes), 1<<30)
}

// Client is the calling side of one connection. It is safe for concurrent use and ends for good when the connection does; see Peer for
// one that redials.
type Client struct {
	*link
	remote Metadata
	goAway chan struct{} // closed when the server said that it takes no new calls
	pool   sync.Pool

	mu      sync.Mutex
	pending map[uint64]*call
	lastID  uint64
	ended   *Error                 // why no call may start any more
	bound   map[*binding]*boundSet // what was bound on this connection
}

// call is one call that waits for its answer. A pooled call is in no map.
type call struct {
	done  chan struct{} // capacity 1
	reply frame
	err   *Error
}

// getCall takes a call from the client's own pool: shared channels would tie independent clients together under testing/synctest.
func (c *Client) getCall() *call {
	if w, ok := c.pool.Get().(*call); ok {
		return w
	}
	return &call{done: make(chan struct{}, 1)}
}

// Dial connects to a server over TCP (or ClientOptions.Dial) and greets it.
func Dial(ctx context.Context, address string, opts ClientOptions) (*Client, error) {
	opts = opts.withDefaults()
	dialCtx, cancel := context.WithTimeout(ctx, opts.DialTimeout)
	defer cancel()
	conn, err := opts.Dial(dialCtx, "tcp", address)
	if err != nil {
		return nil, &Error{Code: CodeUnavailable, Message: fmt.Sprintf("dial %s: %v", address, err), notSent: true, cause: err}
	}
	return NewClient(ctx, conn, opts)
}

// NewClient greets the server at the other end of conn and takes conn over, also on failure. A refusal by the server is returned as
// the server's *Error.
func NewClient(ctx context.Context, conn net.Conn, opts ClientOptions) (*Client, error) {
	opts = opts.withDefaults()
	hsCtx, cancel := context.WithTimeout(ctx, opts.HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(hsCtx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	hs, err := clientHandshake(conn, opts.greeting(), opts.MaxFrameBytes)
	if !stop() && err == nil {
		err = hsCtx.Err()
	}
	if err != nil {
		_ = conn.Close()
		var refusal *Error
		if errors.As(err, &refusal) {
			return nil, notSentError(err)
		}
		if hsCtx.Err() != nil {
			err = fmt.Errorf("no answer to the greeting in time: %w", hsCtx.Err())
		}
		return nil, &Error{Code: CodeUnavailable, Message: fmt.Sprintf("connect to %v: %v", conn.RemoteAddr(), err), notSent: true, cause: err}
	}
	c := &Client{
		link: newLink(conn, hs, opts.MaxFrameBytes, opts.ReadBufferBytes, opts.Calls), remote: hs.remote, goAway: make(chan struct{}),
		pending: map[uint64]*call{}, bound: map[*binding]*boundSet{},
	}
	c.onFail = c.failPending
	c.start(patience{pingInterval: opts.PingInterval, idleTimeout: opts.IdleTimeout}, c.handle)
	return c, nil
}

// Metadata is what the server said about itself.
func (c *Client) Metadata() Metadata { return c.remote }

// RemoteAddr is the server's address.
func (c *Client) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// RTT is the last measured round trip of a ping, queueing included; 0 before the first.
func (c *Client) RTT() time.Duration { return time.Duration(c.rttNanos.Load()) }

// Received is how many bytes came over the connection, pings and parts of answers that are not whole yet included.
func (c *Client) Received() uint64 { return c.received.Load() }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection takes no calls any more; nil while it does. What the server gave as its reason comes before what
// happened to the connection after that.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		return nil
	}
	return c.ended
}

// Close ends the connection; calls in flight fail with CodeUnavailable.
func (c *Client) Close() error {
	c.fail(&Error{Code: CodeUnavailable, Message: "the connection was closed by this side"})
	c.running.Wait()
	return nil
}

func (c *Client) failPending(err error, unsent map[uint64]bool) {
	c.mu.Lock()
	pending := c.pending
	c.pending = nil
	if c.ended == nil {
		c.ended = notSentError(err)
	}
	c.mu.Unlock()
	lost := *toError(err)
	if lost.Code == CodeInternal {
		lost.Code = CodeUnavailable // the calls themselves did nothing wrong
	}
	for id, waiting := range pending {
		e := lost
		e.notSent = unsent[id]
		waiting.err = &e
		waiting.done <- struct{}{}
	}
}

func (c *Client) handle(f frame) error {
	switch f.typ {
	case frameResponse, frameError:
		c.mu.Lock()
		waiting := c.pending[f.callID]
		delete(c.pending, f.callID)
		c.mu.Unlock()
		if waiting == nil { // its caller gave up
			f.payload.release()
			return nil
		}
		waiting.reply = f
		waiting.done <- struct{}{}
		return nil
	case frameGoAway:
		reason, err := decodeError(f.payload.b)
		f.payload.release()
		if err != nil {
			return protocolErrorf("malformed go-away: %v", err)
		}
		reason.notSent = true
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended == nil {
			c.ended = reason
			close(c.goAway)
		}
		return nil
	}
	f.payload.release()
	return protocolErrorf("frame of type %d from a server", f.typ)
}

// begin makes a call id. A nil call means that no answer is awaited.
func (c *Client) begin(waiting *call) (uint64, *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		e := *c.ended
		return 0, &e
	}
	c.lastID++
	if waiting != nil {
		c.pending[c.lastID] = waiting
	}
	return c.lastID, nil
}

// abandon removes a call from the table; false means that its answer is already on the way to its channel.
func (c *Client) abandon(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.pending[id]
	delete(c.pending, id)
	return there
}

// roundTrip sends a request frame (taken over) and waits for the answer's payload, which the caller releases.
func (c *Client) roundTrip(ctx context.Context, typ frameType, f *buffer) (*buffer, *Error) {
	waiting := c.getCall()
	id, err := c.begin(waiting)
	if err != nil {
		f.release()
		c.pool.Put(waiting)
		return nil, err
	}
	f.seal(typ, 0, id)
	f.id = id
	end, err := c.out.place(ctx, f, tries(ctx))
	if err != nil {
		if !c.abandon(id) {
			<-waiting.done
		}
		c.recycle(waiting)
		return nil, err
	}
	if follower, ok := ctx.(Follower); ok {
		follower.Queued(c, end)
	}
	ended := ctx.Done()
	if ended == nil { // nobody can end it: a receive costs half of a select
		<-waiting.done
		return c.answer(waiting)
	}
	select {
	case <-waiting.done:
	case <-ended:
		if c.abandon(id) {
			c.pool.Put(waiting)
			if c.out.remove(id) {
				return nil, contextError(ctx, "before the request was sent", true)
			}
			cancel := newFrame()
			cancel.seal(frameCancel, 0, id)
			c.out.pushControl(cancel)
			return nil, contextError(ctx, "while waiting for the answer; whether the call took effect is unknown", false)
		}
		<-waiting.done
	}
	return c.answer(waiting)
}

// answer takes the answer out of an ended call, which goes back to the pool.
func (c *Client) answer(waiting *call) (*buffer, *Error) {
	reply, err := waiting.reply, waiting.err
	waiting.reply, waiting.err = frame{}, nil
	c.pool.Put(waiting)
	if err != nil {
		return nil, err
	}
	if reply.typ == frameError {
		e, bad := decodeError(reply.payload.b)
		reply.payload.release()
		if bad != nil {
			return nil, Errorf(CodeInternal, "the server sent a malformed error: %v", bad)
		}
		e.notSent = reply.flags&flagNotRun != 0
		return nil, e
	}
	return reply.payload, nil
}

// recycle returns an ended call to the pool, dropping an answer that came after all.
func (c *Client) recycle(w *call) {
	w.reply.payload.release()
	w.reply, w.err = frame{}, nil
	c.pool.Put(w)
}

// request builds the frame of a call or one-way message.
func (c *Client) request(ctx context.Context, m *boundMethod, req any) (*buffer, *Error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx, "before the request was sent", true)
	}
	var remainingMicros uint64
	if d, ok := ctx.Deadline(); ok {
		remainingMicros = uint64(max(time.Until(d).Microseconds(), 1))
	}
	f := newFrame()
	f.b = binary.AppendUvarint(f.b, m.id)
	f.b = binary.AppendUvarint(f.b, remainingMicros)
	b, err := m.shape.req.append(f.b, req)
	if err != nil {
		f.release()
		return nil, notSentError(Errorf(CodeInvalid, "%s: encoding the request: %v", m.name, err))
	}
	f.b = b
	if len(f.b) > c.maxSendBytes {
		n := len(f.b)
		f.release()
		return nil, notSentError(Errorf(CodeTooLarge, "%s: the request takes %d bytes, the connection's limit is %d", m.name, n, c.maxSendBytes))
	}
	return f, nil
}

// invoke makes a call and decodes the answer into resp.
func (c *Client) invoke(ctx context.Context, m *boundMethod, req, resp any) error {
	began := m.counters.begin()
	err := c.exchange(ctx, m, req, resp)
	m.counters.end(began, err == nil)
	return err
}

func (c *Client) exchange(ctx context.Context, m *boundMethod, req, resp any) error {
	f, err := c.request(ctx, m, req)
	if err != nil {
		return err
	}
	payload, err := c.roundTrip(ctx, frameRequest, f)
	if err != nil {
		return err
	}
	defer payload.release()
	if err := m.shape.resp.decode(payload.b, resp); err != nil {
		return Errorf(CodeInternal, "%s: decoding the answer: %v", m.name, err)
	}
	return nil
}

// post sends a one-way message: nil means that it is in the connection's queue.
func (c *Client) post(ctx context.Context, m *boundMethod, req any) error {
	err := c.enqueue(ctx, m, req)
	m.counters.count(err == nil)
	return err
}

func (c *Client) enqueue(ctx context.Context, m *boundMethod, req any) error {
	f, err := c.request(ctx, m, req)
	if err != nil {
		return err
	}
	id, err := c.begin(nil)
	if err != nil {
		f.release()
		return err
	}
	f.seal(frameOneWay, 0, id)
	if err := c.out.push(ctx, f, tries(ctx)); err != nil {
		return err
	}
	return nil
}

// bindOn asks the server for the methods of a service.
func (c *Client) bindOn(ctx context.Context, b *binding) ([]boundMethod, error) {
	f := newFrame()
	body, err := json.Marshal(b.request)
	if err != nil {
		f.release()
		return nil, Errorf(CodeInternal, "encoding the signature of service %q: %v", b.request.Service, err)
	}
	f.b = append(f.b, body...)
	if limit := min(c.maxSendBytes, strangerFrameBytes); len(f.b) > limit {
		f.release()
		return nil, notSentError(Errorf(CodeTooLarge, "the signature of service %q takes %d bytes, the limit is %d: fewer methods, or types with an encoding of their own, take less",
			b.request.Service, len(body), limit))
	}
	payload, rerr := c.roundTrip(ctx, frameBind, f)
	if rerr != nil {
		return nil, notSentError(rerr)
	}
	defer payload.release()
	var resp bindResponse
	if err := json.Unmarshal(payload.b, &resp); err != nil {
		return nil, Errorf(CodeInternal, "service %q: malformed answer to a bind: %v", b.request.Service, err)
	}
	return b.resolve(&resp, c.link.calls), nil
}

type tryKey struct{}

// TrySend marks a context: a call or one-way message under it fails at once with CodeExhausted when the connection's queue is full.
func TrySend(ctx context.Context) context.Context { return context.WithValue(ctx, tryKey{}, true) }

func tries(ctx context.Context) bool { return ctx.Value(tryKey{}) != nil }
