package status

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
)

// Raft is what the gauges of the consensus are read from.
type Raft interface {
	// RaftStatus is the core's, and what one of its ticks is in real time; false before this node is a member, or if it is too busy
	// to answer within ctx.
	RaftStatus(ctx context.Context) (s raft.Status, tick time.Duration, ok bool)
	// Queues are the node's; none before it is a member.
	Queues() []node.QueueDepth
}

var (
	descApplyLag        = describe("raft_apply_lag_entries", "Committed entries that are not applied yet.")
	descLogEntries      = describe("raft_log_entries", "Entries of the log in memory.")
	descLogBytes        = describe("raft_log_bytes", "Bytes of the log in memory.")
	descUncommitted     = describe("raft_uncommitted_bytes", "Proposals that this leader has appended and that are not committed.")
	descApplying        = describe("raft_applying_bytes", "Committed entries that were handed out and are not applied.")
	descPendingReads    = describe("raft_pending_reads", "Linearizable reads that wait for the leader's word.")
	descGated           = describe("raft_gated_messages", "Messages that wait for term and vote to be stored.")
	descUnstored        = describe("raft_unstored_requests", "Writes of the log that are not on stable storage yet.")
	descStorageWait     = describe("raft_storage_wait_seconds", "For how long the oldest write of the log has been under way.")
	descStorageStalled  = describe("raft_storage_stalled", "1 if the log's disk has stalled: this member does not lead or stand then.")
	descLease           = describe("raft_lease_seconds", "For how long this leader may answer reads by its lease; 0 without one.")
	descTransferring    = describe("raft_transferring", "1 while this leader hands leadership over.")
	descJoint           = describe("raft_joint_membership", "1 while a change of several votes is under way.")
	descFollowerEntries = describe("raft_member_lag_entries", "Entries that are not known to be on the member's stable storage, on the leader.", "member", "name")
	descFollowerBytes   = describe("raft_member_lag_bytes", "Bytes of those entries that the leader's log still has, on the leader.", "member", "name")
	descInflight        = describe("raft_member_inflight_messages", "Appends to the member that were not answered, on the leader.", "member", "name")
	descInflightBytes   = describe("raft_member_inflight_bytes", "Bytes of their entries, on the leader.", "member", "name")
	descHeardAgo        = describe("raft_member_heard_seconds", "How long ago the leader heard from the member, on the leader.", "member", "name")
	descNeedsSnapshot   = describe("raft_member_needs_snapshot", "1 if the member lacks what was compacted and waits for a snapshot, on the leader.", "member", "name")
	descQueueItems      = describe("queue_items", "What waits in a queue of the node.", "queue")
	descQueueBytes      = describe("queue_bytes", "Bytes that wait in a queue of the node, where they are counted.", "queue")
)

func collectRaft(s raft.Status, tick time.Duration, gauge gaugeFunc) {
	seconds := func(ticks uint64) float64 { return (time.Duration(ticks) * tick).Seconds() }
	gauge(descApplyLag, float64(s.Commit-min(s.Applied, s.Commit)))
	gauge(descLogEntries, float64(s.LogEntries))
	gauge(descLogBytes, float64(s.LogBytes))
	gauge(descUncommitted, float64(s.UncommittedBytes))
	gauge(descApplying, float64(s.ApplyingBytes))
	gauge(descPendingReads, float64(s.PendingReads))
	gauge(descGated, float64(s.GatedMessages))
	gauge(descUnstored, float64(s.UnstoredRequests))
	gauge(descStorageWait, seconds(s.StorageWaitTicks))
	gauge(descStorageStalled, number(s.StorageStalled))
	gauge(descLease, seconds(s.LeaseTicks))
	gauge(descTransferring, number(s.TransferTo != 0))
	gauge(descJoint, number(s.Membership.Joint()))
	for _, m := range s.Membership.Members {
		p, ok := s.Progress[m.ID]
		if !ok {
			continue
		}
		id := m.ID.String()
		gauge(descFollowerEntries, float64(p.LagEntries), id, m.Name)
		gauge(descFollowerBytes, float64(p.LagBytes), id, m.Name)
		gauge(descInflight, float64(p.InflightMessages), id, m.Name)
		gauge(descInflightBytes, float64(p.InflightBytes), id, m.Name)
		gauge(descHeardAgo, seconds(p.HeardTicksAgo), id, m.Name)
		gauge(descNeedsSnapshot, number(p.SnapshotPending), id, m.Name)
	}
}

func collectQueues(queues []node.QueueDepth, gauge gaugeFunc) {
	for _, q := range queues {
		gauge(descQueueItems, float64(q.Items), q.Name)
		gauge(descQueueBytes, float64(q.Bytes), q.Name)
	}
}
