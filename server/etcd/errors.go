package etcd

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/sending"
)

// refusals are what etcd says for what a store or a cluster refuses. The first that matches counts.
var refusals = []struct{ ours, theirs error }{
	{kv.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{kv.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{kv.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
	{kv.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{kv.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{kv.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{kv.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{kv.ErrLeaseTTL, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{kv.ErrTooManyLeases, rpctypes.ErrGRPCRequestTooManyRequests},
	{backend.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{backend.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{backend.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{backend.ErrUnknown, rpctypes.ErrGRPCTimeout},
	{backend.ErrUnavailable, rpctypes.ErrGRPCNoLeader},
	{backend.ErrUnsupported, rpctypes.ErrGRPCNotCapable},
	{watch.ErrClosed, rpctypes.ErrGRPCStopped},
	{kv.ErrClosed, rpctypes.ErrGRPCStopped},
	{sending.ErrTooMany, rpctypes.ErrGRPCRequestTooManyRequests},

	{raft.ErrAddressTaken, rpctypes.ErrGRPCPeerURLExist},
	{ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{raft.ErrNotCaughtUp, rpctypes.ErrGRPCLearnerNotReady},
	{raft.ErrUnsafeChange, rpctypes.ErrGRPCUnhealthy},
	{raft.ErrChangePending, rpctypes.ErrGRPCUnhealthy},
	{raft.ErrConfigMoved, rpctypes.ErrGRPCUnhealthy},
	{raft.ErrTransferRefused, rpctypes.ErrGRPCBadLeaderTransferee},
	{raft.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{raft.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{node.ErrUnavailable, rpctypes.ErrGRPCNoLeader},
	{node.ErrUnknown, rpctypes.ErrGRPCTimeout},
	{node.ErrChangeUnknown, rpctypes.ErrGRPCTimeout},
	{node.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{node.ErrStopped, rpctypes.ErrGRPCStopped},
	{node.ErrTransferFailed, rpctypes.ErrGRPCTimeout},
	{rpc.CodeUnavailable, rpctypes.ErrGRPCTimeoutDueToConnectionLost}, // of a member that was asked on the client's behalf
}

// refusal is what the caller is told.
func refusal(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, r := range refusals {
		if errors.Is(err, r.ours) {
			return r.theirs
		}
	}
	var tooLarge *kv.TooLargeError
	switch {
	case errors.As(err, &tooLarge) && strings.HasPrefix(tooLarge.Unit, "operations"):
		return rpctypes.ErrGRPCTooManyOps
	case errors.As(err, &tooLarge):
		return rpctypes.ErrGRPCRequestTooLarge
	case errors.Is(err, kv.ErrMalformed), errors.Is(err, raft.ErrChangeRefused):
		return status.Error(codes.InvalidArgument, "etcdserver: "+err.Error())
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCTimeout
	}
	var corrupt *kv.CorruptError
	if errors.As(err, &corrupt) {
		return rpctypes.ErrGRPCCorrupt
	}
	return status.Error(codes.Unknown, "etcdserver: "+err.Error())
}
