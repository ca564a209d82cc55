package native

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/server/sending"
)

// outgoing is a snapshot on its way to one connection.
type outgoing struct {
	*sending.Snapshot
	id     uint64
	sum    hash.Hash
	offset int64
}

// next is the chunk at an offset; each is asked for once, in order.
func (o *outgoing) next(ctx context.Context, offset int64) *wire.SnapshotChunk {
	if offset != o.offset {
		return &wire.SnapshotChunk{Status: wire.StatusInvalid, Message: "the parts of a snapshot are read in order, each once"}
	}
	data, err := o.Next(ctx)
	switch {
	case err == nil:
		o.sum.Write(data)
		o.offset += int64(len(data))
		return &wire.SnapshotChunk{Offset: offset, Data: data}
	case !errors.Is(err, io.EOF):
		status, message := statusOf(err)
		return &wire.SnapshotChunk{Status: status, Message: message}
	}
	last := &wire.SnapshotChunk{Offset: offset, Last: true}
	o.sum.Sum(last.SHA256[:0])
	return last
}

// SnapshotOpen is that of wire.Service. A connection has one snapshot at a time; another takes its place.
func (s *service) SnapshotOpen(ctx context.Context, _ *wire.Empty) (*wire.SnapshotReply, error) {
	store, err := s.opened()
	if err != nil {
		return &wire.SnapshotReply{Reply: replyOf(0, err)}, nil
	}
	// The snapshot outlives this call, and is closed with its connection.
	snapshot, err := s.snapshots.Open(context.WithoutCancel(ctx), store, wire.MaxChunkBytes)
	if err != nil {
		return &wire.SnapshotReply{Reply: replyOf(0, err)}, nil
	}
	x := s.attached.of(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.snapshot != nil {
		x.snapshot.Close()
		x.snapshot = nil
	}
	x.nextID++
	o := &outgoing{Snapshot: snapshot, id: x.nextID, sum: sha256.New()}
	if x.ended {
		o.Close()
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
