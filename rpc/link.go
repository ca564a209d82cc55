package rpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultReadBufferBytes is what a connection reads into.
	DefaultReadBufferBytes = 64 << 10
	// writeBufferBytes is how much the writer gathers from small frames into one write; a frame of half of it or more is written
	// without the copy.
	writeBufferBytes = 64 << 10

	// DefaultPingInterval and DefaultIdleTimeout: each side pings at the interval, and gives a connection up from which it heard
	// nothing for the timeout.
	DefaultPingInterval = time.Second
	DefaultIdleTimeout  = 5 * time.Second
	// maxAskedPingInterval bounds what a client may ask of a server, and askedPingsPerTimeout is in how many of such intervals without a
	// sign the server gives the connection up.
	maxAskedPingInterval = time.Minute
	askedPingsPerTimeout = 3
	// DefaultHandshakeTimeout bounds the exchange of greetings.
	DefaultHandshakeTimeout = 5 * time.Second
	// lingerTimeout bounds the wait for the other side to close after the last frame was written.
	lingerTimeout = time.Second
)

// patience is how often a side pings, and for how long it bears silence.
type patience struct {
	pingInterval, idleTimeout time.Duration
	// onlySilence has it ping only when nothing was heard for the interval: the other side's pings show as much, and are answered.
	onlySilence bool
}

// link is one established connection of either side: a reader, a writer that gathers queued frames, and a keepalive, which has no goroutine of its own, since
// there may be thousands of links that say nothing.
type link struct {
	conn         net.Conn
	in           frameReader
	out          *sendQueue
	maxSendBytes int
	started      time.Time
	calls        *Calls // may be nil

	waitingSince atomic.Int64 // nanoseconds since started at which the reader began to wait for bytes; 0 while it does not wait
	rttNanos     atomic.Int64
	received     atomic.Uint64 // bytes
	arrivals     arrivals

	aliveMu  sync.Mutex
	patience patience
	tick     *time.Timer // nil before start, and once the link has ended

	failOnce sync.Once
	failure  error                                   // why the link ended; read it after done
	done     chan struct{}                           // closed when the link has ended
	onFail   func(err error, unsent map[uint64]bool) // called once, before done is closed
	running  sync.WaitGroup                          // reader and writer
}

func newLink(conn net.Conn, hs *handshakeResult, maxFrameBytes, readBufferBytes int, calls *Calls) *link {
	l := &link{conn: conn, out: newSendQueue(), maxSendBytes: hs.maxSendBytes, started: time.Now(), calls: calls, done: make(chan struct{})}
	l.in = frameReader{r: bufio.NewReaderSize((*linkReader)(l), readBufferBytes), maxBytes: maxFrameBytes}
	return l
}

// start runs the loops; handle gets every frame that is not a ping or pong, on the reading goroutine, and owns its payload.
func (l *link) start(p patience, handle func(frame) error) {
	l.calls.connected(l)
	l.bear(p) // before what is read may ask for another
	l.running.Go(func() { l.readLoop(handle) })
	l.running.Go(l.writeLoop)
}

// bear has the keepalive go on with that patience, unless the link has ended.
func (l *link) bear(p patience) {
	l.aliveMu.Lock()
	defer l.aliveMu.Unlock()
	select {
	case <-l.done:
		return
	default:
	}
	l.patience = p
	if l.tick == nil {
		l.tick = time.AfterFunc(p.pingInterval, l.keepAlive)
		return
	}
	l.tick.Reset(p.pingInterval)
}

// fail ends the link; only the first reason counts.
func (l *link) fail(err error) {
	l.failOnce.Do(func() {
		l.failure = err
		unsent := l.out.close(err)
		l.calls.disconnected(l)
		_ = l.conn.Close() // the reason to close is what counts
		if l.onFail != nil {
			l.onFail(err, unsent)
		}
		close(l.done)
		l.aliveMu.Lock()
		defer l.aliveMu.Unlock()
		if l.tick != nil {
			l.tick.Stop()
			l.tick = nil
		}
	})
}

// linkReader notes when the reader waits for the other side, so that the keepalive can tell a silent peer from a reader that is
// held back on purpose.
type linkReader link

func (r *linkReader) Read(p []byte) (int, error) {
	r.waitingSince.Store(int64(time.Since(r.started)) | 1)
	n, err := r.conn.Read(p)
	r.waitingSince.Store(0)
	r.calls.read(n)
	r.received.Add(uint64(max(n, 0)))
	return n, err
}

