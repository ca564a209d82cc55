package transport

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// SnapshotChunkBytes is the size of all chunks but the last.
	SnapshotChunkBytes = 512 << 10
	// snapshotWindowChunks is how many chunks may be on their way. The sender keeps them until the receiver has said to have written
	// them: so much memory a stream takes, and so much is sent again when its connection breaks.
	snapshotWindowChunks = 8
	// MaxSnapshotStreams bounds the snapshots that are sent at the same time; further ones fail with rpc.CodeExhausted.
	MaxSnapshotStreams = 4
	// DefaultSnapshotBytesPerSecond is what a node should set Config.SnapshotBytesPerSecond to without a reason for another: with kv it
	// costs a leader about a third of a processor, and the receiver, which builds the state anew, about one.
	DefaultSnapshotBytesPerSecond = 128 << 20
	// MinSnapshotBytesPerSecond is the lowest rate that may be set, so that a chunk is no pause that looks like a stall.
	MinSnapshotBytesPerSecond = 128 << 10

	// SnapshotStallTimeout bounds each step of a stream: at the sender each answer, at the receiver the time between two chunks.
	SnapshotStallTimeout = 30 * time.Second
	// SnapshotCommitTimeout bounds the receiver's check and sync of the whole.
	SnapshotCommitTimeout = 5 * time.Minute
	// SnapshotResumeTimeout bounds how long a stream waits to go on after its connection broke, and SnapshotResumeTotal all such
	// waits of a stream together. The snapshot's source stays open meanwhile, which costs its owner (a long read transaction of bbolt
	// keeps pages from being used again); past it the stream fails and a new snapshot begins from zero.
	SnapshotResumeTimeout = 10 * time.Second
	SnapshotResumeTotal   = time.Minute
	// SnapshotKeepTimeout is how long the receiver keeps what it has staged for a sender whose connection broke.
	SnapshotKeepTimeout = 2 * SnapshotResumeTimeout
	// snapshotAbortTimeout bounds the attempt to tell the receiver that no more will come; its own timeout is there for the rest.
	snapshotAbortTimeout = 200 * time.Millisecond
)

// SendSnapshot streams a snapshot to the receiver of m, a MsgSnapshot, over a connection of its own, and returns nil once the
// receiver has committed it. When the connection breaks on the way, the stream goes on over a new one from what the receiver has
// staged, see SnapshotResumeTimeout; a receiver that has lost that (its process has ended) gives rpc.CodeAborted. It blocks; end it
// by the context. The member's removal ends it too. One snapshot at a time goes to a member: another fails with rpc.CodeAborted,
// and one past MaxSnapshotStreams with rpc.CodeExhausted. The error has rpc.CodeAborted as well when the receiver takes one of a
// newer term. The rate is bounded by Config.SnapshotBytesPerSecond.
func (t *Transport) SendSnapshot(ctx context.Context, m raft.Message, snapshot io.WriterTo) error {
	if m.Type != raft.MsgSnapshot || m.Snapshot == nil {
		return rpc.Errorf(rpc.CodeInvalid, "SendSnapshot wants a snapshot message, not %v", m.Type)
	}
	o := &outbound{transport: t, message: m, id: rand.Uint64(), filling: make([]byte, 0, SnapshotChunkBytes)}
	o.progress = progress{peer: m.To, meta: *m.Snapshot, started: time.Now()}
	if h, ok := snapshot.(SizeHinter); ok {
		o.progress.total = h.SizeHint()
	}
	if err := t.beginStreaming(o); err != nil {
		return err
	}
	defer t.endStreaming(o)
	var cancel context.CancelFunc
	o.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.peer.ctx, cancel)()
	err := o.send(snapshot)
	o.leave(err)
	if err != nil {
		o.peer.counters.snapshotsFailed.Add(1)
		return fmt.Errorf("snapshot at index %d to member %v, after %d bytes: %w", m.Snapshot.Index, m.To, o.acked, err)
	}
	o.peer.counters.snapshots.Add(1)
	return nil
}

func (t *Transport) beginStreaming(o *outbound) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := o.message.To
	p := t.peers[id]
	if p == nil {
		return rpc.Errorf(rpc.CodeNotFound, "member %v is not known here", id)
	}
	if t.outbound[id] != nil {
		return rpc.Errorf(rpc.CodeAborted, "a snapshot is already being sent to member %v", id)
	}
	if len(t.outbound) >= MaxSnapshotStreams {
		return rpc.Errorf(rpc.CodeExhausted, "%d snapshots are being sent already, which is the limit: try again when one has ended", MaxSnapshotStreams)
	}
	t.outbound[id] = o
	o.peer = p
	p.running.Add(1)
	return nil
}

