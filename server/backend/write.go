package backend

import (
	"context"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Write is one command of a batch.
type Write struct {
	// Mark is the command's place in a session of whoever asks, so that it can be asked for again through any node and is applied once. Zero means
	// none: the node alone protects it from its own repeats.
	Mark    session.Header
	Command kv.Command

	// Result is what was done, and Err is nil, if the command was applied, now or before (Result.Repeated), or refused (Result.Err). Otherwise Err
	// is one of this package or of kv, and tells what is known of the outcome.
	Result *kv.Result
	Err    error
}

// Batches is the service of a Store for front ends whose clients have sessions, and send many requests in one message.
type Batches interface {
	// WriteAll carries out commands, each of which stands for itself, and returns when the fate of all is known or ctx has ended.
	WriteAll(ctx context.Context, batch []Write)
	// OpenSession opens a session for a client that has drawn origin and nonce at random; for the same two it is the same session.
	OpenSession(ctx context.Context, origin raft.Incarnation, nonce uint64) (id uint64, err error)
	// Barrier returns once serializable reads of this node hold every write that was acknowledged before it was called.
	Barrier(ctx context.Context) error
	// Leader is the member that this node believes to lead, zero if it knows none. It never waits.
	Leader() raft.NodeID
	// Scrub waits until the space of what was compacted up to a revision is free for use again on this node.
	Scrub(ctx context.Context, revision uint64) error
}