func (l *link) readLoop(handle func(frame) error) {
	for {
		f, err := l.in.read()
		if err != nil {
			l.fail(readError(err))
			return
		}
		switch f.typ {
		case framePing:
			pong := newFrame()
			pong.b = append(pong.b, f.payload.b[:min(8, len(f.payload.b))]...)
			f.payload.release()
			pong.seal(framePong, 0, 0)
			l.out.pushControl(pong)
		case framePong:
			if len(f.payload.b) == 8 {
				sent := time.Duration(binary.BigEndian.Uint64(f.payload.b))
				l.rttNanos.Store(int64(max(time.Since(l.started)-sent, 1)))
				l.arrivals.answered(sent)
			}
			f.payload.release()
		default:
			if err := handle(f); err != nil {
				l.fail(err)
				return
			}
		}
	}
}

func readError(err error) error {
	var p *protocolError
	switch {
	case errors.As(err, &p):
		return &Error{Code: CodeInternal, Message: err.Error(), cause: err}
	case errors.Is(err, io.EOF):
		return &Error{Code: CodeUnavailable, Message: "the other side closed the connection", cause: err}
	}
	return &Error{Code: CodeUnavailable, Message: "connection lost: " + err.Error(), cause: err}
}

func (l *link) writeLoop() {
	var gathered []byte // grows with use: a connection that is mostly quiet holds none
	var batch []*buffer
	for {
		var ok bool
		if batch, ok = l.out.take(batch); !ok {
			l.linger()
			return
		}
		var err error
		gathered, err = l.writeBatch(batch, gathered)
		for i, f := range batch {
			f.release()
			batch[i] = nil
		}
		if err != nil {
			l.fail(&Error{Code: CodeUnavailable, Message: "connection lost: " + err.Error(), cause: err})
			return
		}
	}
}

// linger ends a link whose last frame is written: it closes the writing half and waits for the other side to close, since closing
// with unread bytes in the kernel would reset the connection and could destroy what was just written.
func (l *link) linger() {
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		select {
		case <-l.done:
		case <-time.After(lingerTimeout):
		}
	}
	l.fail(&Error{Code: CodeUnavailable, Message: "connection closed"})
}

// writeBatch writes all frames in order, small ones gathered in the buffer given, which it returns empty for the next batch.
func (l *link) writeBatch(batch []*buffer, gathered []byte) ([]byte, error) {
	if len(batch) == 1 {
		_, err := l.write(batch[0].b)
		return gathered, err
	}
	for _, f := range batch {
		if len(gathered) > 0 && len(gathered)+len(f.b) > writeBufferBytes {
			if _, err := l.write(gathered); err != nil {
				return gathered, err
			}
			gathered = gathered[:0]
		}
		if len(f.b) >= writeBufferBytes/2 && len(gathered) == 0 {
			if _, err := l.write(f.b); err != nil {
				return gathered, err
			}
			continue
		}
		gathered = append(gathered, f.b...)
	}
	if len(gathered) == 0 {
		return gathered, nil
	}
	_, err := l.write(gathered)
	return gathered[:0], err
}

func (l *link) write(b []byte) (int, error) {
	n, err := l.conn.Write(b)
	l.calls.wrote(n)
	return n, err
}

// keepAlive pings and watches for silence. The other side may stop reading for as long as its handlers are busy (that is its
// backpressure), so a blocked write is no sign of death; its own pings show that it lives.
func (l *link) keepAlive() {
	p, goesOn := l.nextTick()
	if !goesOn {
		return
	}
	now, since := time.Since(l.started), time.Duration(l.waitingSince.Load())
	if since != 0 && now-since > p.idleTimeout {
		l.fail(Errorf(CodeUnavailable, "connection lost: nothing heard from %v for %v", l.conn.RemoteAddr(), p.idleTimeout))
		return
	}
	// A reader that does not wait is held back by handlers and answers no pings: then this side's own are all that shows that it lives.
	if p.onlySilence && since != 0 && now-since < p.pingInterval {
		return
	}
	ping := newFrame()
	ping.b = binary.BigEndian.AppendUint64(ping.b, uint64(now))
	ping.seal(framePing, 0, 0)
	if end := l.out.pushControl(ping); end > 0 {
		l.arrivals.pinged(now, end)
	}
}

// nextTick sees to the tick after this one, and gives the patience in force; false once the link has ended.
func (l *link) nextTick() (patience, bool) {
	l.aliveMu.Lock()
	defer l.aliveMu.Unlock()
	if l.tick == nil {
		return patience{}, false
	}
	l.tick.Reset(l.patience.pingInterval)
	return l.patience, true
}
