package native

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/leaderless"
	"github.com/raftkv/raftkv/server/sending"
)

const (
	// requestTimeout bounds a request whose caller gave it no deadline.
	requestTimeout = 10 * time.Second
	// messageOverheadBytes is what a batch may have beside the operations, which are bounded by the store.
	messageOverheadBytes = 2 << 20
	// maxAnswerBytes bounds what one answer holds at most, even of a single operation; it is below what a frame may have.
	maxAnswerBytes = 15 << 20
	// maxItems bounds the keys of one answer: small ones take many times their bytes in memory.
	maxItems = 100_000
)

// Store is the service that is offered.
type Store interface {
	backend.Store
	backend.Batches
}

// Cluster is what the front end asks about and of the cluster's membership.
type Cluster interface {
	// Members returns the membership in force. linearizable waits until it is surely the latest.
	Members(ctx context.Context, linearizable bool) (raft.Membership, error)
	// Transfer hands leadership to a member, zero is whoever is best. Errors are those of package raft and raft/node.
	Transfer(ctx context.Context, to raft.NodeID) error
}

// Options tune a Server.
type Options struct {
	// Name is the node's, Version its build's.
	Name, Version string
	// MaxRequestBytes is the limit of the store for one request.
	MaxRequestBytes int
	// ElectionTimeout is the cluster's: watches are told to go elsewhere when no leader is known for three of them. Zero: they stay.
	ElectionTimeout time.Duration
	// Answers bounds the answers that clients have not taken yet, in this and other front ends together; nil means a bound of its own.
	Answers *answers.Bound
	Logger  *slog.Logger
}

// Server is the front end. Its store may change while it runs.
type Server struct {
	store     func() Store
	cluster   func() Cluster
	options   Options
	rpc       *rpc.Server
	attached  attachments
	snapshots sending.Desk
	// leaders ends what waits for as long as it is asked to.
	leaders *leaderless.Watch
}

// New serves what store and cluster return at the time of each request; nil means that this node is no member yet.
func New(store func() Store, cluster func() Cluster, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Answers == nil {
		o.Answers = answers.New(answers.DefaultMaxBytes, answers.DefaultPatience)
	}
	s := &Server{store: store, cluster: cluster, options: o}
	s.rpc = rpc.NewServer(rpc.ServerOptions{
		MaxFrameBytes: max(rpc.DefaultMaxFrameBytes, o.MaxRequestBytes+messageOverheadBytes), Logger: o.Logger,
	})
	service := &service{s}
	if err := rpc.Register(s.rpc, wire.ServiceName, service, rpc.Contract(wire.Service{})); err != nil {
		return nil, err
	}
	s.leaders = leaderless.New(s.knowsLeader, o.ElectionTimeout)
	return s, nil
}

// knowsLeader tells whether this node knows a leader.
func (s *Server) knowsLeader() bool {
	store := s.store()
	return store != nil && store.Leader() != 0
}

// Serve serves a listener's connections until Stop, and then returns net.ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	err := s.rpc.Serve(l)
	if errors.Is(err, rpc.ErrServerClosed) {
		return net.ErrClosed
	}
	return err
}

// Stop takes no new calls, ends those that wait for news, and returns when the others are finished, or ctx ends.
func (s *Server) Stop(ctx context.Context) {
	s.leaders.Close()
	if err := s.rpc.Shutdown(ctx); err != nil {
		s.options.Logger.Warn("some clients were still waiting when the node stopped", "error", err)
	}
	s.attached.wait()
}

// Stats are those of the connections.
func (s *Server) Stats() rpc.CallStats { return s.rpc.Stats() }

// service has the methods of wire.Service.
type service struct{ *Server }

// opened returns the store, or the refusal of a node that has none.
func (s *service) opened() (Store, error) {
	if store := s.store(); store != nil {
		return store, nil
	}
	return nil, errNoMember
}

// count counts an answer of so many bytes until it stands in the queue of its connection, and tells whether there is room for it.
func (s *service) count(ctx context.Context, size int) bool {
	if size < answers.SmallBytes {
		return true
	}
	info, _ := rpc.FromContext(ctx)
	release, ok := s.options.Answers.Hold(size, info.HangUp)
	if ok && !rpc.OnAnswered(ctx, release) {
		release()
	}
	return ok
}

// errLeaderless sends watches to another node: this one may hear of nothing.
var errLeaderless = refusal{wire.StatusUnavailable, leaderless.ErrLost.Error()}

// errNoMember is how a node refuses that is not a running member.
var errNoMember = refusal{wire.StatusUnavailable, "this node is not running as a member of a cluster at the moment"}

// bounded gives a call without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, requestTimeout)
}
