package status

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/server/admin"
)

// collector reads gauges when they are asked for.
type collector struct {
	status Source
	peers  func() transport.Stats
}

// Watch adds the gauges that are read from a node's status and its transport. It is called once.
func (m *Metrics) Watch(status Source, peers func() transport.Stats) {
	m.registry.MustRegister(collector{status, peers})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	descTerm           = describe("raft_term", "Current term.")
	descCommit         = describe("raft_commit_index", "Last log index known to be committed.")
	descApplied        = describe("raft_applied_index", "Last log index that was applied.")
	descHasLeader      = describe("raft_has_leader", "1 if a leader is known.")
	descRole           = describe("raft_role", "1 for the role that the node has, 0 for the others.", "role")
	descReady          = describe("ready", "1 if /readyz says so.")
	descMembers        = describe("raft_members", "Members of the cluster.", "kind")
	descClusterVersion = describe("cluster_version", "Feature level that was committed.")
	descMatch          = describe("raft_member_match_index", "Last log index on the member's stable storage, on the leader.", "member", "name")
	descActive         = describe("raft_member_active", "1 if the leader has heard from the member lately, on the leader.", "member", "name")

	descPeerConnected = describe("peer_connected", "1 if the control connection to the peer stands.", "peer")
	descPeerRTT       = describe("peer_round_trip_seconds", "Round-trip time to the peer.", "peer")
	descPeerSent      = describe("peer_sent_messages_total", "Messages sent to the peer.", "peer")
	descPeerSentBytes = describe("peer_sent_bytes_total", "Bytes sent to the peer, about.", "peer")
	descPeerDropped   = describe("peer_dropped_messages_total", "Messages to the peer that were dropped.", "peer")
	descPeerConnects  = describe("peer_connects_total", "Control connections made to the peer.", "peer")
	descPeerRefusals  = describe("peer_refusals_total", "Connections that the peer refused.", "peer")
	descReceived      = describe("peer_received_messages_total", "Messages received from all peers.")
)

// Describe sends nothing: which peers and members there are changes.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	collectStatus(c.status(ctx), gauge)
	stats := c.peers()
	counter(descReceived, stats.Received)
	for _, p := range stats.Peers {
		id := p.ID.String()
		gauge(descPeerConnected, number(p.Connected), id)
		gauge(descPeerRTT, p.RTT.Seconds(), id)
		counter(descPeerSent, p.Sent, id)
		counter(descPeerSentBytes, p.SentBytes, id)
		counter(descPeerDropped, p.Dropped, id)
		counter(descPeerConnects, p.Connects, id)
		counter(descPeerRefusals, p.Refusals, id)
	}
}

func collectStatus(s admin.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(descReady, number(s.Ready))
	if s.State != admin.StateMember {
		return
	}
	gauge(descTerm, float64(s.Term))
	gauge(descCommit, float64(s.Commit))
	gauge(descApplied, float64(s.Applied))
	gauge(descHasLeader, number(s.Leader != 0))
	gauge(descClusterVersion, float64(s.ClusterVersion))
	for _, role := range []raft.Role{raft.RoleFollower, raft.RolePreCandidate, raft.RoleCandidate, raft.RoleLeader, raft.RoleLearner} {
		gauge(descRole, number(s.Role == role.String()), role.String())
	}
	voters, learners := 0, 0
	for _, m := range s.Members {
		if m.Learner {
			learners++
		} else {
			voters++
		}
		if s.Role == raft.RoleLeader.String() {
			gauge(descMatch, float64(m.Match), m.ID.String(), m.Name)
			gauge(descActive, number(m.Active), m.ID.String(), m.Name)
		}
	}
	gauge(descMembers, float64(voters), "voter")
	gauge(descMembers, float64(learners), "learner")
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
