package rpc

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"sync"
	"time"
)

// Info tells a handler who calls what.
type Info struct {
	Metadata Metadata // what the client said of itself at the handshake; not to be changed
	Remote   net.Addr
	Method   string // "service.Method"
	// Connection ends with the connection: for what a service keeps for one. It tells connections apart.
	Connection context.Context

	hangUp func()
}

// HangUp ends the connection, whatever is on its way over it: for a client that does not take what it has asked for.
func (i Info) HangUp() {
	if i.hangUp != nil {
		i.hangUp()
	}
}

type infoKey struct{}

// FromContext gives what is known of the caller inside a handler; ok is false elsewhere.
func FromContext(ctx context.Context) (info Info, ok bool) {
	p, ok := ctx.Value(infoKey{}).(*Info)
	if !ok {
		return Info{}, false
	}
	return *p, true
}

// ContextWithInfo makes a context as a handler would get it, for calling a handler directly.
func ContextWithInfo(ctx context.Context, info Info) context.Context {
	return &infoContext{ctx, &info}
}

// serverConn is the callee's side of one connection.
type serverConn struct {
	*link
	server *Server
	info   Info
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	// Owned by the reading goroutine.
	allowed map[*service]bool
	infos   map[*method]*Info
	asked   bool          // whether the client's wish for fewer pings was looked at
	oneWay  chan received // nil until the first one-way message that is not inline

	oneWayRunning sync.WaitGroup
	workers       *workers

	mu       sync.Mutex
	inFlight map[uint64]*callContext
	active   int  // calls that are not answered yet
	draining bool // no new calls; the link ends when active is 0
}

// received is a request on its way to its handler.
type received struct {
	method  *method
	info    *Info
	callID  uint64
	timeout time.Duration // 0: none
	payload *buffer
	body    []byte
}

func newServerConn(s *Server, conn net.Conn, hs *handshakeResult) *serverConn {
	sc := &serverConn{
		link: newLink(conn, hs, s.opts.MaxFrameBytes, DefaultReadBufferBytes, &s.calls), server: s,
		info:    Info{Metadata: hs.remote, Remote: conn.RemoteAddr()},
		allowed: map[*service]bool{}, infos: map[*method]*Info{},
		inFlight: map[uint64]*callContext{},
	}
	sc.in.maxBytes = min(sc.in.maxBytes, strangerFrameBytes)
	sc.workers = newWorkers(sc.runCall)
	sc.ctx, sc.cancel = context.WithCancel(s.base)
	sc.info.Connection = sc.ctx
	sc.info.hangUp = func() {
		sc.fail(&Error{Code: CodeUnavailable, Message: "the client does not take what it has asked for"})
	}
	sc.onFail = func(error, map[uint64]bool) {
		sc.cancel()
		sc.workers.shut(func(c queuedCall) { c.payload.release() }) // nobody would hear the answers
	}
	return sc
}

// serve runs until the connection has ended and its handlers have returned.
func (sc *serverConn) serve() error {
	sc.start(patience{pingInterval: sc.server.opts.PingInterval, idleTimeout: sc.server.opts.IdleTimeout}, sc.handle)
	sc.running.Wait()
	if sc.oneWay != nil {
		close(sc.oneWay)
		sc.oneWayRunning.Wait()
	}
	sc.workers.running.Wait()
	return sc.failure
}

// bePatient pings less often and waits longer if the client asked for it: who follows thousands of nodes that have nothing to say spends
// its time on pings otherwise. Only who was allowed a service may ask: a stranger's place is free again as soon as the server's own
// patience ends.
func (sc *serverConn) bePatient() {
	if sc.asked {
		return
	}
	sc.asked = true
	interval, err := time.ParseDuration(sc.info.Metadata[metaPingInterval])
	if err != nil || interval <= sc.server.opts.PingInterval {
		return
	}
	interval = min(interval, maxAskedPingInterval)
	// Half an interval longer than the client's, whose pings then come first and spare this side its own.
	sc.bear(patience{pingInterval: interval + interval/2, idleTimeout: max(sc.server.opts.IdleTimeout, askedPingsPerTimeout*interval), onlySilence: true})
}

func (sc *serverConn) handle(f frame) error {
	switch f.typ {
	case frameRequest, frameOneWay:
		return sc.request(f)
	case frameBind:
		defer f.payload.release()
		sc.answerBind(f)
		return nil
	case frameCancel:
		f.payload.release()
		sc.mu.Lock()
		ctx := sc.inFlight[f.callID]
		sc.mu.Unlock()
		if ctx != nil {
			ctx.cancel()
		}
		return nil
	}
	f.payload.release()
	return protocolErrorf("frame of type %d from a client", f.typ)
}

