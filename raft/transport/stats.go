package transport

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// counters of one peer.
type counters struct {
	sent, sentBytes, dropped atomic.Uint64
	connects, refusals       atomic.Uint64

	snapshots, snapshotBytes          atomic.Uint64
	snapshotsFailed, snapshotsResumed atomic.Uint64
}

// PeerStats is what happened between this process and one member since the member became known. Numbers only grow, but for RTT,
// Waiting and Connected.
type PeerStats struct {
	ID            raft.NodeID
	Connected     bool          // the control connection stands
	RTT           time.Duration // of the control connection; 0 before the first measurement
	Waiting       int           // messages that wait to be sent
	Sent          uint64        // messages
	SentBytes     uint64        // about, without the frames
	Dropped       uint64        // messages
	Connects      uint64        // control connections made
	Refusals      uint64
	Snapshots     uint64 // sent whole
	SnapshotBytes uint64 // sent, also of snapshots that failed
	// SnapshotsFailed were not sent whole, SnapshotsResumed is how often one went on over a new connection.
	SnapshotsFailed, SnapshotsResumed uint64
}

// Stats is a reading of all counters.
type Stats struct {
	Peers    []PeerStats // by ID
	Received uint64      // messages
	Rejected uint64      // messages to unknown members, or from a false sender
	// SnapshotsReceived came whole, SnapshotsGivenUp did not; SnapshotsResumed is how often one went on over a new connection.
	SnapshotsReceived, SnapshotsGivenUp, SnapshotsResumed uint64
	SnapshotBytesReceived                                 uint64
	// Snapshots are on their way now, in either direction; outgoing ones first, by member.
	Snapshots []SnapshotProgress
}

// Stats reads the counters.
func (t *Transport) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := Stats{Received: t.received.Load(), Rejected: t.rejected.Load()}
	for _, o := range t.outbound {
		s.Snapshots = append(s.Snapshots, o.progress.read())
	}
	slices.SortFunc(s.Snapshots, func(a, b SnapshotProgress) int { return cmp.Compare(a.Peer, b.Peer) })
	t.receiver.addTo(&s)
	for id, p := range t.peers {
		ps := PeerStats{
			ID: id, Waiting: p.control.waiting() + p.bulk.waiting(),
			Sent: p.counters.sent.Load(), SentBytes: p.counters.sentBytes.Load(), Dropped: p.counters.dropped.Load(),
			Connects: p.counters.connects.Load(), Refusals: p.counters.refusals.Load(),
			Snapshots: p.counters.snapshots.Load(), SnapshotBytes: p.counters.snapshotBytes.Load(),
			SnapshotsFailed: p.counters.snapshotsFailed.Load(), SnapshotsResumed: p.counters.snapshotsResumed.Load(),
		}
		if c := p.control.peer.Client(); c != nil {
			state, _ := p.control.peer.State()
			ps.Connected, ps.RTT = state == rpc.PeerConnected, c.RTT()
		}
		s.Peers = append(s.Peers, ps)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (r *receiver) addTo(s *Stats) {
	s.SnapshotsReceived, s.SnapshotsGivenUp, s.SnapshotsResumed = r.whole.Load(), r.failed.Load(), r.resumed.Load()
	s.SnapshotBytesReceived = r.bytes.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		s.Snapshots = append(s.Snapshots, r.current.progress.read())
	}
}
