package tracker

// State is how a leader sends to a follower.
type State uint8

const (
	// Probe: the leader looks for the last entry that both have; one message at a time.
	Probe State = iota
	// Replicate: logs are known to match up to Match; messages are pipelined, Next runs ahead.
	Replicate
	// Snapshot: the follower needs entries that were compacted; a snapshot is on its way.
	Snapshot
)

func (s State) String() string {
	switch s {
	case Probe:
		return "probe"
	case Replicate:
		return "replicate"
	}
	return "snapshot"
}

// Progress is a leader's view of one follower. Match < Next always.
type Progress struct {
	// Match is the last index known to be on the follower's stable storage and equal to the leader's log.
	Match uint64
	// Next is the index of the next entry to send.
	Next  uint64
	State State
	// Paused stops a prober until the follower is heard from.
	Paused bool
	// SentCommit is the highest commit index that was sent.
	SentCommit uint64
	// HeardTick is the leader's tick at which the follower was last heard from.
	HeardTick uint64
	// ReadRound is the latest read round that the follower acknowledged.
	ReadRound uint64
	// Restored is the index of the snapshot that was staged at the follower last, until it has caught up from there; zero otherwise.
	Restored uint64
	Inflight *Inflight

	// No snapshot is due before tick snapshotDue. snapshotWait is what the latest one made the next wait, in ticks; 0 after the follower was
	// found to match.
	snapshotWait, snapshotDue uint64
	// matchAtBeat is Match when the follower last answered a heartbeat.
	matchAtBeat uint64
}

// New returns the progress of a follower of whom nothing is known; next is the leader's last index + 1.
func New(next, tick uint64, window *Inflight) *Progress {
	return &Progress{Next: next, HeardTick: tick, Inflight: window}
}

// BecomeProbe starts looking again from what is known to match.
func (p *Progress) BecomeProbe() {
	p.enter(Probe)
	p.Next = p.Match + 1
}

// BecomeReplicate starts pipelining.
func (p *Progress) BecomeReplicate() {
	p.enter(Replicate)
	p.Next = p.Match + 1
}

// BecomeSnapshot stops sending until the snapshot's fate is known.
func (p *Progress) BecomeSnapshot() {
	p.enter(Snapshot)
	p.Restored = 0
}

// SnapshotDone goes on after a snapshot was streamed (installed is its index) or failed (installed is 0), at tick now.
// Either way the follower must be heard from before anything else is sent. A further snapshot waits for least ticks, twice as long after
// each that has not brought the follower on, and never longer than most: each costs a view of the whole state, even if it is refused.
func (p *Progress) SnapshotDone(installed, now, least, most uint64) {
	p.enter(Probe)
	p.Next = max(p.Match, installed) + 1
	p.Paused = true
	p.Restored = installed
	p.snapshotWait = min(max(least, 2*p.snapshotWait), most)
	p.snapshotDue = now + p.snapshotWait
}

// SnapshotDue tells whether a snapshot may be sent at this tick.
func (p *Progress) SnapshotDue(now uint64) bool { return now >= p.snapshotDue }

func (p *Progress) enter(s State) {
	p.State = s
	p.Paused = false
	p.SentCommit = 0
	p.Inflight.Reset()
}

// Sent records that entries up to last were sent.
func (p *Progress) Sent(last uint64, bytes int) {
	switch p.State {
	case Replicate:
		p.Next = last + 1
		p.Inflight.Add(last, bytes)
	case Probe:
		p.Paused = true
	case Snapshot:
		panic("tracker: entries were sent to a follower that waits for a snapshot")
	}
}

// Ready tells whether entries may be sent now.
func (p *Progress) Ready() bool {
	switch p.State {
	case Probe:
		return !p.Paused
	case Replicate:
		return !p.Inflight.Full()
	}
	return false
}

// Acknowledge records that the follower has stored and matches up to index. It returns whether that is news.
func (p *Progress) Acknowledge(index uint64) bool {
	news := index > p.Match
	if news {
		p.Match = index
		p.Next = max(p.Next, index+1)
	}
	switch p.State {
	case Probe:
		p.snapshotWait, p.snapshotDue = 0, 0
		p.BecomeReplicate()
	case Replicate:
		p.Inflight.Free(index)
	case Snapshot:
		// It may have caught up by other means; the snapshot's end moves on.
	}
	return news
}

// Reject records that the follower refused an append behind index, and that its log may match at hint.
// It returns whether to send again; a late answer is ignored.
func (p *Progress) Reject(index, hint uint64) bool {
	switch p.State {
	case Replicate:
		if index <= p.Match {
			return false
		}
		p.BecomeProbe()
		p.Next = max(min(index, hint+1), p.Match+1)
		return true
	case Probe:
		if p.Next != index+1 {
			return false
		}
		p.Next = max(min(index, hint+1), p.Match+1)
		p.Paused = false
		return true
	}
	return false
}

// HeartbeatAnswered un-pauses a prober. It returns true when messages seem to be lost: some are in flight and
// none was acknowledged since the heartbeat before.
func (p *Progress) HeartbeatAnswered() (stuck bool) {
	if p.State == Probe {
		p.Paused = false
	}
	stuck = p.State == Replicate && p.Match+1 < p.Next && p.Match == p.matchAtBeat
	p.matchAtBeat = p.Match
	return stuck
}
