package kv

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft/session"
)

// FirstRevision is the revision of an empty store.
const FirstRevision = 1

// KeyValue is one version of one key. Its slices belong to the store and must not be changed.
type KeyValue struct {
	Key   []byte
	Value []byte
	// CreateRevision is the revision of the write that created the key.
	CreateRevision uint64
	// ModRevision is the revision of the write that made this version.
	ModRevision uint64
	// Version counts the writes since the key was created, from 1.
	Version uint64
	// Lease is the lease that the key is deleted with, zero for none.
	Lease LeaseID
}

// KeyRange is a set of keys. A nil or empty End means the single key Start; End {0} means everything from
// Start on; any other End is the first key behind the range.
type KeyRange struct {
	Start, End []byte
}

// One is the range of a single key.
func One(key []byte) KeyRange { return KeyRange{Start: key} }

// Span is the range from start up to but not including end.
func Span(start, end []byte) KeyRange { return KeyRange{Start: start, End: end} }

// All is the range of every key.
func All() KeyRange { return KeyRange{End: []byte{0}} }

// Prefix is the range of the keys that begin with prefix.
func Prefix(prefix []byte) KeyRange {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return KeyRange{Start: prefix, End: end}
		}
	}
	return KeyRange{Start: prefix, End: []byte{0}}
}

func (r KeyRange) single() bool { return len(r.End) == 0 }

func (r KeyRange) unbounded() bool { return len(r.End) == 1 && r.End[0] == 0 }

// Contains tells whether a key is in the range.
func (r KeyRange) Contains(key []byte) bool {
	switch {
	case r.single():
		return string(key) == string(r.Start)
	case string(key) < string(r.Start):
		return false
	}
	return r.unbounded() || string(key) < string(r.End)
}

// Reasons for which a command is refused, in Result.Err. They are part of the replicated state: every member gives
// the same one.
var (
	// ErrExpired says that the session is unknown or was evicted. The command was not applied now; whether an
	// earlier proposal of the same sequence was, is unknown. Open a new session.
	ErrExpired = session.ErrExpired
	// ErrForgotten says that the sequence is below the session's Low: it was answered before.
	ErrForgotten = session.ErrForgotten
	// ErrSequence says that the sequence number is zero or too far ahead of the session's Low.
	ErrSequence = session.ErrSequence
	// ErrMalformed says that the command could not be decoded.
	ErrMalformed = errors.New("malformed command")
	// ErrDuplicateKey says that a transaction could write one key twice.
	ErrDuplicateKey = errors.New("a transaction may write each key only once")
	// ErrNoSpace says that an alarm for want of space is up: only what cannot grow the store is carried out.
	ErrNoSpace = errors.New("the store is full")
	// ErrEmptyKey says that a key to be written is empty.
	ErrEmptyKey = errors.New("the key is empty")
)

// Errors of reads and of Compact.
var (
	ErrFutureRevision = errors.New("the revision is in the future")
	ErrCompacted      = errors.New("the revision was compacted")
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the state machine is closed")

// CorruptError says that a stored record does not match its checksum or its place. It is never served.
type CorruptError struct {
	// What names the kind of record.
	What string
	// Key and Revision name the record, as far as they are known.
	Key      []byte
	Revision uint64
	Reason   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt %s of key %q at revision %d: %s; set this member's data directory aside and let it "+
		"catch up from the others", e.What, e.Key, e.Revision, e.Reason)
}

// TooLargeError says which limit a command passes.
type TooLargeError struct {
	What string
	// Unit is what Size and Most count.
	Unit       string
	Size, Most int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s has %d %s, the limit is %d", e.What, e.Size, e.Unit, e.Most)
}

// Result is what a command did.
type Result struct {
	// Err is the reason for which the command was refused, nil if it was carried out.
	Err error
	// Revision is the store's revision right after the command.
	Revision uint64
	// Succeeded tells whether the compares held, so that the success operations ran. It is true for a command
	// without compares.
	Succeeded bool
	// Deleted is the number of keys that the command deleted.
	Deleted uint64
	// Current is the mod revision of the key of a CompareAndPut or CompareAndDelete that did not succeed; zero
	// means that the key does not exist.
	Current uint64
	// Session is the ID of the session that OpenSession opened.
	Session uint64
	// Repeated says that this is the remembered result of an earlier proposal of the same sequence, or that the results of one call of Apply
	// met Options.MaxBatchReadBytes. All the fields above are those of the first time; Ops is not kept.
	Repeated bool
	// Ops holds one result for each operation that ran.
	Ops []OpResult
}

// OpResult is what one operation of a transaction did.
type OpResult struct {
	// Deleted is the number of keys that a delete operation deleted.
	Deleted uint64
	// Prev holds the versions that were replaced or deleted, if they were asked for.
	Prev []KeyValue
	// PrevTruncated says that more was replaced or deleted than Prev holds: the transaction met MaxTxnReadBytes.
	PrevTruncated bool
	// Range is the result of a range operation.
	Range *RangeResult
	// Txn is the result of a nested transaction.
	Txn *TxnResult
}

// TxnResult is what a nested transaction did.
type TxnResult struct {
	Succeeded bool
	Ops       []OpResult
}

// RangeRequest says what to read.
type RangeRequest struct {
	Keys KeyRange
	// Revision to read at; zero means the latest.
	Revision uint64
	// Limit bounds the number of items; zero means no limit other than Options.MaxResultBytes.
	Limit int
	// KeysOnly leaves the values out.
	KeysOnly bool
	// CountOnly returns no items, only Count.
	CountOnly bool
	// WithCount asks for Count beside the items.
	WithCount bool
	// Sort orders the items by what Target tells; SortNone leaves them in the order of their keys. Limit counts after
	// sorting.
	Sort   SortOrder
	Target SortTarget
	// These leave out items whose revision is below or above; zero means no bound. Count is not changed by them.
	MinModRevision, MaxModRevision       uint64
	MinCreateRevision, MaxCreateRevision uint64
	// MaxBytes replaces Options.MaxResultBytes if it is above zero. It is not part of a command.
	MaxBytes int
}

// SortOrder says in which order a range is returned. The values are part of the format.
type SortOrder uint8

// The orders.
const (
	SortNone       SortOrder = 0
	SortAscending  SortOrder = 1
	SortDescending SortOrder = 2
)

// SortTarget says what a range is sorted by; equal ones are in the order of their keys. The values are part of the format.
type SortTarget uint8

// The targets.
const (
	SortByKey     SortTarget = 0
	SortByVersion SortTarget = 1
	SortByCreate  SortTarget = 2
	SortByMod     SortTarget = 3
	SortByValue   SortTarget = 4
)

// RangeResult is what a range holds.
type RangeResult struct {
	// Items are in the order of their keys.
	Items []KeyValue
	// More says that the range holds keys behind the last item: Limit or the bound in bytes was met. One in a transaction that was too large to be
	// sorted has no items, and more.
	More bool
	// Count is the number of keys in the range, when it was asked for.
	Count uint64
	// Revision is the latest revision of the store when the range was read, whatever revision was read at.
	Revision uint64
}
