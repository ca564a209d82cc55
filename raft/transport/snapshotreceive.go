package transport

import (
	"context"
	"hash/crc32"
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
	bytes     atomic.Uint64
	resumed   atomic.Uint64
	failed    atomic.Uint64

	beginning sync.Mutex // one Begin at a time

	mu         sync.Mutex
	current    *inbound // nil between two
	ended      *inbound // the last one that ended
	lastHandle uint64
	closed     bool
}

// streamIdentity tells one stream from all others: a stream goes on only for the process that began it.
type streamIdentity struct {
	from        raft.NodeID
	incarnation raft.Incarnation
	nonce       uint64
	stream      uint64
}

// inbound is an arriving snapshot. It outlives its connection for SnapshotKeepTimeout. mu is held while the writer works, so ending it
// waits for that.
type inbound struct {
	identity streamIdentity
	term     raft.Term
	handle   atomic.Uint64 // of the newest connection; older ones are dead
	progress progress

	mu     sync.Mutex
	writer SnapshotWriter // nil once ended
	offset uint64
	sum    uint32
	failed *rpc.Error // why it has ended without Commit
	idle   *time.Timer
	unhook func() bool // from the connection's context
}

func (r *receiver) register(server *rpc.Server) error {
	// Inline: on a connection for one snapshot only, waiting for the disk is the backpressure.
	return rpc.Register(server, serviceSnapshot, snapshotService{Begin: r.begin, Chunk: r.chunk, Sync: r.sync, Commit: r.commit, Abort: r.giveUp},
		rpc.Inline(), rpc.Authorize(MembersOnly))
}

func (r *receiver) begin(ctx context.Context, b *snapshotBegin) (*snapshotBegun, error) {
	from, ok := FromContext(ctx)
	if !ok || from.Purpose != purposeSnapshot {
		return nil, rpc.Errorf(rpc.CodeInvalid, "a snapshot wants a connection of its own")
	}
	m := b.message
	if m.Type != raft.MsgSnapshot || m.Snapshot == nil || m.From != from.From || m.To != from.To {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v message from %v to %v does not begin a snapshot from %v to %v", m.Type, m.From, m.To, from.From, from.To)
	}
	if r.transport.cfg.Sink == nil {
		return nil, rpc.Errorf(rpc.CodeNotFound, "this process takes no snapshots")
	}
	identity := streamIdentity{from.From, from.FromIncarnation, from.Nonce, b.stream}
	r.beginning.Lock()
	defer r.beginning.Unlock()
	if ctx.Err() != nil { // what its sender has begun since is not to give way to this
		return nil, errSenderGone
	}
	if in := r.known(identity); in != nil {
		return r.goOn(ctx, in)
	}
	if b.acked > 0 {
		return nil, rpc.Errorf(rpc.CodeAborted, "the %d bytes of this snapshot that were staged here are gone: it must begin anew", b.acked)
	}
	if err := r.replace(m); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, errSenderGone
	}
	w, err := r.transport.cfg.Sink.Begin(m)
	if err != nil {
		return nil, err
	}
	in := &inbound{identity: identity, term: m.Term, writer: w}
	in.progress = progress{peer: m.From, incoming: true, meta: *m.Snapshot, total: b.total, started: time.Now()}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.idle = time.AfterFunc(SnapshotStallTimeout, func() {
		// Not CodeDeadline, after which the sender would try to go on.
		r.abort(in, rpc.Errorf(rpc.CodeAborted, "nothing of the snapshot arrived for too long"))
	})
	r.mu.Lock()
	closed := r.closed
	r.current = in
	r.mu.Unlock()
	handle := r.attach(ctx, in)
	if closed {
		r.end(in, rpc.Errorf(rpc.CodeUnavailable, "this process is stopping"))
		return nil, in.failed
	}
	r.transport.cfg.Logger.Info("snapshot is arriving", "peer", m.From.String(), "index", uint64(m.Snapshot.Index), "term", uint64(m.Snapshot.Term))
	return &snapshotBegun{Handle: handle}, nil
}

// errSenderGone is for who has not waited for as long as a slow disk has taken. Nobody hears it.
var errSenderGone = rpc.Errorf(rpc.CodeCanceled, "the connection has ended")

// known finds a stream that is arriving or has just ended.
func (r *receiver) known(identity streamIdentity) *inbound {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range []*inbound{r.current, r.ended} {
		if in != nil && in.identity == identity {
			return in
		}
	}
	return nil
}

// goOn continues a stream whose connection broke. It waits for a Commit that is under way.
func (r *receiver) goOn(ctx context.Context, in *inbound) (*snapshotBegun, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.failed != nil:
		return nil, in.failed
	case in.writer == nil:
		return &snapshotBegun{Bytes: in.offset, Committed: true}, nil
	}
	in.unhook()
	r.resumed.Add(1)
	in.progress.resumed.Add(1)
	r.transport.cfg.Logger.Info("snapshot goes on over another connection", "peer", in.identity.from.String(), "bytes", in.offset)
	return &snapshotBegun{Handle: r.attach(ctx, in), Bytes: in.offset}, nil
}

