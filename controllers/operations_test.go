package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// wipe gives the pods' nodes other directories, and leaves the group without a leader.
func (s *story) wipe(pods ...string) {
	defer s.g.lock()()
	s.g.leader = 0
	for _, n := range s.g.nodes {
		if slices.Contains(pods, n.name) {
			n.incarnation += 0x500
		}
	}
}

// images are those of the pods that exist, by ordinal, without what all share.
func (s *story) images() string {
	s.t.Helper()
	var out []string
	for i := range 8 {
		var p corev1.Pod
		if err := s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: resources.PodName("demo", i)}, &p); err == nil {
			out = append(out, strings.TrimPrefix(p.Spec.Containers[0].Image, "raftkv/node:"))
		}
	}
	return strings.Join(out, " ")
}

// workloadImage is the image in the StatefulSet's template; empty while there is none.
func (s *story) workloadImage() string {
	s.t.Helper()
	var set appsv1.StatefulSet
	if err := s.c.Get(context.Background(), s.key, &set); err != nil {
		return ""
	}
	return strings.TrimPrefix(set.Spec.Template.Spec.Containers[0].Image, "raftkv/node:")
}

func (s *story) deletePod(name string, graceSeconds int64) {
	s.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: name}}
	if err := s.c.Delete(context.Background(), p, client.GracePeriodSeconds(graceSeconds)); err != nil {
		s.t.Fatal(err)
	}
}

// unlabel takes all labels off.
func (s *story) unlabel(name string, o client.Object) {
	s.t.Helper()
	s.get(name, o)
	o.SetLabels(nil)
	if err := s.c.Update(context.Background(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) stalled(reason string) func(*v1.RaftCluster) bool {
	return func(c *v1.RaftCluster) bool {
		x := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
		return x != nil && x.Status == metav1.ConditionTrue && x.Reason == reason
	}
}

// later lets time go by.
func (s *story) later(d time.Duration) {
	s.leap(d)
	before := s.r.Uptime
	s.r.Uptime = func() time.Duration { return before() + d }
}

// leap sets the operator's clock.
func (s *story) leap(d time.Duration) {
	before := s.r.Now
	s.r.Now = func() time.Time { return before().Add(d) }
}

func TestALostQuorumIsRebuiltOnceAndOnlyWithConsent(t *testing.T) {
	s := newStory(t, 30)
	s.apply("spec: {replicas: 5, storage: {size: 1Gi}}")
	old := s.until("ready", asSpecified).Status.ClusterID
	s.wipe("demo-0", "demo-1", "demo-2")
	c := s.until("stalled", s.stalled(plan.ReasonQuorumLost))
	if x := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled); !strings.Contains(x.Message, old) || !strings.Contains(x.Message, "spec.recovery") {
		t.Errorf("the condition does not say what to do: %q", x.Message)
	}
	s.change(`{"spec":{"recovery":{"clusterID":"abc","acknowledgeDataLoss":true}}}`)
	for range 5 {
		s.k.play("demo")
		s.reconcile()
	}
	if s.g.refounds != 0 {
		t.Fatal("a recovery of another cluster was followed")
	}
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true}}}`, old))
	c = s.until("rebuilt", func(c *v1.RaftCluster) bool { return c.Status.ClusterID != old && asSpecified(c) })
	if r := c.Status.Recovery; r == nil || r.From != old || r.ClusterID != c.Status.ClusterID || s.g.refounds != 1 || s.g.bootstraps != 1 {
		t.Errorf("recovery %+v, %d rebuilt, %d founded", r, s.g.refounds, s.g.bootstraps)
	}
	if n := len(s.g.membership.Voters()); n != 5 {
		t.Errorf("%d voters", n)
	}
	for _, e := range []string{"QuorumLost", "StalledQuorumLost", "RecoveryBegun", "ClusterRebuilt", "DirectorySetAside"} {
		if !s.sawEvent(e) {
			t.Errorf("no event %s in %v", e, s.drain())
		}
	}
	s.wipe("demo-0", "demo-1", "demo-2")
	s.until("stalled again", s.stalled(plan.ReasonQuorumLost))
	if s.g.refounds != 1 {
		t.Error("the consent to lose the first cluster's data was taken for one to lose the second's")
	}
}

func TestAClusterOfWhichNothingIsLeftBeginsEmptyOnlyWhenAsked(t *testing.T) {
	s := newStory(t, 31)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	old := s.until("ready", asSpecified).Status.ClusterID
	s.wipe("demo-0", "demo-1", "demo-2")
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true}}}`, old))
	s.until("stalled", s.stalled(plan.ReasonNoMemberLeft))
	s.change(`{"spec":{"recovery":{"startEmpty":true}}}`)
	c := s.until("anew", func(c *v1.RaftCluster) bool { return c.Status.ClusterID != old && asSpecified(c) })
	if !c.Status.Recovery.Empty || s.g.refounds != 0 || s.g.bootstraps != 2 {
		t.Errorf("recovery %+v, %d rebuilt, %d founded", c.Status.Recovery, s.g.refounds, s.g.bootstraps)
	}
}

