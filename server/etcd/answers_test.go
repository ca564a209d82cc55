package etcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	largeBytes = 1 << 20
	// roomBytes is room for two large answers, and for no third.
	roomBytes = 5 * largeBytes / 2
)

// ample is a store of one large value.
type ample struct{ still }

var large = bytes.Repeat([]byte("x"), largeBytes)

func (*ample) Range(_ context.Context, r backend.RangeRequest) (kv.RangeResult, error) {
	value := large
	if string(r.Keys.Start) == "small" {
		value = nil
	}
	return kv.RangeResult{Revision: 7, Items: []kv.KeyValue{{Key: r.Keys.Start, Value: value}}}, nil
}

func (*ample) Put(_ context.Context, r backend.PutRequest) (backend.PutResult, error) {
	return backend.PutResult{Revision: 8, Prev: &kv.KeyValue{Key: r.Key, Value: large}}, nil
}

// front is a server with a bound on answers that has room for two large ones, and how clients come to it.
type front struct {
	t       *testing.T
	server  *Server
	address string
}

// fronts are the ways in which a call arrives: on a connection of gRPC, and on one that carries JSON as well.
func fronts(t *testing.T, patience time.Duration, check func(*testing.T, front)) {
	for name, serve := range map[string]func(*Server, net.Listener) error{
		"gRPC": (*Server).Serve,
		"web": func(s *Server, l net.Listener) error {
			web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
			web.Protocols.SetUnencryptedHTTP2(true)
			return web.Serve(l)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := New(func() backend.Store { return &ample{still{leader: 1}} }, func() Cluster { return nil }, Options{
				MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second, Answers: answers.New(roomBytes, patience),
			})
			served := make(chan error, 1)
			go func() { served <- serve(s, l) }()
			t.Cleanup(func() {
				ended, cancel := context.WithCancel(context.Background())
				cancel()
				s.Stop(ended)
				_ = l.Close() // a server of the web has not done so
				if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
			check(t, front{t, s, l.Addr().String()})
		})
	}
}

// client is one with windows that do not grow.
func (f front) client() *grpc.ClientConn {
	f.t.Helper()
	const window = 64 << 10
	c, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(1<<20), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*largeBytes)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

// untaken asks for the large value and takes nothing of the answer, which has begun to arrive.
func (f front) untaken(ctx context.Context, c *grpc.ClientConn) grpc.ClientStream {
	f.t.Helper()
	stream, err := c.NewStream(ctx, &grpc.StreamDesc{}, pb.KV_Range_FullMethodName)
	if err == nil {
		err = stream.SendMsg(&pb.RangeRequest{Key: []byte("large")})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	var header metadata.MD
	if err == nil {
		header, err = stream.Header()
	}
	if err != nil || header == nil {
		f.t.Fatal("no answer has begun", err)
	}
	return stream
}

func get(ctx context.Context, c *grpc.ClientConn, key string) error {
	_, err := pb.NewKVClient(c).Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	return err
}

// mustBeFree waits until no answer is counted any more: who gives one up knows that before the server does, and gRPC may leave it to the garbage collector.
func mustBeFree(ctx context.Context, t *testing.T, b *answers.Bound, after string) {
	t.Helper()
	for {
		release, ok := b.Hold(roomBytes, nil)
		if ok {
			release()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s there are answers that count", after)
		case <-time.After(time.Millisecond):
			runtime.GC()
		}
	}
}

// TestAnAnswerThatIsDroppedCountsNoMore as gRPC drops those to calls that are given up before the message is queued.
func TestAnAnswerThatIsDroppedCountsNoMore(t *testing.T) {
	b := answers.New(roomBytes, time.Hour)
	drop := func() {
		release, ok := b.Hold(roomBytes, nil)
		if !ok {
			t.Fatal("there is no room")
		}
		message, err := newCodec().Marshal(&counted{&pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Value: large}}}, release})
		if err != nil || message.Len() < largeBytes {
			t.Fatal(message.Len(), err)
		}
		if again, ok := b.Hold(roomBytes, nil); ok {
			again()
			t.Fatal("it counts no more while it is there")
		}
		runtime.KeepAlive(message)
	}
	drop()
	mustBeFree(within(t), t, b, "it was dropped")
}

