package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// SnapshotSink takes snapshots from other members, one at a time.
type SnapshotSink interface {
	// Begin is called for a MsgSnapshot whose stream follows.
	Begin(m raft.Message) (SnapshotWriter, error)
}

// SnapshotWriter takes one snapshot. Exactly one of Commit and Abort ends it.
type SnapshotWriter interface {
	io.Writer
	// Commit is called when all bytes have arrived and their checksum is right. Once it returns nil the sender knows that the
	// snapshot is staged; stepping the MsgSnapshot is the sink's part.
	Commit() error
	Abort() error
}

// receiver holds the one snapshot that is arriving.
type receiver struct {
	transport *Transport
	whole     atomic.Uint64

	beginning sync.Mutex // one Begin at a time

	mu      sync.Mutex
	current *inbound // nil between two
	ended   *inbound // the last one that ended
	lastID  uint64
	closed  bool
}

// inbound is an arriving snapshot. mu is held while the writer works, so ending it waits for that.
type inbound struct {
	id   uint64
	term raft.Term
	from raft.NodeID

	mu     sync.Mutex
	writer SnapshotWriter // nil once ended
	offset uint64
	sum    hash.Hash
	failed *rpc.Error // why it has ended without Commit
	idle   *time.Timer
	unhook func() bool // from the connection's context
}

func (r *receiver) register(server *rpc.Server) error {
	// Inline: on a connection for one snapshot only, waiting for the disk is the backpressure.
	return rpc.Register(server, serviceSnapshot, snapshotService{Begin: r.begin, Chunk: r.chunk, Sync: r.sync, Commit: r.commit},
		rpc.Inline(), rpc.Authorize(MembersOnly))
}

func (r *receiver) begin(ctx context.Context, b *batch) (*snapshotBegun, error) {
	from, ok := FromContext(ctx)
	if !ok || from.Purpose != purposeSnapshot || len(b.messages) != 1 {
		return nil, rpc.Errorf(rpc.CodeInvalid, "a snapshot wants one message on a connection of its own")
	}
	m := b.messages[0]
	if m.Type != raft.MsgSnapshot || m.Snapshot == nil || m.From != from.From || m.To != from.To {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v message from %v to %v does not begin a snapshot from %v to %v", m.Type, m.From, m.To, from.From, from.To)
	}
	if r.transport.cfg.Sink == nil {
		return nil, rpc.Errorf(rpc.CodeNotFound, "this process takes no snapshots")
	}
	r.beginning.Lock()
	defer r.beginning.Unlock()
	if err := r.replace(m); err != nil {
		return nil, err
	}
	w, err := r.transport.cfg.Sink.Begin(m)
	if err != nil {
		return nil, err
	}
	in := &inbound{term: m.Term, from: m.From, writer: w, sum: sha256.New()}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.idle = time.AfterFunc(SnapshotStallTimeout, func() {
		r.abort(in, rpc.Errorf(rpc.CodeDeadline, "nothing of the snapshot arrived for %v", SnapshotStallTimeout))
	})
	in.unhook = context.AfterFunc(ctx, func() {
		r.abort(in, rpc.Errorf(rpc.CodeUnavailable, "the connection ended before the snapshot was whole"))
	})
	r.mu.Lock()
	closed := r.closed
	r.lastID++
	in.id = r.lastID
	r.current = in
	r.mu.Unlock()
	if closed {
		r.end(in, rpc.Errorf(rpc.CodeUnavailable, "this process is stopping"))
		return nil, in.failed
	}
	r.transport.cfg.Logger.Info("snapshot is arriving", "peer", m.From.String(), "index", uint64(m.Snapshot.Index), "term", uint64(m.Snapshot.Term))
	return &snapshotBegun{Stream: in.id}, nil
}

