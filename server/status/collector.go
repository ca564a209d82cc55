package status

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// Sources are what the metrics of a node that runs are read from, at each scrape.
type Sources struct {
	Status Source
	Raft   Raft
	Peers  Peers
	Store  Store
}

// collector reads the sources when it is asked.
type collector struct{ Sources }

// Watch adds what is read from the sources. It is called once.
func (m *Metrics) Watch(s Sources) { m.registry.MustRegister(collector{s}) }

type (
	gaugeFunc   func(d *prometheus.Desc, v float64, labels ...string)
	counterFunc func(d *prometheus.Desc, v uint64, labels ...string)
)

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
	descFenced         = describe("fenced", "1 while this node's member is fenced, since its state differed from the others', until the node is added as a new member.")
	descAlarms         = describe("alarms", "Alarms that are up, of all members.", "type")
	descMembers        = describe("raft_members", "Members of the cluster.", "kind")
	descClusterVersion = describe("cluster_version", "Feature level that was committed.")
	descMatch          = describe("raft_member_match_index", "Last log index on the member's stable storage, on the leader.", "member", "name")
	descActive         = describe("raft_member_active", "1 if the leader has heard from the member lately, on the leader.", "member", "name")
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
	collectStatus(c.Status(ctx), gauge)
	if now, tick, ok := c.Raft.RaftStatus(ctx); ok {
		collectRaft(now, tick, gauge)
	}
	collectQueues(c.Raft.Queues(), gauge)
	collectStore(ctx, c.Store, gauge)
	stats := c.Peers.Stats()
	collectPeers(stats, time.Now(), gauge, counter)
	collectCalls("client", stats.Calls, out, gauge, counter)
	collectCalls("server", c.Peers.Served(), out, gauge, counter)
}

func collectStatus(s admin.Status, gauge gaugeFunc) {
	gauge(descReady, number(s.Ready))
	gauge(descFenced, number(s.Fenced != ""))
	if s.State != admin.StateMember {
		return
	}
	gauge(descTerm, float64(s.Term))
	gauge(descCommit, float64(s.Commit))
	gauge(descApplied, float64(s.Applied))
	gauge(descHasLeader, number(s.Leader != 0))
	gauge(descClusterVersion, float64(s.ClusterVersion))
	for _, kind := range []string{kv.AlarmNoSpace.String(), kv.AlarmCorrupt.String()} {
		up := 0
		for _, a := range s.Alarms {
			if a.Type == kind {
				up++
			}
		}
		gauge(descAlarms, float64(up), kind)
	}
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