func (sc *serverConn) answerBind(f frame) {
	resp, err := sc.bind(f.payload.b)
	if err != nil {
		sc.sendError(f.callID, err, true)
		return
	}
	body, merr := json.Marshal(resp)
	if merr != nil {
		sc.sendError(f.callID, toError(merr), true)
		return
	}
	reply := newFrame()
	reply.b = append(reply.b, body...)
	reply.seal(frameResponse, 0, f.callID)
	_ = sc.out.push(sc.ctx, reply, false) // fails only when the connection has ended
}

func (sc *serverConn) bind(body []byte) (*bindResponse, *Error) {
	var req bindRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, Errorf(CodeInvalid, "malformed bind: %v", err)
	}
	sc.server.mu.Lock()
	svc := sc.server.services[req.Service]
	sc.server.mu.Unlock()
	if svc == nil {
		return nil, Errorf(CodeNotFound, "there is no service %q on this port", req.Service)
	}
	authorize := svc.options.authorize
	if authorize == nil {
		authorize = sc.server.opts.Authorize
	}
	if authorize != nil {
		if err := authorize(sc.ctx, svc.name, sc.info.Metadata, sc.info.Remote); err != nil {
			e := *toError(err)
			if e.Code == CodeInternal {
				e.Code = CodeUnauthenticated
			}
			return nil, &e
		}
	}
	resp, err := svc.accept(&req)
	if err != nil {
		return nil, err
	}
	sc.allowed[svc] = true
	sc.in.maxBytes = sc.server.opts.MaxFrameBytes
	sc.bePatient()
	return resp, nil
}

// request starts the handler of a call or one-way message. It blocks while too many wait for MaxHandlers that run: that is the
// backpressure.
func (sc *serverConn) request(f frame) error {
	r, err := sc.parse(f)
	if err != nil {
		f.payload.release()
		return err
	}
	if refusal := sc.admit(r.method); refusal != nil {
		f.payload.release()
		if f.typ == frameRequest {
			sc.sendError(f.callID, refusal, true)
		}
		return nil
	}
	r.info = sc.infos[r.method]
	if r.method.shape.oneWay != (f.typ == frameOneWay) {
		f.payload.release()
		return protocolErrorf("frame of type %d for method %s", f.typ, r.method.name)
	}
	switch {
	case r.method.service.options.inline:
		if !sc.enter(r.callID, nil) {
			sc.refuseDraining(r)
			return nil
		}
		sc.run(&infoContext{sc.ctx, r.info}, r)
		sc.leave(r.callID)
	case r.method.shape.oneWay:
		sc.queueOneWay(r)
	default:
		ctx := newCallContext(sc.ctx, r.info, r.timeout)
		if !sc.enter(r.callID, ctx) {
			sc.refuseDraining(r)
			return nil
		}
		if !sc.workers.put(queuedCall{r, ctx}) {
			r.payload.release() // the connection has ended
		}
	}
	return nil
}

// runCall runs a handler on a worker's goroutine.
func (sc *serverConn) runCall(c queuedCall) {
	sc.run(c.ctx, c.received)
	if c.ctx.answered != nil {
		c.ctx.answered()
	}
	sc.leave(c.callID)
	c.ctx.cancel()
}

func (sc *serverConn) parse(f frame) (received, error) {
	id, n := binary.Uvarint(f.payload.b)
	if n <= 0 {
		return received{}, protocolErrorf("malformed request")
	}
	micros, m := binary.Uvarint(f.payload.b[n:])
	if m <= 0 {
		return received{}, protocolErrorf("malformed request")
	}
	methods := *sc.server.methods.Load()
	if id >= uint64(len(methods)) {
		return received{}, protocolErrorf("request for unknown method %d", id)
	}
	const maxTimeout = 1 << 62 / uint64(time.Microsecond)
	return received{
		method: methods[id], callID: f.callID, payload: f.payload, body: f.payload.b[n+m:],
		timeout: time.Duration(min(micros, maxTimeout)) * time.Microsecond,
	}, nil
}

// admit checks that the service was bound, and prepares what its handler is told.
func (sc *serverConn) admit(m *method) *Error {
	if !sc.allowed[m.service] {
		return Errorf(CodeUnauthenticated, "service %q is not bound on this connection", m.service.name)
	}
	if sc.infos[m] == nil {
		info := sc.info
		info.Method = m.name
		sc.infos[m] = &info
	}
	return nil
}

