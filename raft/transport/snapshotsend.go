package transport

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// SnapshotChunkBytes is the size of all chunks but the last.
	SnapshotChunkBytes = 512 << 10
	// snapshotWindowChunks is how many chunks are sent before the receiver must have written them all.
	snapshotWindowChunks = 8
	// SnapshotStallTimeout bounds each step of a stream: at the sender each chunk and window, at the receiver the time between two
	// of them.
	SnapshotStallTimeout = 30 * time.Second
	// SnapshotCommitTimeout bounds the receiver's check and sync of the whole.
	SnapshotCommitTimeout = 5 * time.Minute
)

// SendSnapshot streams a snapshot to the receiver of m, a MsgSnapshot, over a connection of its own, and returns nil once the
// receiver has committed it. It blocks; end it by the context. The member's removal ends it too. One snapshot at a time goes to a
// member: another fails with rpc.CodeAborted. The error has rpc.CodeAborted as well when the receiver takes one of a newer term.
func (t *Transport) SendSnapshot(ctx context.Context, m raft.Message, snapshot io.WriterTo) error {
	if m.Type != raft.MsgSnapshot || m.Snapshot == nil {
		return rpc.Errorf(rpc.CodeInvalid, "SendSnapshot wants a snapshot message, not %v", m.Type)
	}
	p, address, err := t.beginStreaming(m.To)
	if err != nil {
		return err
	}
	defer p.endStreaming()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	conn, err := rpc.Dial(ctx, address, p.clientOptions(purposeSnapshot))
	if err != nil {
		return fmt.Errorf("snapshot to member %v: %w", m.To, err)
	}
	defer func() { _ = conn.Close() }() // the receiver drops what was not committed
	s := &snapshotStream{ctx: ctx, member: p.ctx, counters: &p.counters, sum: sha256.New(), buffered: make([]byte, 0, SnapshotChunkBytes)}
	if err := s.send(conn, m, snapshot); err != nil {
		return fmt.Errorf("snapshot at index %d to member %v, after %d bytes: %w", m.Snapshot.Index, m.To, s.offset, err)
	}
	p.counters.snapshots.Add(1)
	return nil
}

func (t *Transport) beginStreaming(id raft.NodeID) (*peer, string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := t.peers[id]
	if p == nil {
		return nil, "", rpc.Errorf(rpc.CodeNotFound, "member %v is not known here", id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streaming {
		return nil, "", rpc.Errorf(rpc.CodeAborted, "a snapshot is already being sent to member %v", id)
	}
	p.streaming = true
	p.running.Add(1)
	return p, p.address, nil
}

func (p *peer) endStreaming() {
	p.mu.Lock()
	p.streaming = false
	p.mu.Unlock()
	p.running.Done()
}

// snapshotStream cuts what is written into chunks and sends them.
type snapshotStream struct {
	ctx      context.Context // ends with the caller's and, a moment later, the member's
	member   context.Context
	service  snapshotService
	id       uint64
	counters *counters
	sum      hash.Hash
	buffered []byte
	offset   uint64 // bytes sent
	unsynced int    // chunks sent since the last Sync
}

func (s *snapshotStream) send(conn *rpc.Client, m raft.Message, snapshot io.WriterTo) error {
	err := s.step(SnapshotStallTimeout, func(ctx context.Context) error {
		if err := rpc.BindContext(ctx, conn, serviceSnapshot, &s.service); err != nil {
			return err
		}
		begun, err := s.service.Begin(ctx, &batch{[]raft.Message{m}})
		if err == nil {
			s.id = begun.Stream
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := snapshot.WriteTo(s); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.step(SnapshotCommitTimeout, func(ctx context.Context) error {
		_, err := s.service.Commit(ctx, &snapshotCommit{Stream: s.id, Bytes: s.offset, SHA256: s.sum.Sum(nil)})
		return err
	})
}

func (s *snapshotStream) step(timeout time.Duration, do func(context.Context) error) error {
	if s.member.Err() != nil {
		return rpc.Errorf(rpc.CodeCanceled, "the member is no longer connected to: it was removed, or this transport is closing")
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	return do(ctx)
}

// Write implements io.Writer for the snapshot's WriteTo.
func (s *snapshotStream) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), SnapshotChunkBytes-len(s.buffered))
		s.buffered = append(s.buffered, p[:n]...)
		p, written = p[n:], written+n
		if len(s.buffered) == SnapshotChunkBytes {
			if err := s.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (s *snapshotStream) flush() error {
	if len(s.buffered) == 0 {
		return nil
	}
	s.sum.Write(s.buffered)
	return s.step(SnapshotStallTimeout, func(ctx context.Context) error {
		if err := s.service.Chunk(ctx, &chunk{stream: s.id, offset: s.offset, data: s.buffered}); err != nil {
			return err
		}
		s.offset += uint64(len(s.buffered))
		s.counters.snapshotBytes.Add(uint64(len(s.buffered)))
		s.buffered = s.buffered[:0]
		if s.unsynced++; s.unsynced < snapshotWindowChunks {
			return nil
		}
		s.unsynced = 0
		_, err := s.service.Sync(ctx, &snapshotSync{Stream: s.id})
		return err
	})
}
