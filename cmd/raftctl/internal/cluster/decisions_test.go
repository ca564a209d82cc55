package cluster

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

func TestTheClusterOfAPod(t *testing.T) {
	for pod, want := range map[string]string{"demo-0": "demo", "my-demo-12": "my-demo", "demo": "", "demo-": "", "demo-x": "", "demo-01": "", "-1": "", "demo--1": "demo-"} {
		if got, ok := OfPod(pod); got != want || ok != (want != "") {
			t.Errorf("%s is a pod of %q, %v", pod, got, ok)
		}
	}
}

// observed is a cluster of n members, led by the first, in which all is well.
func observed(n int) *Observation {
	o := &Observation{Cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}}
	var members []admin.MemberStatus
	for i := range n {
		members = append(members, admin.MemberStatus{Member: raft.Member{ID: raft.NodeID(i + 1), Name: resources.PodName("demo", i)}, Active: true, CaughtUp: true})
	}
	for i := range n {
		o.Pods = append(o.Pods, Pod{Ordinal: i, Pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", i)}},
			Node: &admin.Status{MemberID: raft.NodeID(i + 1), Role: "follower", Ready: true, ConfigCommitted: true, Members: members}})
	}
	o.Pods[0].Node.Role = "leader"
	return o
}

func TestAMemberIsReplacedOnlyWhereItsDataIsNotNeeded(t *testing.T) {
	for what, x := range map[string]struct {
		members int
		replace string
		change  func(*Observation)
		want    string
	}{
		"all well":                {3, "demo-1", func(*Observation) {}, ""},
		"the leader":              {3, "demo-0", func(*Observation) {}, ""},
		"it does not answer":      {3, "demo-1", func(o *Observation) { o.Pods[1].Node = nil }, ""},
		"it has no pod":           {3, "demo-2", func(o *Observation) { o.Pods = o.Pods[:2] }, ""},
		"its data is gone":        {3, "demo-1", func(o *Observation) { o.Pods[1].Node.MemberID = 0 }, ""},
		"another does not answer": {3, "demo-1", func(o *Observation) { o.Pods[2].Node = nil }, "demo-2 is not well"},
		"another's data is gone":  {5, "demo-1", func(o *Observation) { o.Pods[2].Node.MemberID = 0 }, "demo-2 is not well"},
		"another is not ready":    {3, "demo-1", func(o *Observation) { o.Pods[2].Node.Ready = false }, "demo-2 is not well"},
		"another has no pod":      {3, "demo-1", func(o *Observation) { o.Pods = o.Pods[:2] }, "demo-2 is not well"},
		"another lags":            {3, "demo-1", func(o *Observation) { o.Pods[0].Node.Members[2].CaughtUp = false }, "demo-2 is not caught up"},
		"another is cut off":      {3, "demo-1", func(o *Observation) { o.Pods[0].Node.Members[2].Active = false }, "demo-2 is not caught up"},
		"a learner lags": {4, "demo-1", func(o *Observation) {
			o.Pods[0].Node.Members[3].Learner, o.Pods[0].Node.Members[3].CaughtUp = true, false
		}, ""},
		"a change is under way":    {3, "demo-1", func(o *Observation) { o.Pods[0].Node.ConfigCommitted = false }, "is under way"},
		"nobody leads":             {3, "demo-1", func(o *Observation) { o.Pods[0].Node.Role = "follower" }, "nobody leads demo"},
		"the only member":          {1, "demo-0", func(*Observation) {}, "the only copy"},
		"one of two":               {2, "demo-1", func(*Observation) {}, "Grow the cluster to three first"},
		"one that is not a member": {3, "demo-7", func(*Observation) {}, "demo-7 is not a member"},
	} {
		o := observed(x.members)
		x.change(o)
		err := MayReplace(o, x.replace)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := MayReplace(observed(3), "demo-7"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is none: %v", err)
	}
}

func TestWhatIsWaitedForIsOver(t *testing.T) {
	for what, x := range map[string]struct {
		observed   int64
		conditions map[string]string // True where not empty: the reason
		of         int64             // the generation that they speak of
		done       bool
		waits, err string
	}{
		"not seen yet":              {1, map[string]string{"Ready": "AsSpecified"}, 1, false, "has yet to see", ""},
		"done":                      {2, map[string]string{"Ready": "AsSpecified"}, 2, true, "", ""},
		"an old word":               {2, map[string]string{"Ready": "AsSpecified"}, 1, false, "has yet to say", ""},
		"at work":                   {2, map[string]string{"Reconciling": "Updating"}, 2, false, "Updating: m", ""},
		"stalled":                   {2, map[string]string{"Stalled": "UpdateFailed"}, 2, false, "", "without a person: m (UpdateFailed)"},
		"stalled before the change": {2, map[string]string{"Stalled": "UpdateFailed"}, 1, false, "has yet to say", ""},
	} {
		c := &v1.RaftCluster{Status: v1.RaftClusterStatus{ObservedGeneration: x.observed}}
		for kind, reason := range x.conditions {
			meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "m", ObservedGeneration: x.of})
		}
		done, waits, err := settled(c, v1.ConditionReady, 2)
		if done != x.done || !strings.Contains(waits, x.waits) || (err != nil) != (x.err != "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %v, %q, %v", what, done, waits, err)
		}
	}
}
