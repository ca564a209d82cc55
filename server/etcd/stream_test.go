package etcd

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const waiting = time.Minute

// still is a store in which nothing happens; leases last as long as their ID says.
type still struct {
	backend.Store
	leader  raft.NodeID
	renewed chan struct{} // if not nil, a renewal waits for it
}

func (s *still) Header() backend.Header { return backend.Header{ClusterID: 1, MemberID: 2, Term: 3} }
func (s *still) Revision() uint64       { return 7 }

func (s *still) Status(context.Context) (backend.Status, error) {
	return backend.Status{Leader: s.leader}, nil
}

func (s *still) Watch() (watch.Stream, error) { return quiet{closed: make(chan struct{})}, nil }

func (s *still) LeaseKeepAlive(ctx context.Context, id kv.LeaseID) (backend.LeaseKeepAliveResult, error) {
	if s.renewed != nil {
		select {
		case <-s.renewed:
		case <-ctx.Done():
			return backend.LeaseKeepAliveResult{}, ctx.Err()
		}
	}
	return backend.LeaseKeepAliveResult{Lease: kv.Lease{ID: id, TTL: id}, Revision: 7}, nil
}

// quiet is a stream of watches that tells nothing.
type quiet struct{ closed chan struct{} }

func (quiet) Watch(watch.Request) (int64, error) { return 0, watch.ErrDuplicateID }
func (quiet) Cancel(int64) bool                  { return false }
func (quiet) RequestProgress()                   {}
func (q quiet) Close()                           { close(q.closed) }

func (q quiet) Next(ctx context.Context) (watch.Response, error) {
	<-ctx.Done()
	return watch.Response{}, ctx.Err()
}

func serve(t *testing.T, store backend.Store) (*Server, *grpc.ClientConn) {
	t.Helper()
	return serveWith(t, store, Options{MaxRequestBytes: 1 << 20, ElectionTimeout: 10 * time.Millisecond})
}

func serveWith(t *testing.T, store backend.Store, options Options) (*Server, *grpc.ClientConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, options)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Stop(ended)
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return s, c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waiting)
	t.Cleanup(cancel)
	return ctx
}

func code(err error) string { return status.Convert(err).Message() }

// TestAStopEndsStreams that would go on for ever, so that it does not wait for them.
func TestAStopEndsStreams(t *testing.T) {
	ctx := within(t)
	s, c := serve(t, &still{leader: 1})
	leases, err := pb.NewLeaseClient(c).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := leases.Send(&pb.LeaseKeepAliveRequest{ID: 5}); err != nil {
		t.Fatal(err)
	}
	if r, err := leases.Recv(); err != nil || r.TTL != 5 || r.ID != 5 || r.Header.Revision != 7 || r.Header.RaftTerm != 3 {
		t.Fatal(r, err)
	}
	watches, err := pb.NewWatchClient(c).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := watches.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}); err != nil {
		t.Fatal(err)
	}
	if r, err := watches.Recv(); err != nil || !r.Created || !r.Canceled || r.WatchId != -1 || r.CancelReason != "mvcc: duplicate watch ID provided on the WatchStream" {
		t.Fatal(r, err)
	}
	s.Stop(ctx)
	if ctx.Err() != nil {
		t.Fatal("the stop waited for the streams")
	}
	if _, err := leases.Recv(); code(err) != code(rpctypes.ErrGRPCStopped) {
		t.Errorf("renewals: %v", err)
	}
	if _, err := watches.Recv(); code(err) != code(rpctypes.ErrGRPCStopped) {
		t.Errorf("watches: %v", err)
	}
}

// TestWhoNeedsALeaderIsTurnedAwayWithoutOne, once there was none for a while.
func TestWhoNeedsALeaderIsTurnedAwayWithoutOne(t *testing.T) {
	ctx := metadata.AppendToOutgoingContext(within(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	_, c := serve(t, &still{})
	for _, open := range []func() error{
		func() error {
			w, err := pb.NewWatchClient(c).Watch(ctx)
			if err != nil {
				return err
			}
			_, err = w.Recv()
			return err
		},
		func() error {
			l, err := pb.NewLeaseClient(c).LeaseKeepAlive(ctx)
			if err != nil {
				return err
			}
			_, err = l.Recv()
			return err
		},
	} {
		if err := open(); code(err) != code(rpctypes.ErrGRPCNoLeader) {
			t.Errorf("a stream: %v", err)
		}
	}
	if _, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{}); code(err) != code(rpctypes.ErrGRPCNoLeader) {
		t.Errorf("a call: %v", err)
	}
	if _, err := pb.NewMaintenanceClient(c).Status(within(t), &pb.StatusRequest{}); err != nil {
		t.Errorf("a call that does not need one: %v", err)
	}
}

// TestRenewalsThatWereAskedForAreAnswered after the client has said that no more will come.
func TestRenewalsThatWereAskedForAreAnswered(t *testing.T) {
	store := &still{leader: 1, renewed: make(chan struct{})}
	_, c := serve(t, store)
	leases, err := pb.NewLeaseClient(c).LeaseKeepAlive(within(t))
	if err != nil {
		t.Fatal(err)
	}
	const count = 10
	for id := range int64(count) {
		if err := leases.Send(&pb.LeaseKeepAliveRequest{ID: id + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := leases.CloseSend(); err != nil {
		t.Fatal(err)
	}
	close(store.renewed)
	sum := int64(0)
	for range count {
		r, err := leases.Recv()
		if err != nil || r.TTL != r.ID {
			t.Fatal(r, err)
		}
		sum += r.ID
	}
	if _, err := leases.Recv(); !errors.Is(err, io.EOF) || sum != count*(count+1)/2 {
		t.Errorf("%v, IDs that sum up to %d", err, sum)
	}
}

func TestANodeThatIsNoMemberSaysSo(t *testing.T) {
	s := New(func() backend.Store { return nil }, func() Cluster { return nil }, Options{ElectionTimeout: time.Second})
	defer s.leaders.Close()
	if _, err := (&kvService{Server: s}).Put(context.Background(), &pb.PutRequest{Key: []byte("k")}); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Error(err)
	}
	if _, err := (&clusterService{Server: s}).MemberList(context.Background(), &pb.MemberListRequest{}); !errors.Is(err, rpctypes.ErrGRPCStopped) {
		t.Error(err)
	}
}
