package controllers

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// deleteClaims is what a person does; Kubernetes keeps the claims as long as their pods are there.
func (s *story) deleteClaims(n int) {
	s.t.Helper()
	for i := range n {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: resources.ClaimName("demo", i)}}
		if err := s.c.Delete(context.Background(), c); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Somebody deletes all claims of a cluster that works: its members are replaced one by one, and it never loses its quorum.
func TestClaimsThatSomebodyDeletesAreReplacedOneByOne(t *testing.T) {
	s := newStory(t, 88)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	id := s.until("ready", asSpecified).Status.ClusterID
	s.deleteClaims(3)
	c := s.until("all are new", func(c *v1.RaftCluster) bool {
		intact := 0
		for _, m := range s.g.membership.Voters() {
			x, _ := s.g.membership.Find(m)
			if x.Incarnation == s.k.incarnation(x.Name) {
				intact++
			}
		}
		if n := len(s.g.membership.Voters()); intact < n/2+1 {
			t.Fatalf("%d of %d voters have their volumes", intact, n)
		}
		return asSpecified(c) && s.k.volumes["demo-0"] == 2 && s.k.volumes["demo-1"] == 2 && s.k.volumes["demo-2"] == 2
	})
	if c.Status.ClusterID != id || s.g.bootstraps != 1 || s.g.refounds != 0 || s.sawEvent("QuorumLost") {
		t.Errorf("the cluster is another: %+v; %v", c.Status, s.drain())
	}
}

// The only member's claim goes with its pod: nothing of the operator's ends that, and with more members it is replaced.
func TestTheOnlyMembersClaimThatSomebodyDeletes(t *testing.T) {
	s := newStory(t, 89)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.deleteClaims(1)
	pods := s.podUIDs()
	for what, patch := range map[string]string{"updated": `{"spec":{"image":"raftkv/node:another"}}`, "at rest": `{"spec":{"hibernate":true}}`} {
		s.change(patch)
		c := s.until(what, s.stalled(plan.ReasonClaimDeleted))
		if m := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled).Message; !strings.Contains(m, "data-demo-0") || !strings.Contains(m, "three members") {
			t.Errorf("%s: the condition says %q", what, m)
		}
		for range 5 {
			s.k.play("demo")
			s.reconcile()
		}
		if s.podUIDs() != pods || !is(s.cluster(), v1.ConditionAvailable) {
			t.Fatalf("%s: pods %s became %s", what, pods, s.podUIDs())
		}
	}
	s.change(`{"spec":{"hibernate":false,"replicas":3}}`)
	s.until("replaced", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && s.k.volumes["demo-0"] == 2 && s.images() == "another another another" && s.g.bootstraps == 1
	})
}

func TestClaimsThatGoWithAnEarlierRaftCluster(t *testing.T) {
	cluster := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", UID: "now"}}
	of := func(kind string, uid types.UID) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: kind, Name: "demo", UID: uid}
	}
	theirs, other := of("RaftCluster", "theirs"), of("RaftCluster", "other")
	theirs.APIVersion, other.Name = "example.com/v1", "other"
	for name, x := range map[string]struct {
		owners []metav1.OwnerReference
		want   bool
	}{
		"of nobody":         {nil, false},
		"of this one":       {[]metav1.OwnerReference{of("RaftCluster", "now")}, false},
		"of an earlier one": {[]metav1.OwnerReference{of("RaftCluster", "earlier")}, true},
		"of both":           {[]metav1.OwnerReference{of("RaftCluster", "earlier"), of("RaftCluster", "now")}, false},
		"of another, too":   {[]metav1.OwnerReference{of("RaftCluster", "earlier"), of("ConfigMap", "theirs")}, false},
		"of a StatefulSet":  {[]metav1.OwnerReference{of("StatefulSet", "set")}, false},
		"of somebody's":     {[]metav1.OwnerReference{theirs}, false},
		"of another name":   {[]metav1.OwnerReference{other}, false},
	} {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: x.owners}}
		if got := planClaim(cluster, c, 0).Going; got != x.want {
			t.Errorf("%s: it goes: %v, want %v", name, got, x.want)
		}
	}
}

// What belongs to somebody else waits for a person, and what goes with an earlier RaftCluster of the name for the garbage collector.
func TestWhoseAnObjectIsThatIsInTheWay(t *testing.T) {
	yes := true
	for name, x := range map[string]struct {
		owner            metav1.OwnerReference
		earlier, foreign int
	}{
		"an earlier one's": {metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: "RaftCluster", Name: "demo", UID: "earlier", Controller: &yes}, 1, 0},
		"its own":          {metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: "RaftCluster", Name: "demo", UID: "now", Controller: &yes}, 0, 0},
		"another's":        {metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: "RaftCluster", Name: "other", UID: "other", Controller: &yes}, 0, 1},
		"of another kind of that word": {metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "RaftCluster", Name: "demo", UID: "theirs", Controller: &yes},
			0, 1},
	} {
		s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", UID: "now"}}}
		found := s.foreignChild("Service", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "demo", OwnerReferences: []metav1.OwnerReference{x.owner}}})
		if found != s.blocked() || len(s.observation.Earlier) != x.earlier || len(s.observation.Foreign) != x.foreign {
			t.Errorf("%s: earlier %v, foreign %v", name, s.observation.Earlier, s.observation.Foreign)
		}
	}
}
