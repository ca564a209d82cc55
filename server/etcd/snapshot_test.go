package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/sending"
)

// imaged is a store whose snapshots are these bytes.
type imaged struct {
	still
	content []byte
	open    atomic.Int64
}

func (s *imaged) Snapshot(context.Context) (backend.Snapshot, error) {
	s.open.Add(1)
	return &image{of: s}, nil
}

type image struct{ of *imaged }

func (*image) Meta() raft.SnapshotMeta { return raft.SnapshotMeta{} }

func (i *image) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(i.of.content)
	return int64(n), err
}

func (i *image) Close() error {
	i.of.open.Add(-1)
	return nil
}

// reader is a client that reads a snapshot; taking, if not nil, comes before each message is taken.
type reader struct {
	grpc.ServerStream
	ctx    context.Context
	got    []byte
	taking func()
}

func (r *reader) Context() context.Context { return r.ctx }

func (r *reader) Send(m *pb.SnapshotResponse) error {
	if r.taking != nil {
		r.taking()
	}
	r.got = append(r.got, m.Blob...)
	return nil
}

func snapshotOf(t *testing.T, store backend.Store) *maintenanceService {
	t.Helper()
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Stop(ended)
	})
	return &maintenanceService{Server: s}
}

func TestASnapshotEndsAsEtcdsToolsExpectIt(t *testing.T) {
	for _, length := range []int{0, 1, 512, 700, 3 * blobBytes, 3*blobBytes + 1} {
		store := &imaged{content: bytes.Repeat([]byte("x"), length)}
		r := &reader{ctx: t.Context()}
		if err := snapshotOf(t, store).Snapshot(nil, r); err != nil {
			t.Fatal(err)
		}
		body := len(r.got) - sha256.Size
		if body < length || body-length >= snapshotAlignBytes || body%snapshotAlignBytes != 0 || !bytes.Equal(r.got[:length], store.content) {
			t.Fatalf("%d bytes became %d", length, len(r.got))
		}
		if sum := sha256.Sum256(r.got[:body]); !bytes.Equal(sum[:], r.got[body:]) {
			t.Errorf("%d bytes: the sum at the end is another", length)
		}
		if store.open.Load() != 0 {
			t.Errorf("%d snapshots are open", store.open.Load())
		}
	}
}

// A client that takes no more, as one that was stopped, keeps no view of the store: its file would grow, and its member could not end.
func TestAReaderThatHasStoppedKeepsNoSnapshotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &imaged{content: make([]byte, 10*blobBytes)}
		stopped := make(chan struct{})
		service, r := snapshotOf(t, store), &reader{ctx: t.Context(), taking: func() { <-stopped }}
		ended := make(chan error, 1)
		go func() { ended <- service.Snapshot(nil, r) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if store.open.Load() != 0 {
			t.Errorf("%d snapshots are open", store.open.Load())
		}
		close(stopped)
		if err := <-ended; !errors.Is(err, sending.ErrIdle) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestSnapshotsOfOneNodeAreBounded(t *testing.T) {
	store := &imaged{content: make([]byte, 10*blobBytes)}
	service := snapshotOf(t, store)
	stopped, ended := make(chan struct{}), make(chan error, sending.MaxSnapshots)
	for range sending.MaxSnapshots {
		begun := make(chan struct{}, 1)
		r := &reader{ctx: t.Context(), taking: func() {
			select {
			case begun <- struct{}{}:
			default:
			}
			<-stopped
		}}
		go func() { ended <- service.Snapshot(nil, r) }()
		<-begun
	}
	if err := refusal(service.Snapshot(nil, &reader{ctx: t.Context()})); !errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests) {
		t.Errorf("one too many: %v", err)
	}
	close(stopped)
	for range sending.MaxSnapshots {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
