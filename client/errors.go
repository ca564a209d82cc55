package client

import (
	"errors"

	"github.com/raftkv/raftkv/client/wire"
)

// What may become of a call, and reasons for which one is refused: for errors.Is. The errors that calls return say more in their text.
// An error that is none of these is that of the context, or a failure of the node.
var (
	// ErrUnavailable: surely not carried out. No node could serve the call within its time.
	ErrUnavailable = errors.New("raftkv: not available")
	// ErrUnknown: perhaps carried out, and at most once. The time ended, or the session expired, before an answer came.
	ErrUnknown = errors.New("raftkv: the outcome is unknown")
	// ErrResultLost: carried out, once, but what it returned (previous values, ranges of a transaction) is lost with the answer.
	ErrResultLost = errors.New("raftkv: carried out, but its result is lost")
	// ErrClosed: the client, or the watch, is closed.
	ErrClosed = errors.New("raftkv: closed")
	// ErrBusy: surely not carried out, a bounded queue is full. Calls wait and try again by themselves as long as their time allows.
	ErrBusy = errors.New("raftkv: too busy")

	// ErrCompacted: the revision, or history that a watch needs, was compacted.
	ErrCompacted = errors.New("raftkv: the revision was compacted")
	// ErrFutureRevision: the revision is above that of the store.
	ErrFutureRevision = errors.New("raftkv: the revision is in the future")
	// ErrEmptyKey: a key to be written is empty.
	ErrEmptyKey = errors.New("raftkv: the key is empty")
	// ErrDuplicateKey: a transaction could write one key twice.
	ErrDuplicateKey = errors.New("raftkv: a transaction may write each key only once")
	// ErrKeyNotFound: a put was to keep the value or lease of a key that does not exist.
	ErrKeyNotFound = errors.New("raftkv: the key does not exist")
	// ErrLeaseNotFound: there is no such lease (any more).
	ErrLeaseNotFound = errors.New("raftkv: the lease does not exist")
	// ErrLeaseExists: the chosen lease ID is taken.
	ErrLeaseExists = errors.New("raftkv: the lease exists already")
	// ErrLeaseTTL: the time to live is out of bounds.
	ErrLeaseTTL = errors.New("raftkv: the time to live of the lease is out of bounds")
	// ErrTooMany: a bound of leases, watches or snapshots is met.
	ErrTooMany = errors.New("raftkv: too many")
	// ErrTooLarge: a key, value, request or answer is past its limit. Ask for less, or range with a limit.
	ErrTooLarge = errors.New("raftkv: too large")
	// ErrNoSpace: the store is as large as it may be: delete, compact and defragment.
	ErrNoSpace = errors.New("raftkv: the store is full")
	// ErrUnsupported: a member of the cluster runs a build that does not know this kind of request.
	ErrUnsupported = errors.New("raftkv: not supported by every member yet")
	// ErrInvalid: the request makes no sense.
	ErrInvalid = errors.New("raftkv: invalid request")
	// ErrRefused: the node understood and refused, and the text says why.
	ErrRefused = errors.New("raftkv: refused")
)

// CompactedError ends a watch that would need history that is compacted. It is an ErrCompacted.
type CompactedError struct {
	// Revision is the lowest that can still be watched from. What was written between the last event and it is not told any more: read
	// the keys anew, and watch from behind the revision of that read.
	Revision uint64
}

func (e *CompactedError) Error() string {
	return "raftkv: the history that the watch needs was compacted: read the keys anew and watch from there"
}

// Is makes it an ErrCompacted.
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// callError is an error of this package with what is known beside it.
type callError struct {
	kind error
	text string
	// cause is the error of the context, or of the connection.
	cause error
	// status is what the node said, StatusOK if it is not from there.
	status wire.Status
}

func (e *callError) Error() string {
	kind := e.kind.Error()
	if e.text == "" || kind == "raftkv: "+e.text { // a node that has no more to say than that says it in the same words
		return kind
	}
	return kind + ": " + e.text
}

// Unwrap makes it both.
func (e *callError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// kinds are the errors by their status on the wire.
var kinds = map[wire.Status]error{
	wire.StatusUnavailable: ErrUnavailable, wire.StatusUnknown: ErrUnknown, wire.StatusBusy: ErrBusy, wire.StatusResultLost: ErrResultLost,
	wire.StatusCompacted: ErrCompacted, wire.StatusFutureRevision: ErrFutureRevision, wire.StatusEmptyKey: ErrEmptyKey,
	wire.StatusDuplicateKey: ErrDuplicateKey, wire.StatusKeyNotFound: ErrKeyNotFound, wire.StatusLeaseNotFound: ErrLeaseNotFound,
	wire.StatusLeaseExists: ErrLeaseExists, wire.StatusLeaseTTL: ErrLeaseTTL, wire.StatusTooMany: ErrTooMany, wire.StatusTooLarge: ErrTooLarge,
	wire.StatusNoSpace: ErrNoSpace, wire.StatusUnsupported: ErrUnsupported, wire.StatusInvalid: ErrInvalid, wire.StatusRefused: ErrRefused,
	wire.StatusFailed: errFailed,
}

// errFailed is a failure of the node that has no name of its own.
var errFailed = errors.New("raftkv: the node failed")

// refusal is the error for a status that is not OK.
func refusal(s wire.Status, message string) error {
	kind := kinds[s]
	if kind == nil {
		kind = errFailed
	}
	return &callError{kind: kind, text: message, status: s}
}
