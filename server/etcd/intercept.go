package etcd

import (
	"context"
	"errors"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
	"github.com/raftkv/raftkv/server/leaderless"
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
	if requiresLeader(ctx) && s.leaders.Lost() {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	switch {
	case waits(info.FullMethod):
		// Like a stream, it has no end of its own.
		waiting, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		leave, ok := s.leaders.Enter(cancel, requiresLeader(ctx))
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
		return s.count(ctx, response)
	}
	if ended := endedByUs(ctx); ended != nil {
		return nil, ended
	}
	return nil, refusal(err)
}

// endedByUs is what the client of a call is told that was ended because no leader is known, or the server stops; nil of any other.
func endedByUs(ctx context.Context) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, leaderless.ErrLost):
		return rpctypes.ErrGRPCNoLeader
	case errors.Is(cause, leaderless.ErrStopped):
		return rpctypes.ErrGRPCStopped
	}
	return nil
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
	if requiresLeader(ctx) && s.leaders.Lost() {
		return rpctypes.ErrGRPCNoLeader
	}
	leave, ok := s.leaders.Enter(cancel, requiresLeader(ctx))
	if !ok {
		return rpctypes.ErrGRPCStopped
	}
	defer leave()
	bound := &boundStream{ServerStream: stream, ctx: ctx}
	if l := lineOf(ctx); l != nil {
		bound.intake = l.intake
	}
	err := handle(server, bound)
	if ended := endedByUs(ctx); ended != nil {
		return ended
	}
	if err != nil {
		return refusal(err)
	}
	return nil
}

// boundStream is a stream that also ends with a context of ours.
type boundStream struct {
	grpc.ServerStream
	ctx    context.Context
	intake *intake // of a call that came by ServeHTTP
}

func (s *boundStream) Context() context.Context { return s.ctx }

func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}
