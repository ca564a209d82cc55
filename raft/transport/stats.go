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

// kinds has a place for every type of message that there is, and one for those that a newer member may send.
const kinds = int(raft.MsgTimeoutNow) + 2

// kindCounters count the messages of each type; the last place is for unknown ones.
type kindCounters [kinds]atomic.Uint64

func (k *kindCounters) count(messages []raft.Message) {
	for i := range messages {
		k[min(int(messages[i].Type), kinds-1)].Add(1)
	}
}

// KindStats is what became of the messages of one type. They are one-way: one that was sent may still be lost.
type KindStats struct {
	Type                    raft.MessageType
	Sent, Dropped, Received uint64
}

// PeerStats is what happened between this process and one member since the member became known. Numbers only grow, but for RTT,
// Waiting and Connected.
type PeerStats struct {
	ID            raft.NodeID
	Connected     bool          // the control connection stands
	RTT           time.Duration // of the control connection; 0 before the first measurement
	Waiting       int           // messages that wait to be sent
	WaitingBytes  int           // about, of them
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
	Kinds    []KindStats // by type, those that occurred
	Received uint64      // messages
	Rejected uint64      // messages to unknown members, or from a false sender
	// SnapshotsReceived came whole, SnapshotsGivenUp did not; SnapshotsResumed is how often one went on over a new connection.
	SnapshotsReceived, SnapshotsGivenUp, SnapshotsResumed uint64
	SnapshotBytesReceived                                 uint64
	// Calls are the connections that this side has opened, to all members. Those that members have opened are in rpc.Server.Stats.
	Calls rpc.CallStats
	// Snapshots are on their way now, in either direction; outgoing ones first, by member.
	Snapshots []SnapshotProgress
}

// Stats reads the counters.
func (t *Transport) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := Stats{Received: t.received.Load(), Rejected: t.rejected.Load(), Calls: t.calls.Stats()}
	for i := range kinds {
		k := KindStats{raft.MessageType(i), t.sentKinds[i].Load(), t.droppedKinds[i].Load(), t.receivedKinds[i].Load()}
		if k.Sent+k.Dropped+k.Received > 0 {
			s.Kinds = append(s.Kinds, k)
		}
	}
	for _, o := range t.outbound {
		s.Snapshots = append(s.Snapshots, o.progress.read())
	}
	slices.SortFunc(s.Snapshots, func(a, b SnapshotProgress) int { return cmp.Compare(a.Peer, b.Peer) })
	t.receiver.addTo(&s)
	for id, p := range t.peers {
		ps := PeerStats{
			ID:   id,
			Sent: p.counters.sent.Load(), SentBytes: p.counters.sentBytes.Load(), Dropped: p.counters.dropped.Load(),
			Connects: p.counters.connects.Load(), Refusals: p.counters.refusals.Load(),
			Snapshots: p.counters.snapshots.Load(), SnapshotBytes: p.counters.snapshotBytes.Load(),
			SnapshotsFailed: p.counters.snapshotsFailed.Load(), SnapshotsResumed: p.counters.snapshotsResumed.Load(),
		}
		for _, l := range []*lane{p.control, p.bulk} {
			messages, bytes := l.waiting()
			ps.Waiting += messages
			ps.WaitingBytes += bytes
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