func TestHibernationKeepsEverythingAndComesBack(t *testing.T) {
	s := newStory(t, 32)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}}")
	id := s.until("ready", asSpecified).Status.ClusterID
	m, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	unlock := s.g.lock()
	s.g.leader = m.ID
	unlock()
	s.change(`{"spec":{"hibernate":true}}`)
	var stopped []string
	c := s.until("at rest", func(c *v1.RaftCluster) bool {
		var set appsv1.StatefulSet
		s.get("demo", &set)
		if n := *set.Spec.Replicas; n < 3 {
			if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
				t.Fatalf("pods are stopped while their claims are deleted with them: %+v", p)
			}
			if text := fmt.Sprint(n); !slices.Contains(stopped, text) {
				stopped = append(stopped, text)
			}
		}
		return is(c, v1.ConditionHibernated)
	})
	if got := strings.Join(stopped, " "); got != "1 0" {
		t.Errorf("the pods were stopped down to %s, want followers first and demo-0 last", got)
	}
	if s.g.leader == m.ID {
		t.Error("the leader's pod was not the last")
	}
	if !is(c, v1.ConditionReady) || is(c, v1.ConditionAvailable) || is(c, v1.ConditionDegraded) || is(c, v1.ConditionReconciling) || is(c, v1.ConditionStalled) {
		t.Errorf("got conditions %+v", c.Status.Conditions)
	}
	if c.Status.Hibernation == nil || c.Status.Hibernation.Pods != 3 || c.Status.ClusterID != id || len(c.Status.Members) != 3 {
		t.Errorf("got status %+v", c.Status)
	}
	if again := s.reconcile(); again != 0 {
		t.Errorf("at rest it wants to be called again in %v", again)
	}
	// What is asked for meanwhile waits, and a StatefulSet that somebody deletes is made without pods.
	s.change(`{"spec":{"replicas":5,"podTemplate":{"annotations":{"a":"b"}}}}`)
	var set appsv1.StatefulSet
	s.get("demo", &set)
	if err := s.c.Delete(context.Background(), &set); err != nil {
		t.Fatal(err)
	}
	s.until("at rest still", func(c *v1.RaftCluster) bool {
		var set appsv1.StatefulSet
		err := s.c.Get(context.Background(), s.key, &set)
		return err == nil && *set.Spec.Replicas == 0 && is(c, v1.ConditionHibernated) && c.Status.ObservedGeneration == c.Generation
	})
	s.change(`{"spec":{"hibernate":false}}`)
	c = s.until("back, and as it is asked for now", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.annotated("a") })
	if c.Status.ClusterID != id || s.g.bootstraps != 1 || c.Status.Hibernation != nil || is(c, v1.ConditionHibernated) {
		t.Errorf("%d founded, status %+v", s.g.bootstraps, c.Status)
	}
	for i := range 5 {
		var claim corev1.PersistentVolumeClaim
		s.get(resources.ClaimName("demo", i), &claim)
	}
	for _, e := range []string{"Hibernated", "Resumed"} {
		if !s.sawEvent(e) {
			t.Errorf("no event %s in %v", e, s.drain())
		}
	}
}

