package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// Log keeps store requests durably, in order. Its methods are called from one goroutine.
type Log interface {
	// Append stores the requests as one batch and returns when they are on stable storage. An error is fatal.
	Append(batch []*raft.StoreRequest) error
	// Compact says that entries up to and including position are not needed any more.
	Compact(position raft.Position) error
}

// Transport carries messages to the other members. Send must not block.
type Transport interface {
	// Send sends messages, each to its To. Those that cannot be sent are dropped.
	Send([]raft.Message)
	// SetMembership tells who the peers are. committed is the latest membership that is known to be committed.
	SetMembership(current, committed raft.Membership)
	// SendSnapshot streams a snapshot to message.To and returns nil once the receiver has staged all of it and was
	// given the message.
	SendSnapshot(ctx context.Context, message raft.Message, snapshot io.WriterTo) error
	// Forward hands proposals to the leader's Node.AppendForwarded.
	Forward(ctx context.Context, leader raft.NodeID, proposals [][]byte) error
}

// Sessions tells how the state machine's sessions are opened (thesis §6.3).
type Sessions interface {
	// Open returns the command that opens a session for a process.
	Open(origin raft.Incarnation, nonce uint64) ([]byte, error)
	// Opened returns the ID of the session that the command's result tells of.
	Opened(result any) (uint64, bool)
	// Expired tells whether a command was refused because its session is not open any more.
	Expired(result any) bool
}

// Observer is told what is worth measuring. Its methods are called from the node's goroutines and must not block.
type Observer interface {
	// Synced: one batch of entries is on stable storage.
	Synced(took time.Duration, entries int)
	// Committed: a batch that this leader has appended is committed.
	Committed(took time.Duration)
	// Applied: a batch of entries was applied.
	Applied(took time.Duration, entries int)
	// Transition: the member's role has changed.
	Transition(raft.Transition)
	// Leader: another leader is known, or none.
	Leader(raft.NodeID)
	// Refused: a proposal was refused.
	Refused(reason string)
	// SnapshotSent: a stream to a follower has ended.
	SnapshotSent(err error)
	// SnapshotInstalled: a received snapshot is in force.
	SnapshotInstalled()
}

// Config is what a node is made of.
type Config struct {
	ID           raft.NodeID
	Name         string
	Incarnation  raft.Incarnation
	StateMachine StateMachine
	Sessions     Sessions
	Log          Log
	// Initial is what the log and the state machine hold.
	Initial   raft.Initial
	Transport Transport
	Logger    *slog.Logger
	Clock     Clock    // the machine's when nil
	Observer  Observer // may be nil
	// Random returns a number in [0, n).
	Random func(n int) int
	// Nonce tells this process from others of the same incarnation.
	Nonce uint64

	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
	// SnapshotEntries is the number of applied entries after which the log is compacted; half of them stay for
	// followers that are a little behind.
	SnapshotEntries uint64

	// LeaseReads lets the leader answer reads without asking anyone while its lease holds, and this member promise what that takes. Leases
	// rest on the clocks: ClockDriftPercent bounds by how much those of two members may disagree over an election timeout; zero means
	// raft.DefaultClockDriftPercent.
	LeaseReads        bool
	ClockDriftPercent int
	// Quiet is for how long after the start the member neither votes nor stands, because a process before this one may have
	// promised so under other settings (raft.Initial.QuietTicks).
	Quiet time.Duration

	// LogBounds are what the log may take in memory.
	LogBounds LogBounds
}

// LogBounds are sizes of the log in memory, in bytes (raft.Core.LogMemory), from which something is done about it. A zero stands for the default. They should be in
// this order, and Hard above raft's bound of what is not committed.
type LogBounds struct {
	// Compact is the size from which it is compacted whatever SnapshotEntries says (MaxLogBytes by default).
	Compact int
	// Held is the size from which it is compacted although a follower needs it that a snapshot brings on (HeldLogBytes by default).
	Held int
	// Hard is the size from which it takes nothing more until the state machine, which holds up its compaction, has caught up (HardLogBytes by default).
	Hard int
}

