package client

import (
	"strconv"
	"time"

	"github.com/raftkv/raftkv/client/wire"
)

// LeaseID names a lease; zero is none.
type LeaseID = int64

// KeyValue is one version of one key: Key, Value, CreateRevision, ModRevision, Version and Lease. Its slices must not be changed.
type KeyValue = wire.KeyValue

// Event is one write that a watch tells of: Type (EventPut or EventDelete), KV, and Prev if it was asked for.
type Event = wire.Event

// EventType says what happened to a key.
type EventType = wire.EventType

// The types of events. Of a deletion, Event.KV holds the key and, as ModRevision, the revision of the deletion.
const (
	EventPut    = wire.EventPut
	EventDelete = wire.EventDelete
)

// GetResult is what Get found.
type GetResult struct {
	// Found tells whether the key exists; KV is empty otherwise.
	Found bool
	KV    KeyValue
	// Revision is the store's when it was read.
	Revision uint64
}

// RangeResult is what Range found.
type RangeResult struct {
	// Items are in the order of their keys, unless another was asked for.
	Items []KeyValue
	// More says that the range holds keys behind the last item: the limit was met.
	More bool
	// Count is the number of keys in the range, if WithCount or CountOnly asked for it.
	Count uint64
	// Revision is the store's latest when it was read, whatever revision was read at.
	Revision uint64
}

// PutResult is what a put did.
type PutResult struct {
	// Revision is that of the write.
	Revision uint64
	// Prev is the version that was replaced: nil if there was none, or WithPrevKV did not ask for it.
	Prev *KeyValue
}

// DeleteResult is what a deletion did.
type DeleteResult struct {
	// Revision is the store's after the deletion: a new one if a key was deleted.
	Revision uint64
	// Deleted is the number of keys.
	Deleted uint64
	// Prev holds what was deleted, in the order of the keys, if WithPrevKV asked for it.
	Prev []KeyValue
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Revision is the store's after it: a new one if anything was written.
	Revision uint64
	// Succeeded tells whether all conditions held, so that Then ran and not Else.
	Succeeded bool
	// Results has one result for each operation of the branch that ran, in their order.
	Results []OpResult
}

// OpResult is what one operation of a transaction did; which field is set follows from the operation.
type OpResult struct {
	// Deleted and Prev are those of a deletion; Prev that of a put too, with one element at most.
	Deleted uint64
	Prev    []KeyValue
	// Range is that of OpGet and OpRange.
	Range *RangeResult
	// Txn is that of a nested transaction.
	Txn *TxnResult
}

// Lease is a lease as it was granted or renewed.
type Lease struct {
	ID LeaseID
	// TTL is the time to live that was granted, which may be longer than what was asked for; whole seconds.
	TTL time.Duration
	// Revision is the store's at that time.
	Revision uint64
}

// LeaseStatus tells about a lease.
type LeaseStatus struct {
	ID LeaseID
	// TTL is the time to live that was granted, Remaining what is left of it; whole seconds.
	TTL, Remaining time.Duration
	// Keys are those that are deleted with the lease, in their order, if they were asked for.
	Keys [][]byte
}

// MemberID names a member of the cluster. Its text is hexadecimal, as on every other way to the cluster.
type MemberID uint64

// String is the text form, which ParseMemberID reads.
func (m MemberID) String() string { return strconv.FormatUint(uint64(m), 16) }

// ParseMemberID reads what String wrote.
func ParseMemberID(s string) (MemberID, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	return MemberID(v), err
}

// Member is a member of the cluster.
type Member struct {
	ID   MemberID
	Name string
	// PeerAddress is where the other members reach it, ClientAddress where clients do, with https:// before it if by TLS; the latter is empty as long as it
	// is not known.
	PeerAddress, ClientAddress string
	// Learner says that it does not vote, Leader that it is believed to lead.
	Learner, Leader bool
}

// Status is what one node tells about itself.
type Status struct {
	ClusterID uint64
	MemberID  MemberID
	// Name is the node's, Version its build's.
	Name, Version string
	// Leader is zero if the node knows none.
	Leader MemberID
	Term   uint64
	// Learner says that the node does not vote.
	Learner bool
	// Revision and CompactedRevision are those of its state, which may be behind that of others.
	Revision, CompactedRevision uint64
	// CommittedIndex and AppliedIndex are places in the log.
	CommittedIndex, AppliedIndex uint64
	// FileBytes is what the store's file takes, UsedBytes what it would take without what is free for use again, QuotaBytes what it is
	// to stay below.
	FileBytes, UsedBytes, QuotaBytes int64
	// Errors are what is wrong, in words: alarms that are up, no leader.
	Errors []string
}

// Hash is a checksum of a node's keys with their history up to a revision. Of two members whose Revision and CompactedRevision are equal,
// Hash must be equal too.
type Hash struct {
	MemberID                    MemberID
	Hash                        uint32
	Revision, CompactedRevision uint64
	// LatestRevision is that of the node's state.
	LatestRevision uint64
}

// SnapshotInfo tells about a snapshot that was received and checked.
type SnapshotInfo struct {
	MemberID MemberID
	// Index and Term are the place in the log up to which the snapshot holds everything.
	Index, Term uint64
	// Bytes and SHA256 are those of what was written.
	Bytes  int64
	SHA256 [32]byte
}

// AlarmType tells alarms apart.
type AlarmType uint8

// The alarms; AlarmAny stands for all where alarms are lowered.
const (
	AlarmAny AlarmType = 0
	// AlarmNoSpace says that a member's store is as large as it may be: only what cannot grow it is carried out.
	AlarmNoSpace AlarmType = 1
	// AlarmCorrupt says that a member's state differs from the others'.
	AlarmCorrupt AlarmType = 2
)

// String names the alarm.
func (a AlarmType) String() string {
	switch a {
	case AlarmAny:
		return "any"
	case AlarmNoSpace:
		return "no-space"
	case AlarmCorrupt:
		return "corrupt"
	}
	return strconv.Itoa(int(a))
}

// Alarm is a state of one member that the whole cluster knows of.
type Alarm struct {
	Member MemberID
	Type   AlarmType
}