// A StatefulSet whose template is held back must keep the claims of a cluster that goes to rest all the same.
func TestHibernationWhilePausedKeepsTheClaims(t *testing.T) {
	s := newStory(t, 33)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}, updateStrategy: {paused: true}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"hibernate":true,"image":"raftkv/node:another"}}`)
	s.until("at rest", func(c *v1.RaftCluster) bool { return is(c, v1.ConditionHibernated) })
	var set appsv1.StatefulSet
	s.get("demo", &set)
	if set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || set.Spec.Template.Spec.Containers[0].Image != "raftkv/node:default" {
		t.Errorf("got %+v with image %s", set.Spec.PersistentVolumeClaimRetentionPolicy, set.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestABadUpdateStopsAtItsFirstPodAndIsTakenBack(t *testing.T) {
	s := newStory(t, 34)
	s.k.bad = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "bad") }
	s.apply("spec: {replicas: 3, image: raftkv/node:good, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 10m}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
	s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "good good bad" })
	for range 5 {
		s.k.play("demo")
		s.reconcile()
	}
	if c := s.cluster(); is(c, v1.ConditionStalled) || s.images() != "good good bad" {
		t.Fatalf("before the deadline: images %s, conditions %+v", s.images(), c.Status.Conditions)
	}
	s.later(11 * time.Minute)
	s.until("stalled", s.stalled(plan.ReasonUpdateFailed))
	for range 5 {
		s.k.play("demo")
		s.reconcile()
	}
	if got := s.images(); got != "good good bad" {
		t.Errorf("after the stall the images are %s", got)
	}
	// Any pod that dies comes back with what the StatefulSet holds.
	for _, died := range []string{"demo-1", "demo-2"} {
		if err := s.c.Delete(context.Background(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: died}}, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	s.until("back with the last good template, and stalled still", func(c *v1.RaftCluster) bool {
		return s.images() == "good good good" && c.Status.ReadyReplicas == 3 && s.stalled(plan.ReasonUpdateFailed)(c)
	})
	// Something else in the spec does not bring the failed template back; something in podTemplate tries it once more.
	s.change(`{"spec":{"replicas":4}}`)
	s.until("grown with the last good template", func(c *v1.RaftCluster) bool {
		return c.Status.ReadyReplicas == 4 && len(s.g.membership.Voters()) == 4 && s.stalled(plan.ReasonUpdateFailed)(c) && s.images() == "good good good good"
	})
	s.change(`{"spec":{"replicas":3,"podTemplate":{"annotations":{"try":"again"}}}}`)
	s.until("tried again", func(*v1.RaftCluster) bool { return s.images() == "good good bad" })
	s.later(11 * time.Minute)
	s.until("stalled again", s.stalled(plan.ReasonUpdateFailed))
	s.change(`{"spec":{"image":"raftkv/node:good"}}`)
	s.until("back", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == "good good good" })
	var set appsv1.StatefulSet
	if s.get("demo", &set); set.Annotations[failedAnnotation] != "" {
		t.Errorf("the StatefulSet is still marked: %v", set.Annotations)
	}
	if !s.sawEvent("StalledUpdateFailed") || !s.sawEvent("TemplatePutBack") {
		t.Errorf("no event in %v", s.drain())
	}
}

// A spec without an image asks for the one that all members last ran.
func TestAnImageIsTakenBackByLeavingItOut(t *testing.T) {
	s := newStory(t, 91)
	s.k.bad = func(p *corev1.Pod) bool { return strings.HasSuffix(p.Spec.Containers[0].Image, "bad") }
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 30s}}")
	s.until("ready", asSpecified)
	back := func(image string) {
		t.Helper()
		s.change(`{"spec":{"image":null}}`)
		all := strings.TrimSpace(strings.Repeat(image+" ", 3))
		c := s.until("back to "+image, func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == all })
		if c.Status.Image != "raftkv/node:"+image {
			t.Errorf("the status has image %s, want %s", c.Status.Image, image)
		}
	}
	s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
	s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "default default bad" })
	back("default")
	s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
	s.until("begun again", func(*v1.RaftCluster) bool { return s.images() == "default default bad" })
	s.later(time.Minute)
	s.until("failed", s.stalled(plan.ReasonUpdateFailed))
	back("default")
	s.change(`{"spec":{"image":"raftkv/node:other"}}`)
	s.until("updated", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == "other other other" })
	back("other") // what runs well is no reason to go back further
}

func TestAMemberThatStaysUnreachableGetsANewVolumeWithConsent(t *testing.T) {
	s := newStory(t, 35)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var p corev1.Pod
	s.get("demo-1", &p)
	var claim corev1.PersistentVolumeClaim
	s.get("data-demo-1", &claim)
	old := claim.UID
	s.g.fail(p.Status.PodIP)
	s.later(24 * time.Hour)
	for range 5 {
		s.k.play("demo")
		s.reconcile()
	}
	if s.get("data-demo-1", &claim); claim.UID != old || claim.DeletionTimestamp != nil {
		t.Fatal("a claim was given up without consent")
	}
	s.change(`{"spec":{"replacement":{"unreachableAfter":"1h"}}}`)
	s.later(2 * time.Hour)
	s.until("replaced", func(c *v1.RaftCluster) bool {
		_, member := s.g.membership.FindIncarnation(s.k.incarnation("demo-1"))
		return asSpecified(c) && member && s.k.volumes["demo-1"] == 2
	})
	if s.k.volumes["demo-0"] != 1 || s.k.volumes["demo-2"] != 1 || len(s.g.membership.Voters()) != 3 || !s.sawEvent("VolumeReplaced") {
		t.Errorf("volumes %v, voters %v, events %v", s.k.volumes, s.g.membership.Voters(), s.drain())
	}
}

// A clock that leaps, the operator's own or that of the machine which says since when a pod is not ready, makes a member that begins again look as if it
// had been away for hours.
func TestAMemberIsNotGivenUpForWhatAClockSays(t *testing.T) {
	s := newStory(t, 90)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}, replacement: {unreachableAfter: 1h}}")
	s.until("ready", asSpecified)
	var p corev1.Pod
	s.get("demo-1", &p)
	stays := func(when string) {
		t.Helper()
		for range 5 {
			s.k.play("demo")
			s.reconcile()
		}
		var claim corev1.PersistentVolumeClaim
		if s.get("data-demo-1", &claim); claim.DeletionTimestamp != nil || s.k.volumes["demo-1"] != 1 {
			t.Fatalf("%s: the claim was given up", when)
		}
	}
	s.leap(24 * time.Hour)
	s.g.fail(p.Status.PodIP)
	stays("a clock that leapt before")
	s.leap(24 * time.Hour)
	stays("a clock that leaps meanwhile")
	s.later(50 * time.Minute)
	stays("gone for less than an hour")
	s.g.recover(p.Status.PodIP)
	s.until("back", asSpecified)
	s.g.fail(p.Status.PodIP)
	stays("gone again")
	s.later(50 * time.Minute)
	stays("gone for an hour, with a break")
	// While nobody leads it may be that all are away, and who is back last is not to be blamed.
	unlock := s.g.lock()
	leader := s.g.leader
	s.g.leader = 0
	unlock()
	s.later(24 * time.Hour)
	stays("without a leader")
	unlock = s.g.lock()
	s.g.leader = leader
	unlock()
	stays("under a leader again")
	// Another operator has seen nothing of that.
	operator := asOperator(t)
	s.r.Nodes.Follow(s.key, nil)
	s.r = NewReconciler(operator, operator, s.events, s.g.dial, "raftkv/node:default")
	s.leap(72 * time.Hour)
	stays("another operator")
	s.later(2 * time.Hour)
	s.until("replaced", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.k.volumes["demo-1"] == 2 })
}

func storageClass(t *testing.T, c client.Client, name string, expands bool) string {
	t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/test", AllowVolumeExpansion: &expands}
	if err := c.Create(context.Background(), class); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestVolumesGrowAndTheClaimTemplateTellsTheTruth(t *testing.T) {
	s := newStory(t, 36)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, storageClassName: " + storageClass(t, s.c, "grows", true) + "}}")
	s.until("ready", asSpecified)
	uids := s.podUIDs()
	var set appsv1.StatefulSet
	s.get("demo", &set)
	before := set.UID
	s.change(`{"spec":{"storage":{"size":"2Gi"}}}`)
	s.reconcile()
	if asSpecified(s.cluster()) {
		t.Error("it is said to be as the spec asks when the volumes were only asked to grow")
	}
	s.until("grown", func(c *v1.RaftCluster) bool {
		var set appsv1.StatefulSet
		if err := s.c.Get(context.Background(), s.key, &set); err != nil {
			return false
		}
		return asSpecified(c) && set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() == "2Gi"
	})
	for i := range 3 {
		var c corev1.PersistentVolumeClaim
		if s.get(resources.ClaimName("demo", i), &c); c.Spec.Resources.Requests.Storage().String() != "2Gi" {
			t.Errorf("claim %s asks for %s", c.Name, c.Spec.Resources.Requests.Storage())
		}
	}
	if s.get("demo", &set); set.UID == before || *set.Spec.Replicas != 3 {
		t.Errorf("the StatefulSet has UID %s, before %s, and %d replicas", set.UID, before, *set.Spec.Replicas)
	}
	if after := s.podUIDs(); after != uids {
		t.Errorf("pods were restarted: %s became %s", uids, after)
	}
}

func TestVolumesThatCannotGrowSaySoAndNothingElseSuffers(t *testing.T) {
	s := newStory(t, 37)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi, storageClassName: " + storageClass(t, s.c, "stays", false) + "}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"storage":{"size":"2Gi"}}}`)
	c := s.until("stalled", s.stalled(plan.ReasonStorageNotExpandable))
	if !is(c, v1.ConditionAvailable) {
		t.Error("the store does not go on")
	}
	var set appsv1.StatefulSet
	if s.get("demo", &set); set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() != "1Gi" || set.DeletionTimestamp != nil {
		t.Error("the claim template promises what new claims would have and old ones cannot")
	}
}