func (t *Transport) endStreaming(o *outbound) {
	t.mu.Lock()
	delete(t.outbound, o.message.To)
	t.mu.Unlock()
	o.peer.running.Done()
}

// outbound is a snapshot on its way to a member: it cuts what is written into chunks and keeps the last ones until the receiver has
// them. One goroutine owns it.
type outbound struct {
	transport *Transport
	peer      *peer
	ctx       context.Context // ends with the caller's and, a moment later, the member's
	message   raft.Message
	id        uint64
	progress  progress

	filling []byte   // the chunk that is being written
	window  [][]byte // chunks behind acked, in order
	spare   [][]byte // buffers to use again
	acked   uint64   // bytes that the receiver has said to have
	sent    uint64   // bytes up to the end of the window
	sum     uint32   // CRC32C of them

	conn       *snapshotConn // nil after a break
	broken     time.Time     // the first break since the last progress; zero: none
	brokenFor  time.Duration // what all breaks took together
	begun      bool          // the receiver knows of the stream
	committing bool          // the receiver may be committing it
	committed  bool
}

func (o *outbound) send(snapshot io.WriterTo) error {
	if err := o.advance(snapshotWindowChunks); err != nil { // so that a receiver that refuses costs no read
		return err
	}
	if _, err := snapshot.WriteTo(o); err != nil {
		return err
	}
	if err := o.ship(); err != nil {
		return err
	}
	return o.commit()
}

// Write implements io.Writer for the snapshot's WriteTo.
func (o *outbound) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), SnapshotChunkBytes-len(o.filling))
		o.filling = append(o.filling, p[:n]...)
		p, written = p[n:], written+n
		if len(o.filling) == SnapshotChunkBytes {
			if err := o.ship(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// ship puts the chunk into the window, at the agreed rate, and waits for room for the next.
func (o *outbound) ship() error {
	if len(o.filling) == 0 {
		return nil
	}
	if limiter := o.transport.snapshotRate; limiter != nil {
		if err := limiter.WaitN(o.ctx, len(o.filling)); err != nil {
			return o.ended(err)
		}
	}
	o.sum = crc32.Update(o.sum, castagnoli, o.filling)
	o.sent += uint64(len(o.filling))
	o.window = append(o.window, o.filling)
	o.filling = o.buffer()
	return o.advance(snapshotWindowChunks - 1)
}

func (o *outbound) buffer() []byte {
	if n := len(o.spare); n > 0 {
		b := o.spare[n-1]
		o.spare = o.spare[:n-1]
		return b
	}
	return make([]byte, 0, SnapshotChunkBytes)
}

// advance sends the window and returns when at most that many chunks are unacknowledged. It mends broken connections.
func (o *outbound) advance(most int) error {
	for !o.committed {
		err := o.connect()
		if err == nil && !o.committed {
			err = o.push(most)
		}
		if err == nil {
			return nil
		}
		if err := o.mend(err); err != nil {
			return err
		}
	}
	return nil
}

func (o *outbound) commit() error {
	for !o.committed {
		if err := o.advance(0); err != nil || o.committed {
			return err
		}
		o.committing = true
		err := o.conn.commit(o.ctx, o.sent, o.sum)
		if err == nil {
			o.committed = true
			break
		}
		if rpc.CodeOf(err) == rpc.CodeDeadline {
			return err
		}
		if err := o.mend(err); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge drops what the receiver has from the window. It has whole chunks, or something is wrong.
func (o *outbound) acknowledge(bytes uint64) error {
	if bytes < o.acked || bytes > o.sent {
		return rpc.Errorf(rpc.CodeAborted, "the receiver has %d bytes of the stream, it had %d and was sent %d: it must begin anew", bytes, o.acked, o.sent)
	}
	n := 0
	for ; o.acked < bytes; n++ {
		o.acked += uint64(len(o.window[n]))
		o.spare = append(o.spare, o.window[n][:0])
	}
	if o.acked != bytes {
		return rpc.Errorf(rpc.CodeAborted, "the receiver has %d bytes of the stream, which is in the middle of a chunk: it must begin anew", bytes)
	}
	if n > 0 {
		o.window = append(o.window[:0], o.window[n:]...)
		o.broken = time.Time{}
	}
	if o.conn != nil {
		o.conn.pushed -= n
	}
	o.progress.bytes.Store(o.acked)
	return nil
}

// ended says why the stream's context has ended.
func (o *outbound) ended(err error) error {
	if o.peer.ctx.Err() != nil {
		return rpc.Errorf(rpc.CodeCanceled, "the member is no longer connected to: it was removed, or this transport is closing")
	}
	if cause := context.Cause(o.ctx); cause != nil {
		return cause
	}
	return err
}
