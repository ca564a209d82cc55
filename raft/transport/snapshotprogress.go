package transport

import (
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// SnapshotProgress is how far one snapshot on its way has come, seen from either side.
type SnapshotProgress struct {
	Peer     raft.NodeID // who takes it, or who sends it
	Incoming bool
	Index    raft.Index // the snapshot's last entry
	Term     raft.Term
	// Bytes are staged at the receiver, as far as this side knows.
	Bytes uint64
	// TotalBytes is about how many it will be, 0 when the source does not tell; see SizeHinter.
	TotalBytes uint64
	Started    time.Time
	// Resumed is how often the stream went on over a new connection.
	Resumed uint64
}

// BytesPerSecond is the mean rate since the start.
func (p SnapshotProgress) BytesPerSecond(now time.Time) float64 {
	seconds := now.Sub(p.Started).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(p.Bytes) / seconds
}

// SizeHinter is implemented by a snapshot that can tell about how many bytes it will write.
type SizeHinter interface{ SizeHint() uint64 }

// progress is read by Stats while a stream's goroutine writes it. What is not atomic never changes.
type progress struct {
	peer     raft.NodeID
	incoming bool
	meta     raft.SnapshotMeta
	total    uint64
	started  time.Time
	bytes    atomic.Uint64
	resumed  atomic.Uint64
}

func (p *progress) read() SnapshotProgress {
	return SnapshotProgress{
		Peer: p.peer, Incoming: p.incoming, Index: p.meta.Index, Term: p.meta.Term,
		Bytes: p.bytes.Load(), TotalBytes: p.total, Started: p.started, Resumed: p.resumed.Load(),
	}
}