func (s *story) podUIDs() string {
	s.t.Helper()
	var pods corev1.PodList
	if err := s.c.List(context.Background(), &pods, client.InNamespace(s.key.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, p := range pods.Items {
		out = append(out, p.Name+"="+string(p.UID))
	}
	return strings.Join(out, " ")
}

// A StatefulSet that somebody deletes without its pods, while fewer members are asked for, must not come back with so few pods that a
// member's is deleted with it.
func TestAStatefulSetMadeAnewLeavesNoMemberWithoutItsPod(t *testing.T) {
	s := newStory(t, 38)
	s.apply("spec: {replicas: 5, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var set appsv1.StatefulSet
	s.get("demo", &set)
	if err := s.c.Delete(context.Background(), &set, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	s.change(`{"spec":{"replicas":3}}`)
	for err := error(nil); err == nil; err = s.c.Get(context.Background(), s.key, &set) {
		s.k.play("demo")
	}
	s.reconcile()
	if s.get("demo", &set); *set.Spec.Replicas != 5 {
		t.Fatalf("it was made with %d replicas while 5 members are there", *set.Spec.Replicas)
	}
	s.until("shrunk", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.Replicas == 3 })
	if n := len(s.g.membership.Voters()); n != 3 {
		t.Errorf("%d voters", n)
	}
}

func TestNetworkPolicyComesAndGoes(t *testing.T) {
	s := newStory(t, 39)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}, networkPolicy: {enabled: true, clients: [{podSelector: {matchLabels: {app: shop}}}]}}")
	s.until("ready", asSpecified)
	var policy networkingv1.NetworkPolicy
	s.get("demo", &policy)
	if len(policy.Spec.Ingress) != 3 || len(policy.Spec.Ingress[1].From) != 2 || policy.Spec.Ingress[1].From[0].PodSelector.MatchLabels["app"] != "shop" {
		t.Errorf("got %+v", policy.Spec)
	}
	s.change(`{"spec":{"networkPolicy":{"clients":null}}}`)
	s.until("open to all clients", func(c *v1.RaftCluster) bool {
		s.get("demo", &policy)
		return asSpecified(c) && len(policy.Spec.Ingress[1].From) == 0
	})
	s.change(`{"spec":{"networkPolicy":null}}`)
	s.until("gone", func(*v1.RaftCluster) bool { return apierrors.IsNotFound(s.c.Get(context.Background(), s.key, &policy)) })
	// One of somebody else's is none of the operator's business while none is asked for.
	foreign := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: "demo"}}
	if err := s.c.Create(context.Background(), foreign); err != nil {
		t.Fatal(err)
	}
	s.reconcile()
	s.get("demo", &policy)
	s.change(`{"spec":{"networkPolicy":{"enabled":true}}}`)
	s.until("stalled", s.stalled(plan.ReasonChildNotOwned))
}