// Bounds of a node.
const (
	// MaxProposals is the number of proposals that wait for an answer. It is below the sessions' window.
	MaxProposals = 8000
	// MaxProposalBytes bounds their commands together.
	MaxProposalBytes = 64 << 20
	// MaxReaders is the number of reads that wait.
	MaxReaders = 65536
	// MaxInboundMessages bounds the messages of peers that wait for the loop; more are dropped.
	MaxInboundMessages = 4096
	// MaxInboundBytes bounds the bytes of their entries.
	MaxInboundBytes = 64 << 20
	// MaxForwards is the number of batches on their way to the leader.
	MaxForwards = 64
	// MaxLogBytes, HeldLogBytes and HardLogBytes are the LogBounds of a node that has memory enough.
	MaxLogBytes  = 128 << 20
	HeldLogBytes = 256 << 20
	HardLogBytes = 512 << 20
	// ticksPerHeartbeat is how finely time is measured.
	ticksPerHeartbeat = 5
)

// Errors of proposals and reads.
var (
	// ErrUnavailable: surely not applied. Ask again, here or elsewhere.
	ErrUnavailable = errors.New("no leader could be reached in time: surely not applied")
	// ErrUnknown: whether it was applied is not known.
	ErrUnknown = errors.New("no answer came in time: it is not known whether it was applied")
	// ErrBusy: too much is waiting. Surely not applied.
	ErrBusy = errors.New("too many requests are waiting: surely not applied")
	// ErrTooLarge: larger than an entry of the log may be.
	ErrTooLarge = errors.New("the command is larger than an entry of the log may be")
	// ErrNotNumbered: a proposal has a session without a sequence, or the other way round. Surely not applied.
	ErrNotNumbered = errors.New("a proposal of a session needs its sequence, which begins at 1, and one without a session has none: surely not applied")
	// ErrStopped: the node is stopping or has stopped. Surely not applied.
	ErrStopped = errors.New("the node is stopping: surely not applied")
)

func (cfg *Config) complete() error {
	switch {
	case cfg.StateMachine == nil || cfg.Log == nil || cfg.Transport == nil || cfg.Sessions == nil || cfg.Logger == nil || cfg.Random == nil:
		return errors.New("node: Config lacks a part")
	case cfg.HeartbeatInterval < ticksPerHeartbeat*time.Millisecond:
		return fmt.Errorf("node: a heartbeat interval of %s is too short: %s at least", cfg.HeartbeatInterval, ticksPerHeartbeat*time.Millisecond)
	case cfg.ElectionTimeout < 2*cfg.HeartbeatInterval:
		return fmt.Errorf("node: an election timeout of %s is too short for heartbeats every %s", cfg.ElectionTimeout, cfg.HeartbeatInterval)
	case cfg.SnapshotEntries < 1:
		return errors.New("node: SnapshotEntries must be at least 1")
	}
	cfg.LogBounds = cfg.LogBounds.complete()
	if cfg.Clock == nil {
		cfg.Clock = machineClock{}
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	return nil
}

func (b LogBounds) complete() LogBounds {
	return LogBounds{Compact: cmp.Or(b.Compact, MaxLogBytes), Held: cmp.Or(b.Held, HeldLogBytes), Hard: cmp.Or(b.Hard, HardLogBytes)}
}

type noObserver struct{}

func (noObserver) Synced(time.Duration, int)  {}
func (noObserver) Committed(time.Duration)    {}
func (noObserver) Applied(time.Duration, int) {}
func (noObserver) Transition(raft.Transition) {}
func (noObserver) Leader(raft.NodeID)         {}
func (noObserver) Refused(string)             {}
func (noObserver) SnapshotSent(error)         {}
func (noObserver) SnapshotInstalled()         {}