// replace ends the snapshot that is arriving, unless it is of a newer term. Of one term there is one leader (§5.2), so one of the same
// term is the same leader's second attempt.
func (r *receiver) replace(m raft.Message) error {
	r.mu.Lock()
	old := r.current
	r.mu.Unlock()
	if old == nil {
		return nil
	}
	if old.term > m.Term {
		return rpc.Errorf(rpc.CodeAborted, "a snapshot of the newer term %d is arriving from member %v", old.term, old.from)
	}
	r.abort(old, rpc.Errorf(rpc.CodeAborted, "replaced by a snapshot of term %d from member %v", m.Term, m.From))
	return nil
}

// find gives the arriving snapshot, locked.
func (r *receiver) find(id uint64) (*inbound, error) {
	r.mu.Lock()
	in := r.current
	if in == nil {
		in = r.ended
	}
	r.mu.Unlock()
	if in == nil || in.id != id {
		return nil, rpc.Errorf(rpc.CodeAborted, "the snapshot is no longer being received")
	}
	in.mu.Lock()
	if in.writer == nil {
		defer in.mu.Unlock()
		if in.failed == nil {
			return nil, rpc.Errorf(rpc.CodeInvalid, "the snapshot is already committed")
		}
		return nil, in.failed
	}
	in.idle.Reset(SnapshotStallTimeout)
	return in, nil
}

func (r *receiver) chunk(_ context.Context, c *chunk) error {
	in, err := r.find(c.stream)
	if err != nil {
		return err // the sender hears of it at its next Sync
	}
	defer in.mu.Unlock()
	if c.offset != in.offset {
		r.end(in, rpc.Errorf(rpc.CodeInvalid, "snapshot chunk at offset %d, want %d", c.offset, in.offset))
		return in.failed
	}
	if _, err := in.writer.Write(c.data); err != nil {
		r.end(in, rpc.Errorf(rpc.CodeInternal, "writing the snapshot: %v", err))
		return in.failed
	}
	in.sum.Write(c.data)
	in.offset += uint64(len(c.data))
	return nil
}

func (r *receiver) sync(_ context.Context, req *snapshotSync) (*snapshotSynced, error) {
	in, err := r.find(req.Stream)
	if err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	return &snapshotSynced{Bytes: in.offset}, nil
}

func (r *receiver) commit(_ context.Context, req *snapshotCommit) (*snapshotCommitted, error) {
	in, err := r.find(req.Stream)
	if err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	if req.Bytes != in.offset || !bytes.Equal(req.SHA256, in.sum.Sum(nil)) {
		r.end(in, rpc.Errorf(rpc.CodeInvalid, "the snapshot's checksum or length is wrong: %d bytes arrived, %d were sent", in.offset, req.Bytes))
		return nil, in.failed
	}
	writer := in.writer
	r.detach(in)
	if err := writer.Commit(); err != nil {
		in.failed = rpc.Errorf(rpc.CodeInternal, "committing the snapshot: %v", err)
		return nil, in.failed
	}
	r.whole.Add(1)
	return &snapshotCommitted{}, nil
}

// abort ends a snapshot from outside.
func (r *receiver) abort(in *inbound, why *rpc.Error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r.end(in, why)
}

// end aborts the writer; in.mu is held.
func (r *receiver) end(in *inbound, why *rpc.Error) {
	if in.writer == nil {
		return
	}
	writer := in.writer
	in.failed = why
	r.detach(in)
	r.transport.cfg.Logger.Warn("snapshot given up", "peer", in.from.String(), "bytes", in.offset, "error", why)
	if err := writer.Abort(); err != nil {
		r.transport.cfg.Logger.Warn("dropping an unfinished snapshot failed", "error", err)
	}
}

// detach ends the stream for everyone who looks for it; in.mu is held.
func (r *receiver) detach(in *inbound) {
	in.writer = nil
	in.idle.Stop()
	in.unhook()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = in
	if r.current == in {
		r.current = nil
	}
}

func (r *receiver) close() {
	r.mu.Lock()
	r.closed = true
	in := r.current
	r.mu.Unlock()
	if in != nil {
		r.abort(in, rpc.Errorf(rpc.CodeUnavailable, "this process is stopping"))
	}
}
