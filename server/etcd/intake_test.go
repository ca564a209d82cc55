package etcd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/raftkv/raftkv/server/backend"
)

// TestACallByTheWebRunsNotAheadOfItself: what its client sends before it is taken waits in the client, however much that is, and none of it is lost.
func TestACallByTheWebRunsNotAheadOfItself(t *testing.T) {
	ctx := within(t)
	store := &still{leader: 1, renewed: make(chan struct{})}
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	web.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Stop(ended)
		_ = web.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	stream, err := pb.NewLeaseClient(c).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const large = 64
	go func() {
		for range maxRenewalsPerStream { // as many as are under way
			_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: 5})
		}
		padded := &pb.LeaseKeepAliveRequest{ID: 5}
		padded.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, 1<<20)))
		for range large {
			_ = stream.Send(padded) // if it fails, its answer does not come
		}
		_ = stream.CloseSend()
	}()
	waits := func() (ahead int64, waits bool) {
		s.lines.mu.Lock()
		defer s.lines.mu.Unlock()
		for l := range s.lines.all {
			l.intake.mu.Lock()
			defer l.intake.mu.Unlock()
			return l.intake.ahead, l.intake.ahead >= l.intake.most
		}
		return 0, false
	}
	for {
		ahead, full := waits()
		if most := int64(1<<20 + messageOverheadBytes + prefixBytes + aheadSlackBytes + 16<<10); ahead > most {
			t.Fatalf("%d bytes were read that nobody has taken", ahead)
		}
		if full {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("nobody waits with %d bytes", ahead)
		}
		time.Sleep(time.Millisecond)
	}
	close(store.renewed)
	for n := range maxRenewalsPerStream + large {
		if r, err := stream.Recv(); err != nil || r.TTL != 5 {
			t.Fatalf("answer %d: %v, %v", n, r, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last: %v", err)
	}
}

// TestAnIntakeThatIsClosedWaitsForNobody, as when its call has ended.
func TestAnIntakeThatIsClosedWaitsForNobody(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x", io.NopCloser(neverEnding{}))
	if err != nil {
		t.Fatal(err)
	}
	x := take(r, 0)
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Error(err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }
