package controllers

import (
	"testing"

	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
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
