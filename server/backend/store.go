package backend

import (
	"context"
	"io"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
)

// Store is the whole service that every front end offers in its own words. The semantics are those of etcd v3. All methods
// may be called at any time and from any goroutine. Errors are those of this package and of kv, wrapped, or that of the context; after
// that of a context in a call that writes, the outcome is unknown.
type Store interface {
	// Header tells who answers, for the headers of responses. It never waits.
	Header() Header
	// Revision is that of this node's state. It never waits.
	Revision() uint64

	// Range reads. Errors: kv.ErrFutureRevision, kv.ErrCompacted (both only of a revision that was asked for), ErrBusy if the history was compacted again
	// and again while a long range was read, *kv.TooLargeError if a range without a limit is larger than what one response may hold.
	Range(context.Context, RangeRequest) (kv.RangeResult, error)
	// Put writes a key. Errors: kv.ErrKeyNotFound (IgnoreValue or IgnoreLease without a key), kv.ErrLeaseNotFound, kv.ErrEmptyKey,
	// kv.ErrMalformed (a value or lease given and ignored), *kv.TooLargeError.
	Put(context.Context, PutRequest) (PutResult, error)
	// DeleteRange deletes keys. Errors: kv.ErrEmptyKey, *kv.TooLargeError.
	DeleteRange(context.Context, DeleteRequest) (DeleteResult, error)
	// Txn runs a transaction. One that writes nothing, on either branch, costs no proposal: it is read like a Range. Errors: those of
	// Range, Put and DeleteRange, and kv.ErrDuplicateKey.
	Txn(context.Context, TxnRequest) (TxnResult, error)
	// Compact gives up the history before a revision and returns the store's revision. Errors: kv.ErrFutureRevision, kv.ErrCompacted.
	Compact(context.Context, CompactRequest) (revision uint64, err error)

	// LeaseGrant makes a lease. ID zero chooses one; TTL is in seconds and may be raised to the least that is granted. Errors:
	// kv.ErrLeaseExists, kv.ErrLeaseTTL, kv.ErrTooManyLeases.
	LeaseGrant(ctx context.Context, id kv.LeaseID, ttl int64) (LeaseGrantResult, error)
	// LeaseRevoke deletes a lease and its keys. Errors: kv.ErrLeaseNotFound.
	LeaseRevoke(ctx context.Context, id kv.LeaseID) (revision uint64, err error)
	// LeaseKeepAlive begins a lease's time anew. TTL is zero if there is no such lease, as etcd answers.
	LeaseKeepAlive(ctx context.Context, id kv.LeaseID) (LeaseKeepAliveResult, error)
	// LeaseTimeToLive tells about a lease; Remaining is -1 if there is none, as etcd answers.
	LeaseTimeToLive(ctx context.Context, id kv.LeaseID, keys bool) (LeaseStatus, error)
	// Leases lists the leases in the order of their IDs.
	Leases(context.Context) ([]kv.LeaseID, uint64, error)

	// Watch opens a stream that any number of watches share. The caller closes it.
	Watch() (watch.Stream, error)

	// Status tells about this node. It never waits for the cluster.
	Status(context.Context) (Status, error)
	// Hash is a checksum of the whole state of this node, equal on all members at the same Applied.
	Hash(context.Context) (kv.HashResult, error)
	// HashKV is a checksum of the keys with their history up to a revision (zero: the latest) on this node; members whose results name
	// the same Revision and CompactRevision must agree. Errors: kv.ErrFutureRevision, kv.ErrCompacted.
	HashKV(ctx context.Context, revision uint64) (kv.HashKVResult, error)
	// Snapshot opens a consistent view of this node's state for streaming. The caller closes it soon.
	Snapshot(context.Context) (Snapshot, error)
	// Alarm lists, raises or lowers alarms, and returns those that are up or were changed.
	Alarm(context.Context, AlarmRequest) ([]kv.Alarm, error)
	// Defragment gives space of this node's store back, without stopping anything; it returns when that is done.
	Defragment(context.Context) error
}

