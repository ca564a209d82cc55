package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/raftkv/raftkv/raft"
)

const namespace = "raftkv"

// Result is what became of a proposal.
type Result string

// The results of proposals.
const (
	ResultApplied     Result = "applied"
	ResultUnavailable Result = "unavailable"
	ResultUnknown     Result = "unknown"
	ResultBusy        Result = "busy"
	ResultTooLarge    Result = "too-large"
	ResultNoSpace     Result = "no-space"
	ResultFailed      Result = "failed"
)

// Metrics counts and measures. It outlives the member that it measures, and is the node's Observer.
type Metrics struct {
	registry *prometheus.Registry

	syncSeconds, applySeconds       prometheus.Histogram
	commitSeconds                   prometheus.Histogram
	syncedEntries, appliedEntries   prometheus.Counter
	leaderChanges                   prometheus.Counter
	transitions                     *prometheus.CounterVec
	snapshotsSent                   *prometheus.CounterVec
	snapshotsInstalled              prometheus.Counter
	proposals                       *prometheus.CounterVec
	proposalSeconds, barrierSeconds prometheus.Histogram
	comparisons                     *prometheus.CounterVec
	comparedIndex                   prometheus.Gauge
	clients                         *clientMetrics
}

// storageBuckets and requestBuckets are in seconds.
var (
	storageBuckets = prometheus.ExponentialBuckets(0.000_05, 2, 16)
	requestBuckets = prometheus.ExponentialBuckets(0.000_1, 2, 17)
)

// NewMetrics makes all metrics; they are served by Handler.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.syncSeconds = m.histogram("wal_sync_duration_seconds", "Time to write and sync one batch of the log.", storageBuckets)
	m.syncedEntries = m.counter("wal_synced_entries_total", "Log entries that were synced.")
	m.commitSeconds = m.histogram("raft_commit_duration_seconds", "Time from appending a batch on the leader to its commit.", storageBuckets)
	m.applySeconds = m.histogram("apply_duration_seconds", "Time to apply one batch of entries.", storageBuckets)
	m.appliedEntries = m.counter("applied_entries_total", "Log entries that were applied.")
	m.leaderChanges = m.counter("raft_leader_changes_total", "Times that this node learned of another leader.")
	m.transitions = m.vector("raft_transitions_total", "Changes of role, by the new role and what brought it about.", "role", "trigger")
	m.snapshotsSent = m.vector("snapshots_sent_total", "Snapshots streamed to followers.", "result")
	m.snapshotsInstalled = m.counter("snapshots_installed_total", "Snapshots received and put in force.")
	m.proposals = m.vector("proposals_total", "Writes proposed on this node.", "result")
	m.proposalSeconds = m.histogram("proposal_duration_seconds", "Time from proposing a write to its result.", requestBuckets)
	m.barrierSeconds = m.histogram("read_barrier_duration_seconds", "Time that a linearizable read waits for its turn.", requestBuckets)
	m.comparisons = m.vector("state_comparisons_total", "Times that this member compared the states of all members, by what came of it.", "verdict")
	m.comparedIndex = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "state_agreed_index", Help: "Last log index at which the states of members were found to agree, on the member that compared them.",
	})
	m.clients = newClientMetrics(m)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the label says which build runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(m.comparedIndex, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) vector(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// Synced is called for each batch that is on stable storage.
func (m *Metrics) Synced(took time.Duration, entries int) {
	m.syncSeconds.Observe(took.Seconds())
	m.syncedEntries.Add(float64(entries))
}

// Committed is called for each batch that this leader has appended, once it is committed.
func (m *Metrics) Committed(took time.Duration) { m.commitSeconds.Observe(took.Seconds()) }

// Applied is called for each batch that was applied.
func (m *Metrics) Applied(took time.Duration, entries int) {
	m.applySeconds.Observe(took.Seconds())
	m.appliedEntries.Add(float64(entries))
}

// Transition is called when the node's role has changed.
func (m *Metrics) Transition(t raft.Transition) {
	m.transitions.WithLabelValues(t.To.String(), t.Trigger).Inc()
}

// Leader is called when another leader is known, or none.
func (m *Metrics) Leader(id raft.NodeID) {
	if id != 0 {
		m.leaderChanges.Inc()
	}
}

// Refused is called for a proposal that was refused; Proposed counts it.
func (m *Metrics) Refused(string) {}

// SnapshotSent is called when a stream has ended.
func (m *Metrics) SnapshotSent(err error) {
	result := "sent"
	if err != nil {
		result = "failed"
	}
	m.snapshotsSent.WithLabelValues(result).Inc()
}

// SnapshotInstalled is called when a received snapshot is in force.
func (m *Metrics) SnapshotInstalled() { m.snapshotsInstalled.Inc() }

// Proposed is called for each write with what became of it.
func (m *Metrics) Proposed(result Result, took time.Duration) {
	m.proposals.WithLabelValues(string(result)).Inc()
	m.proposalSeconds.Observe(took.Seconds())
}

// Barrier is called for each linearizable read.
func (m *Metrics) Barrier(took time.Duration) { m.barrierSeconds.Observe(took.Seconds()) }

// Compared is called when the states of the members were compared, with the latest index that the verdict rests on.
func (m *Metrics) Compared(verdict string, index raft.Index, agree bool) {
	m.comparisons.WithLabelValues(verdict).Inc()
	if agree {
		m.comparedIndex.Set(float64(index))
	}
}