// run decodes, calls and answers.
func (sc *serverConn) run(ctx context.Context, r received) {
	req := r.method.shape.req.new()
	err := r.method.shape.req.decode(r.body, req)
	defer r.payload.release() // the request may hold slices of it
	if err != nil {
		sc.server.opts.Logger.Warn("request cannot be decoded", "method", r.method.name, "remote", addrString(sc.info.Remote), "error", err)
		if !r.method.shape.oneWay {
			sc.sendError(r.callID, Errorf(CodeInvalid, "%s: decoding the request: %v", r.method.name, err), true)
		}
		return
	}
	began := r.method.counters.begin()
	resp, err := r.method.call(ctx, req)
	r.method.counters.end(began, err == nil)
	if r.method.shape.oneWay {
		if err != nil {
			sc.server.opts.Logger.Debug("one-way message failed", "method", r.method.name, "remote", addrString(sc.info.Remote), "error", err)
		}
		return
	}
	if err != nil {
		sc.sendError(r.callID, toError(err), false)
		return
	}
	f := newFrame()
	b, err := r.method.shape.resp.append(f.b, resp)
	if err != nil {
		f.release()
		sc.sendError(r.callID, Errorf(CodeInternal, "%s: encoding the answer: %v", r.method.name, err), false)
		return
	}
	f.b = b
	if len(f.b) > sc.maxSendBytes {
		n := len(f.b)
		f.release()
		sc.sendError(r.callID, Errorf(CodeTooLarge, "%s: the answer takes %d bytes, the connection's limit is %d", r.method.name, n, sc.maxSendBytes), false)
		return
	}
	f.seal(frameResponse, 0, r.callID)
	_ = sc.out.push(sc.ctx, f, false) // fails only when the connection has ended
}

func (sc *serverConn) sendError(callID uint64, e *Error, notRun bool) {
	f := newFrame()
	f.b = appendError(f.b, e)
	var flags uint8
	if notRun {
		flags = flagNotRun
	}
	f.seal(frameError, flags, callID)
	_ = sc.out.push(sc.ctx, f, false) // fails only when the connection has ended
}

// queueOneWay hands a message to the goroutine that runs this connection's one-way messages in order.
func (sc *serverConn) queueOneWay(r received) {
	if sc.oneWay == nil {
		sc.oneWay = make(chan received, oneWayQueueMessages)
		sc.oneWayRunning.Go(func() { sc.runOneWay(sc.oneWay) })
	}
	if !sc.enter(r.callID, nil) {
		r.payload.release()
		return
	}
	sc.oneWay <- r
}

func (sc *serverConn) runOneWay(queue <-chan received) {
	for r := range queue {
		// Not under the connection's context: its end does not take back what was sent before.
		sc.run(&infoContext{sc.server.base, r.info}, r)
		sc.leave(r.callID)
	}
}

// enter counts a call as active; false while draining.
func (sc *serverConn) enter(callID uint64, ctx *callContext) bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.draining {
		return false
	}
	sc.active++
	if ctx != nil {
		sc.inFlight[callID] = ctx
	}
	return true
}

func (sc *serverConn) leave(callID uint64) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	delete(sc.inFlight, callID)
	sc.active--
	sc.finishIfDrained()
}

func (sc *serverConn) finishIfDrained() {
	if sc.draining && sc.active == 0 {
		sc.out.finish(errShuttingDown)
	}
}

var errShuttingDown = &Error{Code: CodeUnavailable, Message: "the server is shutting down"}

func (sc *serverConn) refuseDraining(r received) {
	r.payload.release()
	if !r.method.shape.oneWay {
		sc.sendError(r.callID, errShuttingDown, true)
	}
}

func (sc *serverConn) sendGoAway(reason *Error) {
	f := newFrame()
	f.b = appendError(f.b, reason)
	f.seal(frameGoAway, 0, 0)
	sc.out.pushControl(f)
}

// end ends the connection and tells the client why, if it listens. What it still sends is not handled.
func (sc *serverConn) end(reason *Error) {
	_ = sc.conn.SetWriteDeadline(time.Now().Add(lingerTimeout)) // a connection without deadlines has a network of its own to end it
	sc.sendGoAway(reason)
	sc.out.finish(reason)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.draining = true
}

// drain refuses new calls and ends the connection once the running ones are answered.
func (sc *serverConn) drain() {
	sc.sendGoAway(errShuttingDown)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.draining = true
	sc.finishIfDrained()
}
