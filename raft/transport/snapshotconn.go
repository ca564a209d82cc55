package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

// errChunksLost means that the receiver has dropped chunks of this connection: they came damaged or out of order.
var errChunksLost = errors.New("the receiver has dropped chunks of the snapshot")

// snapshotConn is one connection of a stream.
type snapshotConn struct {
	client  *rpc.Client
	service snapshotService
	handle  uint64
	pushed  int // chunks of the window that were sent over it

	asking  bool
	askedAt uint64 // bytes that were sent when it was asked
	answers chan snapshotAnswer
}

// snapshotAnswer is the receiver's answer to a Sync.
type snapshotAnswer struct {
	bytes uint64
	err   error
}

// connect makes a connection and begins or goes on with the stream, unless there is one.
func (o *outbound) connect() error {
	if o.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(o.ctx, SnapshotStallTimeout)
	defer cancel()
	o.peer.mu.Lock()
	address := o.peer.address
	o.peer.mu.Unlock()
	client, err := rpc.Dial(ctx, address, o.peer.clientOptions(purposeSnapshot))
	if err != nil {
		return err
	}
	c := &snapshotConn{client: client, answers: make(chan snapshotAnswer, 1)}
	err = rpc.BindContext(ctx, client, serviceSnapshot, &c.service)
	var begun *snapshotBegun
	if err == nil {
		begun, err = c.service.Begin(ctx, &snapshotBegin{stream: o.id, acked: o.acked, total: o.progress.total, message: o.message})
	}
	if err != nil {
		_ = client.Close()
		return err
	}
	if o.begun {
		o.progress.resumed.Add(1)
		o.peer.counters.snapshotsResumed.Add(1)
	}
	c.handle, o.begun = begun.Handle, true
	o.committed = begun.Committed
	o.conn = c
	if o.committed {
		return nil
	}
	c.pushed = len(o.window) // acknowledge counts down from it
	if err := o.acknowledge(begun.Bytes); err != nil {
		return err
	}
	c.pushed = 0
	return nil
}

// push sends what the window holds and waits until at most that many chunks are unacknowledged. How far the receiver is, is asked
// beside that, one question at a time, so that neither side waits for the other while there is room.
func (o *outbound) push(most int) error {
	c := o.conn
	offset := o.acked
	for i, data := range o.window {
		if i >= c.pushed {
			if err := c.service.Chunk(o.ctx, &chunk{handle: c.handle, offset: offset, data: data}); err != nil {
				return err
			}
			c.pushed++
			o.peer.counters.snapshotBytes.Add(uint64(len(data)))
		}
		offset += uint64(len(data))
	}
	for {
		if !c.asking && len(o.window) > 0 {
			c.ask(o.ctx, o.sent)
		}
		if len(o.window) > most {
			if err := o.take(<-c.answers); err != nil { // comes for sure: the question has a timeout
				return err
			}
			continue
		}
		select {
		case a := <-c.answers:
			if err := o.take(a); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// ask asks how far the receiver is; what was sent before is handled before.
func (c *snapshotConn) ask(ctx context.Context, sent uint64) {
	c.asking, c.askedAt = true, sent
	go func() {
		ctx, cancel := context.WithTimeout(ctx, SnapshotStallTimeout)
		defer cancel()
		reply, err := c.service.Sync(ctx, &snapshotSync{Handle: c.handle})
		if err != nil {
			c.answers <- snapshotAnswer{err: err}
			return
		}
		c.answers <- snapshotAnswer{bytes: reply.Bytes}
	}()
}

func (o *outbound) take(a snapshotAnswer) error {
	o.conn.asking = false
	if a.err != nil {
		return a.err
	}
	askedAt := o.conn.askedAt
	if err := o.acknowledge(a.bytes); err != nil {
		return err
	}
	if a.bytes < askedAt {
		return errChunksLost
	}
	return nil
}

func (c *snapshotConn) commit(ctx context.Context, bytes uint64, sum uint32) error {
	ctx, cancel := context.WithTimeout(ctx, SnapshotCommitTimeout)
	defer cancel()
	_, err := c.service.Commit(ctx, &snapshotCommit{Handle: c.handle, Bytes: bytes, CRC32C: sum})
	return err
}

// mend ends a broken connection and waits a moment, so that the stream may go on over another. It returns an error when it may not.
func (o *outbound) mend(err error) error {
	if o.ctx.Err() != nil {
		return o.ended(err)
	}
	if !o.begun || !o.breaks(err) {
		return err
	}
	o.drop()
	t, began := o.transport, time.Now()
	if o.broken.IsZero() {
		o.broken = began
	}
	total := t.resumeTotal
	if o.committing {
		total = max(total, SnapshotCommitTimeout) // the receiver may be busy with its disk, as long as it is there
	}
	if began.Sub(o.broken) > t.resumeTimeout || o.brokenFor > total {
		return err
	}
	t.cfg.Logger.Info("the connection of a snapshot broke, going on over another", "peer", o.peer.id.String(), "bytes", o.acked, "error", err)
	pause := rpc.DefaultMinBackoff + rand.N(rpc.DefaultMinBackoff)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-o.ctx.Done():
		return o.ended(err)
	}
	if err := o.connect(); err != nil && !o.breaks(err) {
		return err
	}
	if o.conn != nil && o.committing {
		o.broken = time.Time{}
	}
	o.brokenFor += time.Since(began)
	return nil
}

// breaks tells an error of the connection, after which the stream may go on, from the receiver's refusal.
func (o *outbound) breaks(err error) bool {
	if errors.Is(err, errChunksLost) || (o.conn != nil && o.conn.client.Err() != nil && rpc.CodeOf(err) != rpc.CodeAborted) {
		return true
	}
	switch rpc.CodeOf(err) {
	case rpc.CodeUnavailable, rpc.CodeDeadline, rpc.CodeExhausted:
		return true
	}
	return false
}

// drop ends the connection.
func (o *outbound) drop() {
	if o.conn != nil {
		_ = o.conn.client.Close() // the receiver keeps what it has
		o.conn = nil
	}
}

// leave ends the stream; after a failure it tells the receiver that no more will come, if that is easy.
func (o *outbound) leave(err error) {
	if err != nil && o.conn != nil && o.conn.client.Err() == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), snapshotAbortTimeout)
		defer cancel()
		_, _ = o.conn.service.Abort(ctx, &snapshotSync{Handle: o.conn.handle}) // its own timeout ends the stream otherwise
	}
	o.drop()
}
