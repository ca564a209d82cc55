package raft

import "errors"

// Config is fixed for the life of a Core.
type Config struct {
	ID NodeID
	// ElectionTicks is the least number of ticks without a leader's word before an election; the
	// actual timeout is drawn from [ElectionTicks, 2*ElectionTicks) (§5.2).
	ElectionTicks int
	// HeartbeatTicks is the number of ticks between heartbeats of a leader.
	HeartbeatTicks int
	// Random returns a number in [0, n). It is the core's only source of randomness.
	Random func(n int) int
	// Limits default to the Default* constants when zero.
	MaxAppendBytes      int // entries' bytes in one append message
	MaxInflightMessages int // append messages to one follower that were not answered
	MaxInflightBytes    int // their entries' bytes
	MaxUncommittedBytes int // proposals that are not committed; past it they are refused
	MaxApplyBytes       int // committed entries handed out that were not reported applied
	MaxPendingReads     int // reads that wait for a round
}

// Position names one entry by index and term.
type Position struct {
	Index Index
	Term  Term
}

// Initial is what a member finds on its disk when it starts.
type Initial struct {
	HardState HardState
	// Applied describes the state machine: all up to and including its index is in it.
	Applied SnapshotMeta
	// LogStart is the position just before the first entry of Entries; zero when the log is whole.
	LogStart Position
	// Entries are contiguous from LogStart.Index+1. They reach at least to Applied.Index, or LogStart does.
	Entries []Entry
}

// StoreRequest is one write to stable storage. Requests are stored in the order of their Seq.
// Many may be stored by one sync; then only the last needs to be reported.
type StoreRequest struct {
	Seq uint64
	// HardState is to be stored when it is not nil.
	HardState *HardState
	// Snapshot, when it is not nil, is a staged snapshot to install: the state machine takes it over and
	// the log starts anew behind it, unless it holds an entry of the same index and term, after which
	// entries are kept. It comes before Entries.
	Snapshot *SnapshotMeta
	// Entries replace everything stored at or after the index of the first of them.
	Entries []Entry
	// done is what to report.
	done Stored
}

// Done returns what to report to Core.Stored when the request is on stable storage.
func (r *StoreRequest) Done() Stored { return r.done }

// Stored reports that all requests up to and including Seq are on stable storage. Term is the core's
// term when the request was made, Last the last entry of the log then.
type Stored struct {
	Seq  uint64
	Term Term
	Last Position
}

// ReadResult says that the read ID may be answered from a state that has applied Index.
type ReadResult struct {
	ID    uint64
	Index Index
}

// Effects is what the core wants done. Store, Messages and Committed may be worked on in parallel:
// what must wait for the store is not in them yet.
type Effects struct {
	Store *StoreRequest
	// Messages may be sent at once and in any order.
	Messages []Message
	// Committed entries are to be applied in order; each is handed out once. They are all in stable
	// storage of this member.
	Committed []Entry
	// Reads may be answered; FailedReads lost their leader and may be asked again.
	Reads       []ReadResult
	FailedReads []uint64
	// SendSnapshots names followers that need a snapshot; report how it went by SnapshotSent.
	SendSnapshots []NodeID
}

// Errors of proposals, reads and changes. All but ErrTooLarge mean "surely not appended; ask again, maybe elsewhere".
var (
	ErrNotLeader    = errors.New("this member is not the leader")
	ErrNoLeader     = errors.New("no leader is known")
	ErrTransferring = errors.New("leadership is being handed over")
	ErrBusy         = errors.New("too many proposals or reads are waiting")
	ErrTooLarge     = errors.New("the proposal is larger than an append message may be")
	// ErrConfigMoved says that the configuration index of the precondition is not the current one.
	ErrConfigMoved = errors.New("the membership has changed meanwhile")
	// ErrChangePending says that an earlier change, or the first entry of the term, is not committed yet.
	ErrChangePending = errors.New("an earlier membership change is not committed yet")
	// ErrUnsafeChange says that the active voters would fall below a quorum.
	ErrUnsafeChange = errors.New("the active voters would fall below a quorum")
)
