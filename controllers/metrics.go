package controllers

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// Results of a step.
const (
	stepTaken    = "taken"
	stepDeferred = "deferred"
	stepFailed   = "failed"
)

// The labels of what is measured of one RaftCluster. `namespace` is what Prometheus calls the namespace of the target that
// it asked, so the cluster's own has another name.
var ofCluster = []string{"cluster_namespace", "cluster"}

func clusterGauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, append(labels, ofCluster...))
}

var (
	stepsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "raftkv_operator_steps_total",
		Help: "Steps of the operator, by kind and by what became of them: taken, deferred (it could not be taken just then) or failed.",
	}, append([]string{"step", "result"}, ofCluster...))
	operatorLeads = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "raftkv_operator_leading",
		Help: "1 at the operator that does the work, 0 at those that wait to take over.",
	})
	convergeSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "raftkv_operator_converge_duration_seconds",
		Help:    "Time from a RaftCluster's being not as specified until it was again.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 12),
	})
	desiredMembers = clusterGauge("raftkv_cluster_desired_members", "Members that the RaftCluster asks for.")
	membersGauge   = clusterGauge("raftkv_cluster_members", "Members of the Raft group, by role.", "role")
	healthyMembers = clusterGauge("raftkv_cluster_healthy_members", "Members that are healthy.")
	readyPods      = clusterGauge("raftkv_cluster_ready_pods", "Pods that are ready.")
	conditionGauge = clusterGauge("raftkv_cluster_condition", "1 for a condition of the RaftCluster that is True, 0 for one that is not.", "condition")
	lastConverge   = clusterGauge("raftkv_cluster_last_converge_duration_seconds", "Time that the cluster last was not as specified before it was again, in whole seconds.")
	leaderChanges  = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "raftkv_cluster_leader_changes_total",
		Help: "Times that another member was seen to lead.",
	}, ofCluster)
)

// ours are all that the operator measures.
var ours = []prometheus.Collector{
	stepsTotal, operatorLeads, convergeSeconds, desiredMembers, membersGauge, healthyMembers, readyPods, conditionGauge, lastConverge, leaderChanges,
}

func init() { metrics.Registry.MustRegister(ours...) }

// leads is run by the manager for as long as this operator does the work: it holds the lease, or there is none to hold.
func leads(ctx context.Context) error {
	operatorLeads.Set(1)
	<-ctx.Done()
	operatorLeads.Set(0)
	return nil
}

// measure brings the cluster's metrics to what its status says.
func measure(c *v1.RaftCluster, before, now *v1.RaftClusterStatus) {
	of := prometheus.Labels{"cluster_namespace": c.Namespace, "cluster": c.Name}
	desiredMembers.With(of).Set(float64(desiredReplicas(c)))
	readyPods.With(of).Set(float64(now.ReadyReplicas))
	healthy, roles := 0, map[string]int{roleOf(false, true): 0, roleOf(false, false): 0, roleOf(true, false): 0}
	for _, m := range now.Members {
		roles[m.Role]++
		if m.Healthy {
			healthy++
		}
	}
	healthyMembers.With(of).Set(float64(healthy))
	for role, n := range roles {
		membersGauge.WithLabelValues(role, c.Namespace, c.Name).Set(float64(n))
	}
	for _, x := range now.Conditions {
		value := 0.0
		if x.Status == metav1.ConditionTrue {
			value = 1
		}
		conditionGauge.WithLabelValues(x.Type, c.Namespace, c.Name).Set(value)
	}
	changes := leaderChanges.With(of)
	if now.Leader != nil && (before.Leader == nil || before.Leader.ID != now.Leader.ID) {
		changes.Inc()
	}
	was, is := meta.FindStatusCondition(before.Conditions, v1.ConditionReady), meta.FindStatusCondition(now.Conditions, v1.ConditionReady)
	if was != nil && was.Status == metav1.ConditionFalse && is != nil && is.Status == metav1.ConditionTrue {
		took := is.LastTransitionTime.Sub(was.LastTransitionTime.Time).Seconds()
		convergeSeconds.Observe(took)
		lastConverge.With(of).Set(took)
	}
}

// forgetMetrics drops what was measured of a cluster that is no more.
func forgetMetrics(key types.NamespacedName) {
	of := prometheus.Labels{"cluster_namespace": key.Namespace, "cluster": key.Name}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		stepsTotal, desiredMembers, membersGauge, healthyMembers, readyPods, conditionGauge, lastConverge, leaderChanges,
	} {
		v.DeletePartialMatch(of)
	}
}
