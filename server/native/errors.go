package native

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/sending"
)

// refusal is an error that is its own status.
type refusal struct {
	status  wire.Status
	message string
}

func (r refusal) Error() string { return r.message }

// statuses are what the client is told for what a store or a cluster refuses. The first that matches counts.
var statuses = []struct {
	is     error
	status wire.Status
}{
	{kv.ErrCompacted, wire.StatusCompacted}, {kv.ErrFutureRevision, wire.StatusFutureRevision}, {kv.ErrEmptyKey, wire.StatusEmptyKey},
	{kv.ErrDuplicateKey, wire.StatusDuplicateKey}, {kv.ErrKeyNotFound, wire.StatusKeyNotFound}, {kv.ErrLeaseNotFound, wire.StatusLeaseNotFound},
	{kv.ErrLeaseExists, wire.StatusLeaseExists}, {kv.ErrLeaseTTL, wire.StatusLeaseTTL}, {kv.ErrTooManyLeases, wire.StatusTooMany},
	{kv.ErrExpired, wire.StatusExpired},
	// The answer of a sequence that the client has said it has.
	{kv.ErrForgotten, wire.StatusUnknown}, {kv.ErrSequence, wire.StatusBusy},
	{kv.ErrMalformed, wire.StatusInvalid}, {kv.ErrNoSpace, wire.StatusNoSpace},

	{backend.ErrNoSpace, wire.StatusNoSpace}, {backend.ErrTooLarge, wire.StatusTooLarge}, {backend.ErrBusy, wire.StatusBusy},
	{backend.ErrUnavailable, wire.StatusUnavailable}, {backend.ErrUnsupported, wire.StatusUnsupported}, {backend.ErrUnknown, wire.StatusUnknown},

	{watch.ErrDuplicateID, wire.StatusInvalid}, {watch.ErrEmptyRange, wire.StatusInvalid}, {watch.ErrTooManyWatches, wire.StatusTooMany},
	{watch.ErrClosed, wire.StatusUnavailable}, {kv.ErrClosed, wire.StatusUnavailable},

	{sending.ErrTooMany, wire.StatusTooMany},

	{raft.ErrTransferRefused, wire.StatusRefused}, {raft.ErrNotLeader, wire.StatusUnavailable}, {raft.ErrNoLeader, wire.StatusUnavailable},
	{node.ErrUnavailable, wire.StatusUnavailable}, {node.ErrStopped, wire.StatusUnavailable}, {node.ErrBusy, wire.StatusBusy},
	{node.ErrUnknown, wire.StatusUnknown}, {node.ErrTransferFailed, wire.StatusUnknown},

	{context.DeadlineExceeded, wire.StatusUnknown}, {context.Canceled, wire.StatusUnknown},
}

// statusOf is the status of an error and what is said about it.
func statusOf(err error) (wire.Status, string) {
	if err == nil {
		return wire.StatusOK, ""
	}
	var known refusal
	if errors.As(err, &known) {
		return known.status, known.message
	}
	for _, x := range statuses {
		if errors.Is(err, x.is) {
			return x.status, err.Error()
		}
	}
	var large *kv.TooLargeError
	if errors.As(err, &large) {
		return wire.StatusTooLarge, err.Error()
	}
	return wire.StatusFailed, err.Error()
}

func replyOf(revision uint64, err error) wire.Reply {
	status, message := statusOf(err)
	return wire.Reply{Status: status, Message: message, Revision: revision}
}
