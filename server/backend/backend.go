package backend

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/kv"
)

// Backend is the store as any one node offers it. All methods may be called at any time and from any goroutine.
type Backend interface {
	// Propose replicates the command and returns its result, forwarding it to the leader if need be. The error is one of the
	// package's, wrapped, or that of the context, in which case the outcome is unknown.
	Propose(ctx context.Context, command kv.Command) (*kv.Result, error)
	// ReadBarrier returns once Get and Range are linearizable: what they then return include every write that was acknowledged
	// before ReadBarrier was called.
	ReadBarrier(ctx context.Context) error
	// Get and Range read this node's own state.
	Get(ctx context.Context, key []byte, revision uint64) (kv.GetResult, error)
	Range(context.Context, kv.RangeRequest) (kv.RangeResult, error)
}

// What may become of a request. Texts behind a wrap say why.
var (
	// ErrUnavailable: surely not applied; the same request may be sent again, to any node.
	ErrUnavailable = errors.New("not available")
	// ErrBusy: surely not applied, because a bounded queue is full; send it again later.
	ErrBusy = errors.New("too busy")
	// ErrUnknown: perhaps applied.
	ErrUnknown = errors.New("the outcome is unknown")
	// ErrTooLarge: the request can never be accepted.
	ErrTooLarge = errors.New("too large")
	// ErrNoSpace: surely not applied; the store is as large as it may be, and takes deletions only.
	ErrNoSpace = errors.New("the store is full")
	// ErrUnsupported: surely not applied; a member of the cluster runs a build that does not know this kind of request.
	ErrUnsupported = errors.New("not supported yet by every member")
)
