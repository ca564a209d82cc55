package raft

import "github.com/raftkv/raftkv/raft/tracker"

// snapshotRetryElections bounds, in election timeouts, how long a leader waits between two snapshots to a follower that comes no further.
const snapshotRetryElections = 4

// stepSnapshot takes over a snapshot that the receiver's shell has staged (§7). One that is behind what is
// committed already is not needed.
func (c *Core) stepSnapshot(m Message) {
	s := m.Snapshot
	if s == nil || s.Index <= c.commit {
		c.accept(c.commit)
		return
	}
	at := Position{s.Index, s.Term}
	if c.log.has(at) {
		// The log has all that the snapshot has: only the commit index was behind.
		c.commitTo(s.Index)
		c.accept(s.Index)
		return
	}
	c.log.restart(at)
	c.memberships = historyOf(s.Membership.Index, s.Membership.Clone())
	c.versions = historyOf(s.Index, s.ClusterVersion)
	c.membershipChanged()
	c.commit, c.handed, c.applied = s.Index, s.Index, s.Index
	c.applying, c.applyingBytes = nil, 0
	c.install = s
	c.verified, c.ackPending = s.Index, true
}

// SnapshotSent tells the leader how a snapshot that it asked for went: ok means that the receiver has staged all
// of it, and that a MsgSnapshot was stepped there.
func (c *Core) SnapshotSent(to NodeID, meta SnapshotMeta, ok bool) {
	p := c.progress[to]
	if c.role != RoleLeader || p == nil || p.State != tracker.Snapshot {
		return
	}
	installed := uint64(0)
	if ok {
		installed = uint64(meta.Index)
	}
	p.SnapshotDone(installed, c.now, uint64(c.cfg.HeartbeatTicks), uint64(snapshotRetryElections*c.cfg.ElectionTicks))
}

// RestoringFrom returns limit or, where that is less, the index behind which the log has entries that a follower needs to catch up from a snapshot. Were they
// cut off, the follower would need another snapshot at once, and so on for as long as more is written during each than a cut leaves. Followers that are not
// heard from do not count, nor those for whom it is too late.
func (c *Core) RestoringFrom(limit Index) Index {
	for _, id := range c.peers {
		p := c.progress[id]
		if needed := Index(max(p.Restored, p.Match)); p.Restored != 0 && needed >= c.log.start.Index && c.active(id) {
			limit = min(limit, needed)
		}
	}
	return limit
}