// Nothing of the operator's stands in the way of a deletion, so that it cannot get stuck: what has to go is owned, and the garbage
// collector sees to it also where no operator runs.
func TestADeletionWaitsForNobody(t *testing.T) {
	s := newStory(t, 40)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}, networkPolicy: {enabled: true}}")
	c := s.until("ready", asSpecified)
	if len(c.Finalizers) != 0 {
		t.Errorf("finalizers %v", c.Finalizers)
	}
	for name, o := range map[string]client.Object{
		"demo": &appsv1.StatefulSet{}, "demo-leader": &corev1.Service{}, "demo-peers": &corev1.Service{}, "demo-admin-token": &corev1.Secret{},
	} {
		if s.get(name, o); !metav1.IsControlledBy(o, c) {
			t.Errorf("%s is not owned by the RaftCluster: it would be left behind", name)
		}
	}
	var policy networkingv1.NetworkPolicy
	if s.get("demo", &policy); !metav1.IsControlledBy(&policy, c) {
		t.Error("the NetworkPolicy would be left behind")
	}
	var claim corev1.PersistentVolumeClaim
	if s.get("data-demo-0", &claim); len(claim.OwnerReferences) != 0 {
		t.Errorf("a claim that is to be kept has owners: %v", claim.OwnerReferences)
	}
	id := c.Status.ClusterID
	if err := s.c.Delete(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Get(context.Background(), s.key, c); !apierrors.IsNotFound(err) {
		t.Errorf("after the deletion: %v", err)
	}
	// The same name finds its data again.
	for _, o := range []client.Object{&appsv1.StatefulSet{}, &networkingv1.NetworkPolicy{}} {
		o.SetNamespace(s.key.Namespace)
		o.SetName("demo")
		if err := s.c.Delete(context.Background(), o, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			t.Fatal(err)
		}
	}
	s.collectGarbage(c)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	c = s.until("adopted", asSpecified)
	if c.Status.ClusterID != id || s.g.bootstraps != 1 || !s.sawEvent("DataAdopted") {
		t.Errorf("cluster %s, before %s; %d founded; events %v", c.Status.ClusterID, id, s.g.bootstraps, s.drain())
	}
}

// collectGarbage plays the garbage collector for a RaftCluster that is no more.
func (s *story) collectGarbage(c *v1.RaftCluster) {
	s.t.Helper()
	ctx := context.Background()
	for _, list := range []client.ObjectList{&corev1.ServiceList{}, &corev1.SecretList{}, &corev1.ServiceAccountList{}, &policyv1.PodDisruptionBudgetList{}, &corev1.PodList{}} {
		if err := s.c.List(ctx, list, client.InNamespace(c.Namespace), client.MatchingLabels{resources.LabelInstance: "demo"}); err != nil {
			s.t.Fatal(err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range objects {
			if err := s.c.Delete(ctx, o.(client.Object), client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				s.t.Fatal(err)
			}
		}
	}
	var claims corev1.PersistentVolumeClaimList
	if err := s.c.List(ctx, &claims, client.InNamespace(c.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	for _, claim := range claims.Items {
		if slices.ContainsFunc(claim.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == c.UID }) {
			s.k.dropClaim(claim.Name)
		}
	}
}
