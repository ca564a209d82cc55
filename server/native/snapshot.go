package native

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/server/backend"
)

// snapshotIdle is how long a snapshot waits for its reader: it holds a read transaction of the store open.
const snapshotIdle = 30 * time.Second

// outgoing is a snapshot on its way to one connection.
type outgoing struct {
	id     uint64
	chunks chan []byte
	// failure is why the writer ended; it is set before chunks is closed.
	failure error
	sum     hash.Hash
	offset  int64
	ctx     context.Context
	cancel  context.CancelCauseFunc
	written sync.WaitGroup
	idle    *time.Timer
}

var errSnapshotIdle = errors.New("the snapshot was given up: nobody read it for too long")

// open starts to write a snapshot, a chunk ahead of its reader.
func open(id uint64, snapshot backend.Snapshot) *outgoing {
	o := &outgoing{id: id, chunks: make(chan []byte), sum: sha256.New()}
	o.ctx, o.cancel = context.WithCancelCause(context.Background())
	o.idle = time.AfterFunc(snapshotIdle, func() { o.cancel(errSnapshotIdle) })
	o.written.Go(func() {
		defer close(o.chunks)
		w := &chunkWriter{out: o}
		_, err := snapshot.WriteTo(w)
		if err == nil {
			err = w.flush()
		}
		o.failure = errors.Join(err, snapshot.Close())
	})
	return o
}

func (o *outgoing) close() {
	o.idle.Stop()
	o.cancel(io.ErrClosedPipe)
	o.written.Wait()
}

// next is the chunk at an offset; each is asked for once, in order.
func (o *outgoing) next(ctx context.Context, offset int64) *wire.SnapshotChunk {
	if offset != o.offset {
		return &wire.SnapshotChunk{Status: wire.StatusInvalid, Message: "the parts of a snapshot are read in order, each once"}
	}
	o.idle.Reset(snapshotIdle)
	select {
	case data, ok := <-o.chunks:
		if ok {
			o.sum.Write(data)
			chunk := &wire.SnapshotChunk{Offset: offset, Data: data}
			o.offset += int64(len(data))
			return chunk
		}
	case <-ctx.Done():
		return &wire.SnapshotChunk{Status: wire.StatusUnknown, Message: ctx.Err().Error()}
	}
	if o.failure != nil {
		status, message := statusOf(o.failure)
		return &wire.SnapshotChunk{Status: status, Message: message}
	}
	last := &wire.SnapshotChunk{Offset: offset, Last: true}
	o.sum.Sum(last.SHA256[:0])
	return last
}

// chunkWriter cuts what is written into chunks.
type chunkWriter struct {
	out  *outgoing
	part []byte
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if w.part == nil {
			w.part = make([]byte, 0, wire.MaxChunkBytes)
		}
		k := min(len(b), wire.MaxChunkBytes-len(w.part))
		w.part, b = append(w.part, b[:k]...), b[k:]
		if len(w.part) == wire.MaxChunkBytes {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *chunkWriter) flush() error {
	if len(w.part) == 0 {
		return nil
	}
	select {
	case w.out.chunks <- w.part:
		w.part = nil
		return nil
	case <-w.out.ctx.Done():
		return context.Cause(w.out.ctx)
	}
}

// SnapshotOpen is that of wire.Service. A connection has one snapshot at a time; another takes its place.
func (s *service) SnapshotOpen(ctx context.Context, _ *wire.Empty) (*wire.SnapshotReply, error) {
	store, err := s.opened()
	if err != nil {
		return &wire.SnapshotReply{Reply: replyOf(0, err)}, nil
	}
	if !s.snapshots.enter() {
		return &wire.SnapshotReply{Reply: wire.Reply{Status: wire.StatusTooMany, Message: "this node serves as many snapshots as it may at the same time: ask later, or another"}}, nil
	}
	// The snapshot outlives this call, and is closed with its connection.
	snapshot, err := store.Snapshot(context.WithoutCancel(ctx))
	if err != nil {
		s.snapshots.leave()
		return &wire.SnapshotReply{Reply: replyOf(0, err)}, nil
	}
	x := s.attached.of(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.snapshot != nil {
		x.snapshot.close()
	}
	x.nextID++
	o := open(x.nextID, &counted{Snapshot: snapshot, leave: s.snapshots.leave})
	if x.ended {
		o.close()
	} else {
		x.snapshot = o
	}
	meta := snapshot.Meta()
	return &wire.SnapshotReply{ID: o.id, MemberID: uint64(store.Header().MemberID), Index: uint64(meta.Index), Term: uint64(meta.Term)}, nil
}

// SnapshotNext is that of wire.Service.
func (s *service) SnapshotNext(ctx context.Context, r *wire.SnapshotPull) (*wire.SnapshotChunk, error) {
	x := s.attached.of(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.snapshot == nil || x.snapshot.id != r.ID {
		return &wire.SnapshotChunk{Status: wire.StatusInvalid, Message: "this connection has no such snapshot"}, nil
	}
	return x.snapshot.next(ctx, r.Offset), nil
}

// maxSnapshots bounds the snapshots that a node serves at the same time.
const maxSnapshots = 4

// places counts what there is a bound of.
type places struct {
	mu    sync.Mutex
	taken int
}

func (p *places) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= maxSnapshots {
		return false
	}
	p.taken++
	return true
}

func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
}

// counted gives its place back when it is closed.
type counted struct {
	backend.Snapshot
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Snapshot.Close()
}
