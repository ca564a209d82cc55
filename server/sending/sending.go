// Package sending carries snapshots of the store to clients who may be slow, or read no further. A snapshot holds a view of the store open, and its member
// cannot end before: so there is a bound of how many there are, and of how long each waits for its reader. Both hold for all front ends.
package sending

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// MaxSnapshots bounds the snapshots that a Desk sends at the same time.
	MaxSnapshots = 4
	// idle is how long a snapshot waits for its reader.
	idle = 30 * time.Second
)

var (
	// ErrTooMany says that the Desk sends as many snapshots as it may.
	ErrTooMany = errors.New("this node serves as many snapshots as it may at the same time: ask later, or another")
	// ErrIdle says that a snapshot was given up because its reader took nothing for too long.
	ErrIdle = errors.New("the snapshot was given up: nobody read it for too long")
)

// Desk sends the snapshots of one front end. The zero value is ready.
type Desk struct {
	mu    sync.Mutex
	taken int
}

// Store is what snapshots are taken of.
type Store interface {
	Snapshot(context.Context) (backend.Snapshot, error)
}

// Snapshot is on its way to one reader.
type Snapshot struct {
	meta  raft.SnapshotMeta
	parts chan []byte
	// failure is why the writer ended; it is set before parts is closed.
	failure error
	ctx     context.Context
	cancel  context.CancelCauseFunc
	written sync.WaitGroup
	idle    *time.Timer
}

// Open takes a snapshot and begins to write it, one part of at most so many bytes ahead of its reader. Errors: ErrTooMany, and the store's.
func (d *Desk) Open(ctx context.Context, store Store, partBytes int) (*Snapshot, error) {
	if !d.enter() {
		return nil, ErrTooMany
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		d.leave()
		return nil, err
	}
	s := &Snapshot{meta: snapshot.Meta(), parts: make(chan []byte)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.idle = time.AfterFunc(idle, func() { s.cancel(ErrIdle) })
	s.written.Go(func() {
		defer close(s.parts)
		defer d.leave()
		w := &partWriter{of: s, most: partBytes}
		_, err := snapshot.WriteTo(w)
		if err == nil {
			err = w.flush()
		}
		s.failure = errors.Join(err, snapshot.Close())
	})
	return s, nil
}

func (d *Desk) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken >= MaxSnapshots {
		return false
	}
	d.taken++
	return true
}

func (d *Desk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken--
}

// Meta describes the snapshot.
func (s *Snapshot) Meta() raft.SnapshotMeta { return s.meta }

// Next gives the next part, which is the caller's, and io.EOF behind the last. It is for one goroutine. Errors: ErrIdle, the store's, and that of ctx, after
// which it may be called again.
func (s *Snapshot) Next(ctx context.Context) ([]byte, error) {
	s.idle.Stop()
	defer s.idle.Reset(idle)
	select {
	case part, ok := <-s.parts:
		switch {
		case ok:
			return part, nil
		case s.failure != nil:
			return nil, s.failure
		}
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close gives the snapshot up, or what it took, and returns when it holds nothing any more. It may be called twice.
func (s *Snapshot) Close() {
	s.cancel(io.ErrClosedPipe)
	s.written.Wait()
	s.idle.Stop()
}

// partWriter cuts what is written into parts.
type partWriter struct {
	of   *Snapshot
	most int
	part []byte
}

func (w *partWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if w.part == nil {
			w.part = make([]byte, 0, w.most)
		}
		k := min(len(b), w.most-len(w.part))
		w.part, b = append(w.part, b[:k]...), b[k:]
		if len(w.part) == w.most {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *partWriter) flush() error {
	if len(w.part) == 0 {
		return nil
	}
	select {
	case w.of.parts <- w.part:
		w.part = nil
		return nil
	case <-w.of.ctx.Done():
		return context.Cause(w.of.ctx)
	}
}
