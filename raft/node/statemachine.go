package node

import (
	"context"
	"io"

	"github.com/raftkv/raftkv/raft"
)

// StateMachine is what an application replicates. The node calls Apply and Install from one goroutine,
// never both at once; the others may be called at any time.
type StateMachine interface {
	// Apply applies committed entries in index order, all types of them: each advances the applied index,
	// EntryMembership and EntryClusterVersion are also recorded so that Applied and snapshots can tell them.
	// It returns one result for each entry (nil for those without). It must be deterministic.
	// An error is fatal for the node.
	Apply(entries []raft.Entry) ([]any, error)
	// Applied describes the state that reads see.
	Applied() raft.SnapshotMeta
	// Durable returns the index that survives a power loss; the log is never cut past it.
	Durable() raft.Index
	// Flush asks that all that was applied becomes durable soon. It does not wait.
	Flush()
	// Snapshot opens a consistent view of a durable state for streaming. The caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Stage returns where the bytes of an incoming snapshot go. Nothing is in force before Install.
	Stage(meta raft.SnapshotMeta) (Stage, error)
	// Install puts a staged snapshot in force, durably and atomically. It may be repeated after a crash:
	// when the staged bytes are gone and the state is already at meta.Index, it returns nil.
	Install(meta raft.SnapshotMeta) error
}

// Snapshot is a state to be streamed.
type Snapshot interface {
	Meta() raft.SnapshotMeta
	io.WriterTo
	io.Closer
}

// Stage takes an incoming snapshot's bytes. Commit checks and syncs them, and throws them away where it fails; Abort throws them away.
type Stage interface {
	io.Writer
	Commit() error
	Abort() error
}
