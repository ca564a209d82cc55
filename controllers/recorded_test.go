package controllers

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// A status that somebody wrote by hand asks for no pods that a cluster cannot have.
func TestAStatusWrittenByHandAsksForNoHundredsOfPods(t *testing.T) {
	for pods, taken := range map[int32]bool{0: true, 3: true, 7: true, -1: false, 1000: false} {
		c := &v1.RaftCluster{}
		c.Status.Hibernation = &v1.HibernationStatus{Pods: pods}
		var o plan.Observation
		if err := recordedRecovery(c, &o); (err == nil) != taken {
			t.Errorf("%d pods that rest: %v", pods, err)
		}
	}
	for member, want := range map[string]int32{"demo-4": 5, "demo-0": 3, "demo-1000": 3, "guest-9": 3} {
		c := &v1.RaftCluster{}
		c.Name, c.Spec.Replicas = "demo", ptr.To[int32](3)
		c.Status.Members = []v1.MemberStatus{{Name: member}}
		if got := replicasAnew(&snapshot{cluster: c}); got != want {
			t.Errorf("with member %s on record a StatefulSet is made with %d pods, want %d", member, got, want)
		}
	}
}

// Somebody deletes the StatefulSet of a cluster that is about to rest and leaves its pods: the one that is made in its place ends none of them.
func TestAStatefulSetThatIsMadeAnewEndsNoPod(t *testing.T) {
	pod := func(i int, ending bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", i)}}
		if ending {
			p.DeletionTimestamp = ptr.To(metav1.Now())
		}
		return p
	}
	for name, x := range map[string]struct {
		pods      []corev1.Pod
		hibernate bool
		want      int32
	}{
		"at rest":                   {nil, true, 0},
		"about to rest":             {[]corev1.Pod{pod(0, false), pod(1, false), pod(2, false)}, true, 3},
		"its followers are ending":  {[]corev1.Pod{pod(0, false), pod(1, true), pod(2, true)}, true, 1},
		"all are ending":            {[]corev1.Pod{pod(0, true), pod(1, true), pod(2, true)}, true, 0},
		"one is missing":            {[]corev1.Pod{pod(0, false), pod(2, false)}, true, 3},
		"it is to wake up":          {nil, false, 3},
		"it is to wake up, smaller": {[]corev1.Pod{pod(3, true)}, false, 4},
	} {
		c := &v1.RaftCluster{}
		c.Name, c.Spec.Replicas = "demo", ptr.To[int32](1)
		s := &snapshot{cluster: c, pods: x.pods}
		s.observation.Asleep, s.observation.Hibernate = 3, x.hibernate
		if got := replicasAnew(s); got != x.want {
			t.Errorf("%s: it is made with %d pods, want %d", name, got, x.want)
		}
	}
}

// What somebody wrote into the status, and nobody can read, is said where people look, and nothing is done until it is put back.
func TestAStatusThatNobodyCanReadIsSaid(t *testing.T) {
	s := newStory(t, 93)
	ctx := context.Background()
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	id := s.until("ready", asSpecified).Status.ClusterID
	c := s.cluster()
	c.Status.ClusterID = "mine"
	if err := s.c.Status().Update(ctx, c); err != nil {
		t.Fatal(err)
	}
	s.change(`{"spec":{"replicas":3}}`)
	s.drain()
	n := s.counting()
	for range 3 {
		s.k.play("demo")
		if again := s.reconcile(); again == 0 || again > whileStalled {
			t.Errorf("it looks again in %v", again)
		}
		c = s.cluster()
		x := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
		if !s.stalled(plan.ReasonInvalidStatus)(c) || !strings.Contains(x.Message, "status.clusterID") || is(c, v1.ConditionReady) || is(c, v1.ConditionReconciling) ||
			c.Status.ClusterID != "mine" || c.Status.Leader == nil || *s.workload().Spec.Replicas != 1 {
			t.Fatalf("got status %+v", c.Status)
		}
		// Another operator begins with no metrics, and has nothing to write.
		if stalled := measured(t, s.key.Namespace)["raftkv_cluster_condition:"+v1.ConditionStalled]; stalled != 1 {
			t.Errorf("the metric of the condition Stalled is %v", stalled)
		}
		forgetMetrics(s.key)
	}
	if got := n.of("write"); got != 1 || !s.sawEvent("StalledInvalidStatus") {
		t.Errorf("%d writes; events %v", got, s.drain())
	}
	c.Status.ClusterID = id
	if err := s.c.Status().Update(ctx, c); err != nil {
		t.Fatal(err)
	}
	if s.until("grown", asSpecified); s.g.bootstraps != 1 || len(s.g.membership.Voters()) != 3 {
		t.Errorf("founded %d times: %+v", s.g.bootstraps, s.g.membership)
	}
}