// TestAnswersThatAreNotTakenAreBounded for all clients together, until these take them, give their calls up, or have gone.
func TestAnswersThatAreNotTakenAreBounded(t *testing.T) {
	fronts(t, time.Hour, func(t *testing.T, f front) {
		ctx := within(t)
		other := f.client()
		for way, end := range map[string]func(c *grpc.ClientConn, cancel context.CancelFunc, streams []grpc.ClientStream){
			"they were taken": func(_ *grpc.ClientConn, _ context.CancelFunc, streams []grpc.ClientStream) {
				for _, s := range streams {
					r := new(pb.RangeResponse)
					if err := s.RecvMsg(r); err != nil || len(r.Kvs) != 1 || !bytes.Equal(r.Kvs[0].Value, large) {
						t.Errorf("who takes it late: %d, %v", len(r.Kvs), err)
					}
					if err := s.RecvMsg(r); !errors.Is(err, io.EOF) {
						t.Errorf("behind it: %v", err)
					}
				}
			},
			"the calls were given up":   func(_ *grpc.ClientConn, cancel context.CancelFunc, _ []grpc.ClientStream) { cancel() },
			"the connection was closed": func(c *grpc.ClientConn, _ context.CancelFunc, _ []grpc.ClientStream) { _ = c.Close() },
		} {
			slow := f.client()
			calls, cancel := context.WithCancel(ctx)
			defer cancel()
			streams := []grpc.ClientStream{f.untaken(calls, slow), f.untaken(calls, slow)}
			if err := get(ctx, other, "large"); !errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests) {
				t.Fatalf("before %s: %v", way, err)
			}
			if err := get(ctx, other, "small"); err != nil {
				t.Errorf("a small answer: %v", err)
			}
			put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), PrevKv: true}
			if _, err := pb.NewKVClient(other).Put(ctx, put); !errors.Is(err, rpctypes.ErrGRPCTimeout) {
				t.Errorf("a write whose answer has no room: %v", err)
			}
			end(slow, cancel, streams)
			mustBeFree(ctx, t, f.server.options.Answers, way)
			if err := get(ctx, other, "large"); err != nil {
				t.Errorf("after %s: %v", way, err)
			}
		}
	})
}

// TestAStopDoesNotWaitForThoseWhoTakeNothing once its time is over.
func TestAStopDoesNotWaitForThoseWhoTakeNothing(t *testing.T) {
	fronts(t, time.Hour, func(t *testing.T, f front) {
		ctx, c := within(t), f.client()
		f.untaken(ctx, c)
		f.untaken(ctx, c)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			f.server.Stop(ended)
		}()
		select {
		case <-stopped:
		case <-ctx.Done():
			t.Error("the server waits")
		}
		mustBeFree(ctx, t, f.server.options.Answers, "the stop")
	})
}

// TestWhoTakesNoAnswerIsCutOff once it has had its time, and others need the room.
func TestWhoTakesNoAnswerIsCutOff(t *testing.T) {
	fronts(t, 0, func(t *testing.T, f front) {
		ctx := within(t)
		slow, other := f.client(), f.client()
		streams := []grpc.ClientStream{f.untaken(ctx, slow), f.untaken(ctx, slow)}
		if err := get(ctx, other, "large"); err != nil {
			t.Fatalf("beside clients that take nothing: %v", err)
		}
		r := new(pb.RangeResponse)
		if err := streams[0].RecvMsg(r); err == nil {
			t.Error("who was first is not cut off")
		}
		if err := get(ctx, slow, "small"); err != nil && status.Code(err) != codes.Unavailable {
			t.Errorf("who was cut off comes again: %v", err)
		}
	})
}

// TestHeadersAreBounded: a call keeps them for as long as it lasts, and a list of the same short header over and over takes little on the wire.
func TestHeadersAreBounded(t *testing.T) {
	ctx := within(t)
	_, c := serve(t, &still{leader: 1})
	ask := func(headers int) error {
		var pairs []string
		for range headers {
			pairs = append(pairs, "k", "v")
		}
		_, err := pb.NewMaintenanceClient(c).Status(metadata.NewOutgoingContext(ctx, metadata.Pairs(pairs...)), &pb.StatusRequest{})
		return err
	}
	if err := ask(100); err != nil {
		t.Error(err)
	}
	if err := ask(maxHeaderBytes / 32); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "header list size") {
		t.Errorf("%.200v", err)
	}
	if err := ask(1); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// TestTheGatewaysAnswersAreBoundedToo, with those of gRPC together.
func TestTheGatewaysAnswersAreBoundedToo(t *testing.T) {
	bound := answers.New(roomBytes, time.Hour)
	s := New(func() backend.Store { return &ample{still{leader: 1}} }, func() Cluster { return nil }, Options{
		MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second, Answers: bound,
	})
	gateway, err := s.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	web := httptest.NewServer(gateway)
	t.Cleanup(web.Close)
	for _, x := range []struct {
		path, body string
		held       int
		status     int
		want       string
	}{
		{"kv/range", `{"key":"bGFyZ2U="}`, 0, 200, `"value":"eHh4`},
		// With room for the message, and none for the JSON.
		{"kv/range", `{"key":"bGFyZ2U="}`, 13 * largeBytes / 10, 429, "etcdserver: too many requests"},
		{"kv/put", `{"key":"aw==","value":"dg==","prev_kv":true}`, 13 * largeBytes / 10, 503, "etcdserver: request timed out"},
		{"kv/range", `{"key":"c21hbGw="}`, roomBytes, 200, `"kvs"`},
	} {
		release, ok := bound.Hold(x.held, nil)
		if !ok {
			t.Fatal("no room to begin with")
		}
		r, err := http.Post(web.URL+GatewayPath+x.path, "application/json", strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != x.status || !strings.Contains(string(text), x.want) {
			t.Errorf("%s with %d bytes held: %d %.200s, %v", x.path, x.held, r.StatusCode, text, err)
		}
		release()
		mustBeFree(within(t), t, bound, x.path)
	}
}
