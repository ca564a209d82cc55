package replica

import (
	"io"
	"log/slog"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
)

// StateMachine is what an application replicates: a state in memory. The library calls one method at a time, never two at once, so
// that a state machine that is read through Replica.Read needs no lock.
//
// Nothing of it has to be durable: after a restart the state is restored from the newest snapshot on this disk and the log behind it.
type StateMachine interface {
	// Apply applies committed commands in the order of their indexes and returns one answer for each; nil is an answer. Every command
	// comes once, however often it was proposed. It must be deterministic: no clock, no randomness, no order of a map. It may keep the
	// commands' data, which nobody changes.
	Apply(batch []Command) [][]byte
	// Snapshot writes the whole state. Apply waits meanwhile. An error is fatal for the replica.
	Snapshot(w io.Writer) error
	// Restore replaces the whole state by one that Snapshot has written, which ends where r does. An error is fatal for the replica.
	Restore(r io.Reader) error
}

// Command is one committed command.
type Command struct {
	// Index is the command's place in the log. Indexes rise, with gaps.
	Index uint64
	Data  []byte
}

// Machine is the fuller interface, for a state machine that keeps itself durable or needs more than bytes: package kv is one. It sees every
// entry of the log, and keeps the table of sessions (raft/session) with its state.
type Machine interface {
	node.StateMachine
	node.Sessions
	// Close makes durable what was applied, as far as it can, and gives the files back.
	Close() error
}

// Failing is a Machine that can find by itself, while nothing is applied, that it must not go on. The replica then ends at once.
type Failing interface {
	// Failed is closed when that is so. Failure then tells why, and is nil before.
	Failed() <-chan struct{}
	Failure() error
}

// Succeeding is a Machine whose clients hold on to what they saw of it, such as revisions.
type Succeeding interface {
	// Succeed is called by Refound once all that the old cluster's member held is applied, and before the new cluster's membership is. What only the
	// lost members knew, clients may have seen: it changes the state so that they are told. It is durable when it returns.
	Succeed() error
}

// Place says where a Machine lives.
type Place struct {
	// Dir is the member's directory. The names "wal" in it, and those that begin with it, are taken.
	Dir     string
	Cluster raft.ClusterID
	// Ancestor is the cluster whose snapshot is staged first, if that is not Cluster: it is taken over under Cluster's ID. Zero for none.
	Ancestor raft.ClusterID
	// New says that the directory is being made. Otherwise a state must be there: a member that has run must not begin anew behind its log's back.
	New    bool
	Logger *slog.Logger
}
