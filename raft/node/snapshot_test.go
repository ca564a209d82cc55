package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/raftkv/raftkv/raft"
)

// viewCounter counts the views that are open, and the streams.
type viewCounter struct {
	StateMachine
	Transport
	mu         sync.Mutex
	open, most int
	release    chan struct{}
}

func (v *viewCounter) Snapshot(context.Context) (Snapshot, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open++
	v.most = max(v.most, v.open)
	return v, nil
}

func (v *viewCounter) Meta() raft.SnapshotMeta { return raft.SnapshotMeta{Index: 5, Term: 1} }

func (v *viewCounter) WriteTo(io.Writer) (int64, error) { return 0, nil }

func (v *viewCounter) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open--
	return nil
}

func (v *viewCounter) SendSnapshot(context.Context, raft.Message, io.WriterTo) error {
	<-v.release
	return nil
}

// A follower whose turn has not come costs no view of the state.
func TestFollowersWaitForTheirTurnBeforeAViewIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &viewCounter{release: make(chan struct{})}
		n := &Node{
			cfg: Config{StateMachine: v, Transport: v, Logger: slog.New(slog.DiscardHandler)}, log: slog.New(slog.DiscardHandler),
			streaming: make(chan struct{}, MaxSnapshotStreams), requests: newQueue[func()](newWake()),
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		results := make(chan error, 8)
		stream := func(to raft.NodeID) {
			_, err := n.streamTo(ctx, to, 1, &stream{})
			results <- err
		}
		for to := range raft.NodeID(MaxSnapshotStreams + 2) {
			go stream(to + 2)
			synctest.Wait()
		}
		if v.open != MaxSnapshotStreams {
			t.Errorf("%d views are open", v.open)
		}
		v.release <- struct{}{}
		synctest.Wait()
		if err := <-results; err != nil || v.open != MaxSnapshotStreams || v.most != MaxSnapshotStreams {
			t.Errorf("%v, %d views are open, there were %d", err, v.open, v.most)
		}
		cancel() // the last one waits no longer
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		close(v.release)
		synctest.Wait()
		if v.open != 0 {
			t.Errorf("%d views are left open", v.open)
		}
	})
}
