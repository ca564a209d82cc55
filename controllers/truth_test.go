package controllers

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// A cluster that is to rest and is not well yet is not said to be one of which the spec does not ask it.
func TestWhyAClusterDoesNotRest(t *testing.T) {
	waits := &plan.Decision{Waiting: &plan.Reason{Reason: plan.ReasonMemberNotReady, Message: "member demo-1 is behind"}}
	for name, c := range map[string]struct {
		asks         bool
		record       *v1.HibernationStatus
		reason, says string
	}{
		"not asked for":   {false, nil, "NotHibernated", "does not ask"},
		"a member is ill": {true, nil, "NotHibernated", "once it is well: member demo-1 is behind"},
		"going to rest":   {true, &v1.HibernationStatus{Pods: 3}, plan.ReasonHibernating, "behind"},
		"coming back":     {false, &v1.HibernationStatus{Pods: 3}, plan.ReasonResuming, "behind"},
	} {
		s := &snapshot{observation: plan.Observation{Hibernate: c.asks}}
		is := hibernated(s, waits, &v1.RaftClusterStatus{Hibernation: c.record})
		if is.Status != metav1.ConditionFalse || is.Reason != c.reason || !strings.Contains(is.Message, c.says) {
			t.Errorf("%s: got %+v", name, is)
		}
	}
}

func TestARollThatWasPausedInTheMiddle(t *testing.T) {
	for name, c := range map[string]struct {
		revisions []string
		want      bool
	}{
		"in the middle":     {[]string{"a", "b"}, true},
		"before the first":  {[]string{"a", "a"}, true},
		"at the end":        {[]string{"b", "b"}, false},
		"there are no pods": {nil, false},
	} {
		o := &plan.Observation{Workload: &plan.Workload{Revision: "b"}}
		for _, r := range c.revisions {
			o.Pods = append(o.Pods, plan.Pod{Revision: r})
		}
		if unrolled(o) != c.want {
			t.Errorf("%s: got %v", name, !c.want)
		}
	}
}

// Who lowers replicas so that a pod with another cluster's data goes, as the condition advises, keeps that data.
func TestClaimsWithDataOfOthersAreKept(t *testing.T) {
	pod := func(name string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	}
	of := func(id raft.ClusterID) nodes.Answer {
		return nodes.Answer{Status: &admin.Status{State: admin.StateMember, ClusterID: id}}
	}
	for name, c := range map[string]struct {
		last nodes.Answer
		id   raft.ClusterID
		want bool
	}{
		"its own":         {of(1), 1, true},
		"another's":       {of(2), 1, false},
		"empty":           {nodes.Answer{Status: &admin.Status{State: admin.StateEmpty}}, 1, true},
		"no answer":       {nodes.Answer{Err: nodes.ErrNotFollowed}, 1, true},
		"not founded yet": {of(2), 0, true},
	} {
		s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}, pods: []corev1.Pod{pod("demo-0"), pod("demo-1")},
			observation: plan.Observation{Cluster: "demo", Desired: 1, ClusterID: c.id}}
		s.foreign = holdsForeign(s, map[types.UID]nodes.Answer{"demo-0": of(1), "demo-1": c.last})
		if scalesIn(s, 2) != c.want {
			t.Errorf("%s: the claims follow whenScaled: %v", name, !c.want)
		}
	}
}
