package etcd

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
	"github.com/raftkv/raftkv/server/leaderless"
	"github.com/raftkv/raftkv/server/sending"
)

// Version is the version of etcd whose API is spoken, and whose own tests are run (docs/ETCD-COMPATIBILITY.md). Clients such as kube-apiserver
// choose by it what they ask for. ClusterVersion is what etcd's members of that version agree on.
const (
	Version        = "3.6.8"
	ClusterVersion = "3.6.0"
)

const (
	// requestTimeout bounds a request whose caller gave it no deadline, or a later one.
	requestTimeout = 7 * time.Second
	// messageOverheadBytes is what a request may have beside keys and values.
	messageOverheadBytes = 512 << 10
	// leastPing and the others are etcd's: a client that pings more often is cut off, a silent one is asked whether it lives.
	leastPing     = 5 * time.Second
	silence       = 2 * time.Hour
	silenceAnswer = 20 * time.Second
	// bufferBytes is what a connection reads or writes with one system call.
	bufferBytes = 64 << 10
	// callWorkers is how many goroutines answer calls one after the other, so that their stacks have grown already. Further calls at a time get a
	// goroutine each, whose stack grows to the same size again in every call.
	callWorkers = 256
	// maxHeaderBytes bounds what a call has before its messages, each name and value with 32 bytes more (RFC 9113 §6.5.2): it is kept for as long as the call lasts.
	maxHeaderBytes = 64 << 10
)

// ErrTooManyLearners is a Cluster's refusal to invite another learner.
var ErrTooManyLearners = errors.New("there are as many learners as there may be")

// Cluster is what the front end asks about and of the cluster's membership.
type Cluster interface {
	// Members returns the membership in force. linearizable waits until it is surely the latest.
	Members(ctx context.Context, linearizable bool) (raft.Membership, error)
	// Change carries one change through; asking twice does no harm. What a ChangeUpdate leaves empty stays as it is. Errors are those of package raft and
	// raft/node, and ErrTooManyLearners.
	Change(ctx context.Context, change raft.Change) error
	// Transfer hands leadership to a member. Errors are those of package raft and raft/node.
	Transfer(ctx context.Context, to raft.NodeID) error
}

// Options tune a Server.
type Options struct {
	// MaxRequestBytes is the limit past which a request is refused as too large.
	MaxRequestBytes int
	// MaxTxnOps bounds each list of a transaction, and, with those around it, of one within another. Zero means kv.DefaultMaxTxnOps.
	MaxTxnOps int
	// MaxStreams bounds the calls on one connection, zero not at all; further ones wait in the client. All of the JSON gateway's are on one.
	MaxStreams uint32
	// ElectionTimeout is the cluster's: streams that require a leader end when none is known for three of them.
	ElectionTimeout time.Duration
	// Answers bounds the answers that clients have not taken yet, in this and other front ends together; nil means a bound of its own.
	Answers *answers.Bound
	// Observer, if not nil, is told of each call.
	Observer Observer
	// NoGateway leaves out the JSON gateway.
	NoGateway bool
	// Managed refuses changes of the membership: they are made with the cluster's admin token, which this port does not ask for.
	Managed bool
}

// Observer is told what is called. A method is named as in "etcdserverpb.KV/Put", a code as gRPC spells it. Its methods must return at once.
type Observer interface {
	// Called is told of each call that was answered, with the time that it took.
	Called(method, code string, took time.Duration)
	// Streaming is told of each call that goes on for as long as the client likes, and what it returns at its end.
	Streaming(method string, watches bool) (ended func(code string))
}

// unobserved is the Observer of a server that has none.
type unobserved struct{}

func (unobserved) Called(string, string, time.Duration) {}

func (unobserved) Streaming(string, bool) func(string) { return func(string) {} }

// Server is the front end. Its store may change while it runs.
type Server struct {
	store   func() backend.Store
	cluster func() Cluster
	options Options
	grpc    *grpc.Server
	leaders *leaderless.Watch
	bounds  *bounds
	lines   lines
	// snapshots are those that clients read.
	snapshots sending.Desk
	// inside ends the gateway's connection, serving counts what serves it.
	inside  func()
	serving sync.WaitGroup
}

// New serves what store and cluster return at the time of each request; nil means that this node is no member yet.
func New(store func() backend.Store, cluster func() Cluster, options Options) *Server {
	if options.Observer == nil {
		options.Observer = unobserved{}
	}
	if options.MaxTxnOps == 0 {
		options.MaxTxnOps = kv.DefaultMaxTxnOps
	}
	if options.Answers == nil {
		options.Answers = answers.New(answers.DefaultMaxBytes, answers.DefaultPatience)
	}
	s := &Server{store: store, cluster: cluster, options: options, bounds: newBounds(), inside: func() {}}
	s.leaders = leaderless.New(s.knowsLeader, max(options.ElectionTimeout, time.Millisecond))
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(options.MaxRequestBytes+messageOverheadBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(options.MaxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.Creds(entrance{}), grpc.ForceServerCodecV2(newCodec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: silenceAnswer}),
		grpc.ReadBufferSize(bufferBytes), grpc.WriteBufferSize(bufferBytes),
		grpc.NumStreamWorkers(callWorkers),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	pb.RegisterKVServer(s.grpc, &kvService{Server: s})
	pb.RegisterWatchServer(s.grpc, &watchService{Server: s})
	pb.RegisterLeaseServer(s.grpc, &leaseService{Server: s})
	pb.RegisterClusterServer(s.grpc, &clusterService{Server: s})
	pb.RegisterMaintenanceServer(s.grpc, &maintenanceService{Server: s})
	pb.RegisterAuthServer(s.grpc, &authService{Server: s})
	v3lockpb.RegisterLockServer(s.grpc, &lockService{Server: s})
	v3electionpb.RegisterElectionServer(s.grpc, &electionService{Server: s})
	// etcd's clients may ask for the health of the whole server; a node that cannot serve says so in each answer.
	h := health.NewServer()
	h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s.grpc, h)
	return s
}

// Serve serves a listener's connections until Stop, and then returns nil or net.ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) {
		return net.ErrClosed
	}
	return err
}

// ServeHTTP serves one call of a client whose connection carries JSON as well: r is of HTTP/2 and its content type begins with application/grpc.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, settle := s.withLine(w, r)
	defer settle()
	s.grpc.ServeHTTP(w, r)
}

// Stop takes no new calls and returns when those under way are finished, or ctx ends. Streams that have no end of their own,
// as watches, are ended.
func (s *Server) Stop(ctx context.Context) {
	s.leaders.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.lines.cut()
		s.grpc.Stop()
		<-done
	}
	s.inside()
	s.serving.Wait()
}

// opened returns the store, or the refusal of a node that has none.
func (s *Server) opened() (backend.Store, error) {
	if store := s.store(); store != nil {
		return store, nil
	}
	return nil, rpctypes.ErrGRPCStopped
}

// header is that of a response of a revision; zero is the store's latest on this node, where the call itself has none.
func header(store backend.Store, revision uint64) *pb.ResponseHeader {
	h := store.Header()
	if revision == 0 {
		revision = store.Revision()
	}
	return &pb.ResponseHeader{
		ClusterId: uint64(h.ClusterID), MemberId: uint64(h.MemberID), RaftTerm: uint64(h.Term), Revision: signed(revision),
	}
}

// knowsLeader tells whether this node knows a leader.
func (s *Server) knowsLeader() bool {
	store := s.store()
	if store == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	status, err := store.Status(ctx)
	return err == nil && status.Leader != 0
}