// Header is what etcd's response headers tell besides the revision, which each result has.
type Header struct {
	ClusterID raft.ClusterID
	MemberID  raft.NodeID
	Term      raft.Term
}

// RangeRequest is a kv.RangeRequest; Serializable answers at once from this node's state, which may be old. MaxBytes can only make
// the store's own bound on the keys and values of one range narrower; ranges with it wait for their turn, so that all of them together are bounded too while they are read.
type RangeRequest struct {
	kv.RangeRequest
	Serializable bool
}

// PutRequest says what to write.
type PutRequest struct {
	Key, Value []byte
	Lease      kv.LeaseID
	PrevKV     bool
	// IgnoreValue keeps the value that the key has, IgnoreLease its lease.
	IgnoreValue, IgnoreLease bool
}

// PutResult is what a put did. Prev is nil if it was not asked for or there was none.
type PutResult struct {
	Revision uint64
	Prev     *kv.KeyValue
}

// DeleteRequest says what to delete.
type DeleteRequest struct {
	Keys   kv.KeyRange
	PrevKV bool
}

// DeleteResult is what a deletion did.
type DeleteResult struct {
	Revision uint64
	Deleted  uint64
	Prev     []kv.KeyValue
}

// TxnRequest is a transaction. Serializable matters only if it writes nothing.
type TxnRequest struct {
	kv.Txn
	Serializable bool
	// OutcomeOnly leaves Ops out of the result. What is left survives a change of leaders in the middle of the transaction, where
	// one that asks for Ops ends in ErrUnknown.
	OutcomeOnly bool
}

// TxnResult is what a transaction did. Ops are in the order of the branch that ran; a put has neither Range nor Txn.
type TxnResult struct {
	Revision uint64
	// Deleted is the number of keys that the transaction deleted.
	Deleted uint64
	// Current is the mod revision of the one key that the failure branch read, zero if there is no such key; see kv.Result.
	Current uint64
	kv.TxnResult
}

// CompactRequest says what to compact. Physical waits until the space is free for use again on this node.
type CompactRequest struct {
	Revision uint64
	Physical bool
}

// LeaseGrantResult is a new lease.
type LeaseGrantResult struct {
	kv.Lease
	Revision uint64
}

// LeaseKeepAliveResult tells a renewed lease; TTL is zero if there is none.
type LeaseKeepAliveResult struct {
	kv.Lease
	Revision uint64
}

// LeaseStatus tells about a lease.
type LeaseStatus struct {
	kv.Lease
	// Remaining is in seconds, rounded down; -1 if there is no such lease.
	Remaining int64
	// Keys are in their order, if they were asked for.
	Keys     [][]byte
	Revision uint64
}

// Status tells about this node.
type Status struct {
	Header
	// Leader is zero if none is known.
	Leader raft.NodeID
	// Learner says that this node does not vote.
	Learner                     bool
	Revision, CompactedRevision uint64
	Committed, Applied          raft.Index
	// FileBytes is what the store's file takes, UsedBytes what it would take without what is free for use again, QuotaBytes
	// what it is to stay below.
	FileBytes, UsedBytes, QuotaBytes int64
	// Errors are what is wrong, in words: alarms that are up, no leader.
	Errors []string
	// Alarms are those that are up, as far as this node knows.
	Alarms []kv.Alarm
}

// Snapshot is a state to be streamed once.
type Snapshot interface {
	Meta() raft.SnapshotMeta
	io.WriterTo
	io.Closer
}

// AlarmAction says what to do with alarms.
type AlarmAction uint8

// The actions.
const (
	AlarmGet AlarmAction = iota
	AlarmRaise
	AlarmLower
)

// AlarmRequest names alarms. Member zero and kv.AlarmNone mean all of them.
type AlarmRequest struct {
	Action AlarmAction
	Member raft.NodeID
	Type   kv.AlarmType
}
