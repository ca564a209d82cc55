package controllers

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// measured are the values of the cluster's metrics, by name and, after a colon, the label that tells them apart.
func measured(t *testing.T, namespace string) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name, ours := f.GetName(), false
			for _, l := range m.Label {
				switch l.GetName() {
				case "cluster_namespace":
					ours = l.GetValue() == namespace
				case "role", "condition", "step", "result":
					name += ":" + l.GetValue()
				}
			}
			if ours {
				out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return out
}

func TestClusterIsMeasuredAndForgotten(t *testing.T) {
	s := newStory(t, 22)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	m := measured(t, s.key.Namespace)
	for name, want := range map[string]float64{
		"raftkv_cluster_desired_members":                          3,
		"raftkv_cluster_members:leader":                           1,
		"raftkv_cluster_members:follower":                         2,
		"raftkv_cluster_members:learner":                          0,
		"raftkv_cluster_healthy_members":                          3,
		"raftkv_cluster_ready_pods":                               3,
		"raftkv_cluster_condition:Ready":                          1,
		"raftkv_cluster_condition:Available":                      1,
		"raftkv_cluster_condition:Degraded":                       0,
		"raftkv_cluster_condition:Stalled":                        0,
		"raftkv_cluster_leader_changes_total":                     1,
		"raftkv_operator_steps_total:" + stepTaken + ":bootstrap": 1,
		"raftkv_operator_steps_total:" + stepTaken + ":promote":   2,
	} {
		if got, ok := m[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	if took, ok := m["raftkv_cluster_last_converge_duration_seconds"]; !ok || took < 0 || took > convergeWithin.Seconds() {
		t.Errorf("it took %v s until the cluster was as specified (there: %v)", took, ok)
	}
	if err := s.c.Delete(context.Background(), s.cluster()); err != nil {
		t.Fatal(err)
	}
	s.reconcile()
	if left := measured(t, s.key.Namespace); len(left) > 0 {
		t.Errorf("of a cluster that is gone there is still %v", left)
	}
}

func TestTimeToConvergeIsOfEachCluster(t *testing.T) {
	at := func(is metav1.ConditionStatus, second int64) *v1.RaftClusterStatus {
		return &v1.RaftClusterStatus{Conditions: []metav1.Condition{{Type: v1.ConditionReady, Status: is, LastTransitionTime: metav1.Unix(second, 0)}}}
	}
	key := types.NamespacedName{Namespace: "measured", Name: "demo"}
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	const name = "raftkv_cluster_last_converge_duration_seconds"
	t.Cleanup(func() { forgetMetrics(key) })
	measure(c, at(metav1.ConditionTrue, 10), at(metav1.ConditionFalse, 20))
	if got, ok := measured(t, key.Namespace)[name]; ok {
		t.Errorf("a cluster that was never seen to converge took %v s", got)
	}
	for _, took := range []int64{40, 3} {
		measure(c, at(metav1.ConditionFalse, 100), at(metav1.ConditionTrue, 100+took))
		measure(c, at(metav1.ConditionTrue, 100+took), at(metav1.ConditionTrue, 100+took))
		if got := measured(t, key.Namespace)[name]; got != float64(took) {
			t.Errorf("it took %v s, want %d", got, took)
		}
	}
}

// leading is what this process measures of its doing the work.
func leading(t *testing.T) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "raftkv_operator_leading" {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	t.Fatal("it is not measured")
	return 0
}

// The operator says that it does the work for as long as the manager has it do that, and not while it waits for the lease.
func TestTheOperatorSaysThatItLeads(t *testing.T) {
	if got := leading(t); got != 0 {
		t.Errorf("an operator that waits says %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- leads(ctx) }()
	for deadline := time.Now().Add(convergeWithin); leading(t) != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not say that it leads")
		}
	}
	cancel()
	if err := <-done; err != nil || leading(t) != 0 {
		t.Errorf("at its end it says %v, error %v", leading(t), err)
	}
}
