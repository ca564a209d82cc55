package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
)

// GatewayPath is where the JSON gateway is: each call of the gRPC API is a POST below it.
const GatewayPath = "/v3/"

const (
	// maxGatewayRequests bounds the requests in the gateway at once, streams included.
	maxGatewayRequests = 4096
	// base64Growth is how much longer keys and values are in JSON, rounded up. A stream's requests all together have the room of one call.
	base64Growth = 2
	// slowestRequest bounds how long a client may take to send a request that is no stream, and to take the answer.
	slowestRequest = 30 * time.Second
)

// gateway translates JSON into calls of the server itself, over a connection in memory, so that every rule of the gRPC API holds.
type gateway struct {
	next     http.Handler
	slots    chan struct{}
	maxBytes int64
	answers  *answers.Bound
}

// streaming are the paths whose requests or answers go on, or are waited for, for as long as the client likes.
var streaming = map[string]bool{
	GatewayPath + "watch": true, GatewayPath + "lease/keepalive": true, GatewayPath + "maintenance/snapshot": true,
	GatewayPath + "lock/lock": true, GatewayPath + "election/campaign": true, GatewayPath + "election/observe": true,
}

// longest are the paths of calls that may take as long as their client waits (see lengthy).
var longest = map[string]bool{
	GatewayPath + "maintenance/defragment": true, GatewayPath + "maintenance/hash": true, GatewayPath + "maintenance/hashkv": true, GatewayPath + "kv/compaction": true,
}

// Streams tells whether a request to the gateway goes on for as long as its client likes.
func Streams(r *http.Request) bool { return streaming[strings.TrimSuffix(r.URL.Path, "/")] }

// Gateway is what etcd serves over plain HTTP: the JSON interface, unless it is left out, health and version. Call it once, before Stop.
func (s *Server) Gateway() (http.Handler, error) {
	paths := http.NewServeMux()
	if !s.options.NoGateway {
		calls, err := s.calls()
		if err != nil {
			return nil, err
		}
		paths.Handle(GatewayPath, &gateway{
			next: calls, slots: make(chan struct{}, maxGatewayRequests), maxBytes: int64(base64Growth*s.options.MaxRequestBytes + messageOverheadBytes),
			answers: s.options.Answers,
		})
	}
	paths.Handle(HealthPath, reading(s.serveHealth))
	paths.Handle(VersionPath, reading(serveVersion))
	for path, of := range probes {
		paths.Handle(path, reading(s.probed(of)))
		for _, p := range of {
			paths.Handle(path+"/"+p.name, reading(s.probed([]probe{p})))
		}
	}
	return paths, nil
}

// calls makes calls of JSON.
func (s *Server) calls() (http.Handler, error) {
	inside := bufconn.Listen(bufferBytes)
	conn, err := grpc.NewClient("passthrough:///gateway", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inside.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("connect the JSON gateway: %w", err)
	}
	mux := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}}))
	ctx, cancel := context.WithCancel(context.Background())
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler, gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
		v3lockpb.RegisterLockHandler, v3electionpb.RegisterElectionHandler,
	} {
		if err := register(ctx, mux, conn); err != nil {
			cancel()
			_ = conn.Close()
			return nil, fmt.Errorf("make the JSON gateway: %w", err)
		}
	}
	s.inside = func() {
		cancel()
		_ = conn.Close() // what it carried has ended with the server
	}
	s.serving.Go(func() { _ = s.grpc.Serve(inside) }) // a connection in memory fails only by being closed
	return mux, nil
}

// origins refuses what a page of another origin makes a browser send here (RFC 6454), as REST does: a node is often reached through a port on the machine
// of the one who browses, and the gateway takes JSON of any content type.
var origins = http.NewCrossOriginProtection()

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control, deadline := http.NewResponseController(w), time.Now().Add(slowestRequest)
	if Streams(r) {
		deadline = time.Time{} // an earlier request on the connection may have set one
		if control.EnableFullDuplex() != nil {
			return
		}
	}
	answered := deadline
	if longest[strings.TrimSuffix(r.URL.Path, "/")] {
		answered = time.Time{}
	}
	if control.SetReadDeadline(deadline) != nil || control.SetWriteDeadline(answered) != nil {
		return // the connection is gone
	}
	if origins.Check(r) != nil {
		refuse(w, r, status.Error(codes.PermissionDenied, rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied)+": a page of another origin may not call this"))
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		refuse(w, r, rpctypes.ErrGRPCRequestTooManyRequests)
		return
	}
	r.Body = &arriving{http.MaxBytesReader(w, r.Body, g.maxBytes), control}
	if !Streams(r) {
		w = &weighed{w, r, g.answers}
	}
	g.next.ServeHTTP(w, r)
}

// writing are the paths of calls that may change something, and whose answers may be large.
var writing = map[string]bool{GatewayPath + "kv/put": true, GatewayPath + "kv/deleterange": true, GatewayPath + "kv/txn": true}

// weighed counts an answer, which comes in one piece, while the client takes it.
type weighed struct {
	http.ResponseWriter
	request *http.Request
	answers *answers.Bound
}

// Write is that of http.ResponseWriter.
func (w *weighed) Write(b []byte) (int, error) {
	release, ok := w.answers.Hold(len(b), nil)
	if ok {
		defer release()
		return w.ResponseWriter.Write(b)
	}
	if writing[strings.TrimSuffix(w.request.URL.Path, "/")] {
		refuse(w.ResponseWriter, w.request, rpctypes.ErrGRPCTimeout)
	} else {
		refuse(w.ResponseWriter, w.request, rpctypes.ErrGRPCRequestTooManyRequests)
	}
	return len(b), nil
}

// arriving is a body whose time is over with its end: net/http would take the passing of the deadline, while the call goes on, for a client that has gone.
type arriving struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{}) // it fails on a connection that is gone
	}
	return n, err
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	runtime.DefaultHTTPErrorHandler(r.Context(), runtime.NewServeMux(), &runtime.JSONPb{}, w, r, err)
}
