package controllers

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

func TestWhichPodsAreGone(t *testing.T) {
	const id = raft.ClusterID(7)
	c := &v1.RaftCluster{}
	c.Status.ClusterID = id.String()
	silent := nodes.Answer{Err: errors.New("no answer")}
	leads := func(cluster raft.ClusterID, of admin.MemberStatus) nodes.Answer {
		of.Name = "demo-1"
		return nodes.Answer{Status: &admin.Status{ClusterID: cluster, Role: raft.RoleLeader.String(), Members: []admin.MemberStatus{of}}}
	}
	away := admin.MemberStatus{Match: 5}
	for name, x := range map[string]struct {
		leader, node nodes.Answer
		ready        corev1.ConditionStatus
		want         bool
	}{
		"nobody hears it":            {leads(id, away), silent, corev1.ConditionFalse, true},
		"it is ready":                {leads(id, away), silent, corev1.ConditionTrue, false},
		"it answers":                 {leads(id, away), nodes.Answer{Status: &admin.Status{}}, corev1.ConditionFalse, false},
		"the leader hears it":        {leads(id, admin.MemberStatus{Active: true, Match: 5}), silent, corev1.ConditionFalse, false},
		"a leader has yet to see":    {leads(id, admin.MemberStatus{Active: true}), silent, corev1.ConditionFalse, true},
		"no leader answers":          {silent, silent, corev1.ConditionFalse, false},
		"another cluster has one":    {leads(8, away), silent, corev1.ConditionFalse, false},
		"who answers does not lead":  {nodes.Answer{Status: &admin.Status{ClusterID: id}}, silent, corev1.ConditionFalse, false},
		"a leader of no cluster yet": {leads(0, away), silent, corev1.ConditionFalse, false},
	} {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-1", UID: "u"}}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: x.ready}}
		gone := gonePods(c, []corev1.Pod{pod}, map[types.UID]nodes.Answer{"l": x.leader, "u": x.node})
		if _, got := gone["u"]; got != x.want {
			t.Errorf("%s: gone %v, want %v", name, got, x.want)
		}
	}
}

func TestWhichPodsAreSilent(t *testing.T) {
	silent := nodes.Answer{Err: errors.New("no answer")}
	pod := func(ready corev1.ConditionStatus) []corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-1", UID: "u"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return []corev1.Pod{p}
	}
	for name, x := range map[string]struct {
		pods    []corev1.Pod
		answers map[types.UID]nodes.Answer
		want    int
	}{
		"it does not answer":          {pod(corev1.ConditionFalse), map[types.UID]nodes.Answer{"u": silent}, 1},
		"it answers":                  {pod(corev1.ConditionFalse), map[types.UID]nodes.Answer{"u": {Status: &admin.Status{}}}, 0},
		"it is ready all the same":    {pod(corev1.ConditionTrue), map[types.UID]nodes.Answer{"u": silent}, 0},
		"it was never asked":          {pod(corev1.ConditionFalse), nil, 0},
		"another one does not answer": {pod(corev1.ConditionFalse), map[types.UID]nodes.Answer{"x": silent}, 0},
	} {
		if got := silentPods(x.pods, x.answers); len(got) != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAClusterIsUnledWhenNobodyAnswersWhoLeadsOrFollows(t *testing.T) {
	const id = raft.ClusterID(7)
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{UID: "c"}}
	c.Status.ClusterID = id.String()
	says := func(s admin.Status) map[types.UID]nodes.Answer {
		return map[types.UID]nodes.Answer{"u": {Status: &s}, "x": {Err: errors.New("no answer")}}
	}
	for name, x := range map[string]struct {
		answers map[types.UID]nodes.Answer
		want    bool
	}{
		"nobody answers":              {nil, true},
		"who answers follows nobody":  {says(admin.Status{ClusterID: id}), true},
		"one follows a leader":        {says(admin.Status{ClusterID: id, Leader: 3}), false},
		"one leads":                   {says(admin.Status{ClusterID: id, Role: raft.RoleLeader.String()}), false},
		"one of another cluster does": {says(admin.Status{ClusterID: 8, Leader: 3}), true},
	} {
		if _, got := unled(c, x.answers)["c"]; got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
	if got := unled(&v1.RaftCluster{}, nil); got != nil {
		t.Errorf("a cluster that is not founded misses a leader: %v", got)
	}
}

// A cluster that is no more is not remembered.
func TestWhatWasWatchedOfAClusterIsForgotten(t *testing.T) {
	var w watched
	demo := types.NamespacedName{Namespace: "ns", Name: "demo"}
	all := []*vigils{&w.gone, &w.silent, &w.unled}
	for _, v := range all {
		v.keep(demo, map[types.UID]time.Time{"u": {}}, time.Hour)
	}
	w.forget(demo)
	for i, v := range all {
		if len(v.of) > 0 {
			t.Errorf("%d: %v", i, v.of)
		}
	}
}

func TestAVigilEndsWithEachBreak(t *testing.T) {
	var v vigils
	demo := types.NamespacedName{Namespace: "ns", Name: "demo"}
	at := func(second int64) map[types.UID]time.Time { return map[types.UID]time.Time{"u": time.Unix(second, 0)} }
	look := func(what string, gone map[types.UID]time.Time, uptime, want time.Duration) {
		t.Helper()
		if got := v.keep(demo, gone, uptime)["u"]; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	look("first seen", at(1), time.Hour, 0)
	look("still gone", at(1), 2*time.Hour, time.Hour)
	look("back", nil, 3*time.Hour, 0)
	look("gone again", at(1), 4*time.Hour, 0)
	look("ready in between, though nobody saw", at(9), 6*time.Hour, 0)
	look("still gone", at(9), 7*time.Hour, time.Hour)
	look("another pod", map[types.UID]time.Time{"x": time.Unix(9, 0)}, 8*time.Hour, 0)
	look("the first again", at(9), 9*time.Hour, 0)
	if v.keep(demo, nil, 0); len(v.of) != 0 {
		t.Errorf("a cluster without any is remembered: %v", v.of)
	}
}

// A claim whose volume is no more keeps its pod from being scheduled, in words that depend on the version of Kubernetes.
func TestALostClaimIsCuredByANewOne(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := &v1.RaftCluster{}
	c.Spec.Replacement.UnreachableAfter = &metav1.Duration{Duration: time.Hour}
	pod := &corev1.Pod{}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "pod has a claim that lost its volume"}}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour))}}
	claim.Status.Phase = corev1.ClaimBound
	if unreachable(c, pod, claim, 2*time.Hour, now) {
		t.Error("a claim is given up for a pod that has no room")
	}
	claim.Status.Phase = corev1.ClaimLost
	if !unreachable(c, pod, claim, 2*time.Hour, now) || unreachable(c, pod, claim, time.Minute, now) {
		t.Error("a lost claim is not given up after the time that the spec asks for")
	}
	// What comes and goes does not cost a volume each time: an hour's patience asks for a claim of six.
	for age, want := range map[time.Duration]bool{5 * time.Hour: false, 7 * time.Hour: true} {
		claim.CreationTimestamp = metav1.NewTime(now.Add(-age))
		if got := unreachable(c, pod, claim, 2*time.Hour, now); got != want {
			t.Errorf("a lost claim that is %v old is given up: %v, want %v", age, got, want)
		}
	}
}