// attach ties a stream to a connection; in.mu is held.
func (r *receiver) attach(ctx context.Context, in *inbound) uint64 {
	r.mu.Lock()
	r.lastHandle++
	handle := r.lastHandle
	r.mu.Unlock()
	in.handle.Store(handle)
	in.idle.Reset(SnapshotStallTimeout)
	in.unhook = context.AfterFunc(ctx, func() { r.detached(in, handle) })
	return handle
}

// detached keeps what is staged for a while after its connection has ended.
func (r *receiver) detached(in *inbound, handle uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.writer == nil || in.handle.Load() != handle {
		return
	}
	in.idle.Reset(r.transport.keepTimeout)
	r.transport.cfg.Logger.Info("the connection of an arriving snapshot has ended, what came is kept for a while", "peer", in.identity.from.String(), "bytes", in.offset)
}

// replace ends the snapshot that is arriving, unless it is of a newer term. Of one term there is one leader (§5.2), so one of the same
// term is the same leader's second attempt. One that is being committed is waited for.
func (r *receiver) replace(m raft.Message) error {
	r.mu.Lock()
	old := r.current
	r.mu.Unlock()
	if old == nil {
		return nil
	}
	if old.term > m.Term {
		return rpc.Errorf(rpc.CodeAborted, "a snapshot of the newer term %d is arriving from member %v", old.term, old.identity.from)
	}
	r.abort(old, rpc.Errorf(rpc.CodeAborted, "replaced by a snapshot of term %d from member %v", m.Term, m.From))
	return nil
}

// find gives the arriving snapshot, locked.
func (r *receiver) find(handle uint64) (*inbound, error) {
	r.mu.Lock()
	in := r.current
	if in == nil {
		in = r.ended
	}
	r.mu.Unlock()
	if in == nil || in.handle.Load() != handle {
		return nil, rpc.Errorf(rpc.CodeAborted, "the snapshot is no longer being received on this connection")
	}
	in.mu.Lock()
	switch {
	case in.handle.Load() != handle: // meanwhile it goes on elsewhere
		in.mu.Unlock()
		return nil, rpc.Errorf(rpc.CodeAborted, "the snapshot is no longer being received on this connection")
	case in.writer == nil:
		defer in.mu.Unlock()
		if in.failed == nil {
			return nil, rpc.Errorf(rpc.CodeInvalid, "the snapshot is already committed")
		}
		return nil, in.failed
	}
	in.idle.Reset(SnapshotStallTimeout)
	return in, nil
}

// chunk takes the next chunk. Others are dropped, which the sender hears of at its next Sync.
func (r *receiver) chunk(_ context.Context, c *chunk) error {
	in, err := r.find(c.handle)
	if err != nil {
		return err
	}
	defer in.mu.Unlock()
	if c.offset != in.offset {
		return rpc.Errorf(rpc.CodeInvalid, "snapshot chunk at offset %d dropped, want %d", c.offset, in.offset)
	}
	if _, err := in.writer.Write(c.data); err != nil {
		r.end(in, rpc.Errorf(rpc.CodeInternal, "writing the snapshot: %v", err))
		return in.failed
	}
	in.sum = crc32.Update(in.sum, castagnoli, c.data)
	in.offset += uint64(len(c.data))
	in.progress.bytes.Store(in.offset)
	r.bytes.Add(uint64(len(c.data)))
	return nil
}

func (r *receiver) sync(_ context.Context, req *snapshotSync) (*snapshotSynced, error) {
	in, err := r.find(req.Handle)
	if err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	return &snapshotSynced{Bytes: in.offset}, nil
}

func (r *receiver) commit(_ context.Context, req *snapshotCommit) (*snapshotCommitted, error) {
	in, err := r.find(req.Handle)
	if err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	if req.Bytes != in.offset || req.CRC32C != in.sum {
		r.end(in, rpc.Errorf(rpc.CodeInvalid, "the snapshot's checksum or length is wrong: %d bytes arrived, %d were sent", in.offset, req.Bytes))
		return nil, in.failed
	}
	// It is the one that is arriving until that is done: whoever begins another waits for it (replace), so that the sink has one at a time.
	err = in.writer.Commit()
	if err != nil {
		in.failed = rpc.Errorf(rpc.CodeInternal, "committing the snapshot: %v", err)
		r.failed.Add(1)
	} else {
		r.whole.Add(1)
	}
	r.detach(in)
	if err != nil {
		return nil, in.failed
	}
	return &snapshotCommitted{}, nil
}

// giveUp is told by the sender that no more will come.
func (r *receiver) giveUp(_ context.Context, req *snapshotSync) (*snapshotCommitted, error) {
	in, err := r.find(req.Handle)
	if err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	r.end(in, rpc.Errorf(rpc.CodeCanceled, "the sender gave the snapshot up"))
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
	r.failed.Add(1)
	r.transport.cfg.Logger.Warn("snapshot given up", "peer", in.identity.from.String(), "bytes", in.offset, "error", why)
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
