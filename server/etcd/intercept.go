package etcd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
)

// unary answers a call and tells the observer of it.
func (s *Server) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := strings.TrimPrefix(info.FullMethod, "/")
	if waits(info.FullMethod) {
		ended := s.options.Observer.Streaming(method, false)
		response, err := s.answer(ctx, request, info, handle)
		ended(status.Code(err).String())
		return response, err
	}
	began := time.Now()
	response, err := s.answer(ctx, request, info, handle)
	s.options.Observer.Called(method, status.Code(err).String(), time.Since(began))
	return response, err
}

// answer bounds a call's time and refuses it at once if it requires a leader and none is known.
func (s *Server) answer(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if requiresLeader(ctx) && s.leaders.lost() {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	switch {
	case waits(info.FullMethod):
		// Like a stream, it has no end of its own.
		waiting, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		leave, ok := s.leaders.enter(cancel, requiresLeader(ctx))
		if !ok {
			return nil, rpctypes.ErrGRPCStopped
		}
		defer leave()
		ctx = waiting
	case !lengthy(info.FullMethod, request):
		var leave func()
		ctx, leave = s.bounds.enter(ctx, requestTimeout)
		defer leave()
	}
	response, err := handle(ctx, request)
	if err == nil {
		return response, nil
	}
	if cause := context.Cause(ctx); endedByUs(cause) {
		return nil, cause
	}
	return nil, refusal(ctx, err)
}

// endedByUs tells whether a call was ended because no leader is known, or the server stops.
func endedByUs(cause error) bool {
	return errors.Is(cause, rpctypes.ErrGRPCNoLeader) || errors.Is(cause, rpctypes.ErrGRPCStopped)
}

// waits tells whether a call waits for what other clients do.
func waits(method string) bool {
	return method == v3lockpb.Lock_Lock_FullMethodName || method == v3electionpb.Election_Campaign_FullMethodName
}

// lengthy tells whether a call may take as long as its caller waits: it works through the whole store.
func lengthy(method string, request any) bool {
	switch method {
	case pb.Maintenance_Defragment_FullMethodName, pb.Maintenance_Hash_FullMethodName, pb.Maintenance_HashKV_FullMethodName:
		return true
	case pb.KV_Compact_FullMethodName:
		r, ok := request.(*pb.CompactionRequest)
		return ok && r.Physical
	}
	return false
}

// stream serves a stream and tells the observer of it.
func (s *Server) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ended := s.options.Observer.Streaming(strings.TrimPrefix(info.FullMethod, "/"), info.FullMethod == pb.Watch_Watch_FullMethodName)
	err := s.carry(server, stream, handle)
	ended(status.Code(err).String())
	return err
}

// carry ends a stream that requires a leader when none is known for too long, and all streams when the server stops.
func (s *Server) carry(server any, stream grpc.ServerStream, handle grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	if requiresLeader(ctx) && s.leaders.lost() {
		return rpctypes.ErrGRPCNoLeader
	}
	leave, ok := s.leaders.enter(cancel, requiresLeader(ctx))
	if !ok {
		return rpctypes.ErrGRPCStopped
	}
	defer leave()
	err := handle(server, &boundStream{stream, ctx})
	if cause := context.Cause(ctx); endedByUs(cause) {
		return cause
	}
	if err != nil {
		return refusal(ctx, err)
	}
	return nil
}

// boundStream is a stream that also ends with a context of ours.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *boundStream) Context() context.Context { return s.ctx }

func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// patience is for how many election timeouts a leader may be unknown before who requires one is turned away.
const patience = 3

// leaderWatch ends streams that require a leader when none is known for a while. It looks once each election timeout, for all
// of them together.
type leaderWatch struct {
	known  func() bool
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	missed  int // looks in a row that found no leader
	closed  bool
	next    uint64
	streams map[uint64]entered
}

type entered struct {
	end      context.CancelCauseFunc
	requires bool
}

func newLeaderWatch(known func() bool, period time.Duration) *leaderWatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &leaderWatch{known: known, cancel: cancel, done: make(chan struct{}), streams: map[uint64]entered{}}
	go func() {
		defer close(w.done)
		w.run(ctx, period)
	}()
	return w
}

func (w *leaderWatch) run(ctx context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.note(w.known())
		}
	}
}

// note takes one look into account.
func (w *leaderWatch) note(known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known {
		w.missed = 0
		return
	}
	if w.missed++; w.missed < patience {
		return
	}
	w.missed = patience
	for _, s := range w.streams {
		if s.requires {
			s.end(rpctypes.ErrGRPCNoLeader)
		}
	}
}

// lost tells whether who requires a leader is to be turned away. A leader that has just become known counts at once.
func (w *leaderWatch) lost() bool {
	w.mu.Lock()
	missed := w.missed
	w.mu.Unlock()
	if missed < patience {
		return false
	}
	known := w.known()
	w.note(known)
	return !known
}

// enter notes a stream; ok is false if the server is stopping.
func (w *leaderWatch) enter(end context.CancelCauseFunc, requires bool) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, false
	}
	id := w.next
	w.next++
	w.streams[id] = entered{end, requires}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.streams, id)
	}, true
}

// close ends all streams.
func (w *leaderWatch) close() {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, s := range w.streams {
		s.end(rpctypes.ErrGRPCStopped)
	}
}
