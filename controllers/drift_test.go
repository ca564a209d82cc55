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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// What people delete and edit is put right and told, and neither pods nor volumes notice.
func TestEditedChildrenArePutRight(t *testing.T) {
	s := newStory(t, 44)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}, networkPolicy: {enabled: true}}")
	c := s.until("ready", asSpecified)
	id, pods := c.Status.ClusterID, s.podUIDs()
	s.later(time.Hour)

	deleted := func(o client.Object) func() {
		return func() {
			o.SetNamespace(s.key.Namespace)
			propagation := metav1.DeletePropagationBackground
			if _, ok := o.(*appsv1.StatefulSet); ok {
				propagation = metav1.DeletePropagationOrphan
			}
			if err := s.c.Delete(ctx, o, client.PropagationPolicy(propagation)); err != nil {
				t.Fatal(err)
			}
		}
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	edited := func(name string, o client.Object, edit func()) func() {
		return func() {
			s.get(name, o)
			edit()
			if err := s.c.Update(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	var client1, leader1 corev1.Service
	var budget policyv1.PodDisruptionBudget
	var account corev1.ServiceAccount
	var set appsv1.StatefulSet
	var policy networkingv1.NetworkPolicy
	var pod corev1.Pod
	for _, x := range []struct {
		what, told string
		do         func()
	}{
		{"client Service deleted", "Service demo did not exist", deleted(&corev1.Service{ObjectMeta: named("demo")})},
		{"peer Service deleted", "Service demo-peers did not exist", deleted(&corev1.Service{ObjectMeta: named("demo-peers")})},
		{"leader Service deleted", "Service demo-leader did not exist", deleted(&corev1.Service{ObjectMeta: named("demo-leader")})},
		{"ServiceAccount deleted", "ServiceAccount demo did not exist", deleted(&corev1.ServiceAccount{ObjectMeta: named("demo")})},
		{"budget deleted", "PodDisruptionBudget demo did not exist", deleted(&policyv1.PodDisruptionBudget{ObjectMeta: named("demo")})},
		{"NetworkPolicy deleted", "NetworkPolicy demo did not exist", deleted(&networkingv1.NetworkPolicy{ObjectMeta: named("demo")})},
		{"token deleted", "Secret demo-admin-token did not exist", deleted(&corev1.Secret{ObjectMeta: named("demo-admin-token")})},
		{"StatefulSet deleted", "StatefulSet demo did not exist", deleted(&appsv1.StatefulSet{ObjectMeta: named("demo")})},
		{"Service's selector", "spec.selector of Service demo-leader", edited("demo-leader", &leader1, func() { leader1.Spec.Selector[resources.LabelRole] = "wrong" })},
		{"Service's port", "spec.ports[0].port of Service demo,", edited("demo", &client1, func() { client1.Spec.Ports[0].Port = 1 })},
		{"Service's selector has more", "spec.selector of Service demo,", edited("demo", &client1, func() { client1.Spec.Selector["app"] = "mine" })},
		{"a port more", "spec.ports of Service demo-peers,", edited("demo-peers", &client1, func() {
			client1.Spec.Ports = append(client1.Spec.Ports, corev1.ServicePort{Name: "mine", Port: 1})
		})},
		{"a container more", "spec.template.spec.containers of StatefulSet demo,", edited("demo", &set, func() {
			set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, corev1.Container{Name: "mine", Image: "mine"})
		})},
		{"Service's label", "metadata.labels.app.kubernetes.io/managed-by of Service demo,", edited("demo", &client1, func() { client1.Labels[resources.LabelManagedBy] = "me" })},
		{"budget", "spec.minAvailable of PodDisruptionBudget demo", edited("demo", &budget, func() { minimum := intstr.FromInt32(0); budget.Spec.MinAvailable = &minimum })},
		{"budget's owner", "metadata.ownerReferences of PodDisruptionBudget demo", edited("demo", &budget, func() { budget.OwnerReferences = nil })},
		{"ServiceAccount's labels", "of ServiceAccount demo", edited("demo", &account, func() { delete(account.Labels, resources.LabelManagedBy) })},
		{"template", "spec.template.spec.containers[0].image of StatefulSet demo", edited("demo", &set, func() { set.Spec.Template.Spec.Containers[0].Image = "mine" })},
		{"update strategy", "spec.updateStrategy.type of StatefulSet demo", edited("demo", &set, func() {
			set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}
		})},
		{"NetworkPolicy", "spec.ingress of NetworkPolicy demo", edited("demo", &policy, func() { policy.Spec.Ingress = nil })},
		{"a follower's labels", "pod demo-1 had lost its labels", func() { s.unlabel("demo-1", &corev1.Pod{}) }},
		{"a follower's instance", "pod demo-2 had lost its labels", edited("demo-2", &pod, func() { pod.Labels[resources.LabelInstance] = "another" })},
		{"the leader's role", "role label of pod demo-0", edited("demo-0", &pod, func() { delete(pod.Labels, resources.LabelRole) })},
		{"a claim's labels", "claim data-demo-2 had lost its labels", func() { s.unlabel("data-demo-2", &corev1.PersistentVolumeClaim{}) }},
	} {
		s.drain()
		s.history = nil
		x.do()
		if x.what == "token deleted" {
			s.later(tokenFresh)
		}
		if x.what == "StatefulSet deleted" {
			for err := error(nil); !apierrors.IsNotFound(err); err = s.c.Get(ctx, s.key, &set) {
				s.k.play("demo")
			}
		}
		s.reconcile()
		c := s.until(x.what+", put right", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.whole() == "" })
		if !slices.ContainsFunc(s.drain(), func(e string) bool { return strings.Contains(e, "ChildPutRight") && strings.Contains(e, x.told) }) {
			t.Errorf("%s: no event ChildPutRight says %q: %v", x.what, x.told, s.history)
		}
		if c.Status.ClusterID != id || len(s.g.membership.Voters()) != 3 || s.g.bootstraps != 1 {
			t.Errorf("%s: the cluster is another: %+v", x.what, c.Status)
		}
		for pod, n := range s.k.volumes {
			if n != 1 {
				t.Errorf("%s: %s lost its volume", x.what, pod)
			}
		}
		// Without its revision's label a pod may have any template, and is restarted for that.
		if x.what == "a follower's labels" {
			pods = s.podUIDs()
		}
		if now := s.podUIDs(); now != pods {
			t.Errorf("%s: pods were restarted: %s became %s", x.what, pods, now)
		}
	}
}

// whole says which child is not as it should be; empty if all are.
func (s *story) whole() string {
	ctx := context.Background()
	cluster := s.cluster()
	image := "raftkv/node:default"
	for _, wanted := range []client.Object{
		resources.ServiceAccount(cluster), resources.PeerService(cluster), resources.ClientService(cluster), resources.LeaderService(cluster),
		resources.PodDisruptionBudget(cluster, 3), resources.NetworkPolicy(cluster),
		resources.StatefulSet(cluster, resources.StatefulSetOptions{Image: image, Replicas: 3, ClaimSize: cluster.Spec.Storage.Size}),
	} {
		is, err := s.c.Scheme().New(wanted.GetObjectKind().GroupVersionKind())
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.c.Get(ctx, client.ObjectKey{Namespace: s.key.Namespace, Name: wanted.GetName()}, is.(client.Object)); err != nil {
			return err.Error()
		}
		if _, outdated, err := (child{wanted: wanted, is: is.(client.Object)}).outdated(); err != nil || outdated {
			return fmt.Sprintf("%T %s", wanted, wanted.GetName())
		}
	}
	for i := range 3 {
		for name, o := range map[string]client.Object{resources.PodName("demo", i): &corev1.Pod{}, resources.ClaimName("demo", i): &corev1.PersistentVolumeClaim{}} {
			if err := s.c.Get(ctx, client.ObjectKey{Namespace: s.key.Namespace, Name: name}, o); err != nil || !labelled(o, resources.SelectorLabels("demo")) {
				return name
			}
		}
	}
	if s.roles() != "demo-0=leader demo-1=follower demo-2=follower" {
		return s.roles()
	}
	return ""
}

// A claim whose labels are gone still holds a member's data: nobody may be told that it is lost.
func TestAClaimWithoutItsLabelsIsNotLost(t *testing.T) {
	s := newStory(t, 45)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	old := s.until("ready", asSpecified).Status.ClusterID
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true}}}`, old))
	for _, name := range []string{"demo-1", "demo-2"} {
		var p corev1.Pod
		s.get(name, &p)
		s.g.fail(p.Status.PodIP)
	}
	unlock := s.g.lock()
	s.g.leader = 0
	unlock()
	for range 5 {
		// The StatefulSet controller is down, so that no pod comes back.
		for _, name := range []string{"demo-1", "demo-2"} {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: name}}
			if err := s.c.Delete(context.Background(), p, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			s.unlabel("data-"+name, &corev1.PersistentVolumeClaim{})
		}
		s.reconcile()
		if c := s.cluster(); is(c, v1.ConditionStalled) || c.Status.Recovery != nil || s.g.refounds != 0 {
			t.Fatalf("a quorum is given up whose claims are there: %+v", c.Status)
		}
	}
	var claim corev1.PersistentVolumeClaim
	if s.get("data-demo-2", &claim); !labelled(&claim, resources.SelectorLabels("demo")) {
		t.Errorf("the claim has the labels %v", claim.Labels)
	}
}

// Who deletes a StatefulSet whose spec holds a template back must not bring that to all pods at once.
func TestADeletedStatefulSetIsNoHiddenRoll(t *testing.T) {
	for name, propagation := range map[string]metav1.DeletionPropagation{"with its pods": metav1.DeletePropagationBackground, "without": metav1.DeletePropagationOrphan} {
		t.Run("paused, "+name, func(t *testing.T) {
			s := newStory(t, 46)
			s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
			s.until("ready", asSpecified)
			s.change(`{"spec":{"updateStrategy":{"paused":true},"image":"raftkv/node:another"}}`)
			s.until("paused", func(c *v1.RaftCluster) bool { return c.Status.HeldTemplate != "" })
			pods := s.podUIDs()
			s.deleteWorkload(propagation)
			s.until("made anew", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.workloadImage() != "" })
			if s.images() != "default default default" || s.workloadImage() != "default" {
				t.Errorf("the StatefulSet came back with %s, the pods have %s", s.workloadImage(), s.images())
			}
			if now := s.podUIDs(); propagation == metav1.DeletePropagationOrphan && now != pods {
				t.Errorf("pods were restarted: %s became %s", pods, now)
			}
			s.change(`{"spec":{"updateStrategy":{"paused":false}}}`)
			s.until("updated", func(c *v1.RaftCluster) bool {
				return asSpecified(c) && s.images() == "another another another" && c.Status.HeldTemplate == ""
			})
			var held appsv1.ControllerRevisionList
			if err := s.c.List(context.Background(), &held, client.InNamespace(s.key.Namespace), client.MatchingLabels{resources.LabelManagedBy: resources.ManagedBy}); err != nil {
				t.Fatal(err)
			}
			for _, r := range held.Items {
				if strings.HasPrefix(r.Name, "demo-held-") {
					t.Errorf("revision %s is left behind", r.Name)
				}
			}
			// A StatefulSet that is deleted when nothing is held back is made from the spec.
			s.deleteWorkload(propagation)
			s.until("made anew", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.workloadImage() == "another" })
		})
		t.Run("failed, "+name, func(t *testing.T) {
			s := newStory(t, 47)
			s.k.bad = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "bad") }
			s.apply("spec: {replicas: 3, image: raftkv/node:good, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 30s}}")
			s.until("ready", asSpecified)
			s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
			s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "good good bad" })
			s.later(time.Minute)
			s.until("stalled", func(c *v1.RaftCluster) bool {
				return s.stalled(plan.ReasonUpdateFailed)(c) && c.Status.HeldTemplate != ""
			})
			s.deleteWorkload(propagation)
			want := "good good good"
			if propagation == metav1.DeletePropagationOrphan {
				want = "good good bad" // it is left for people to look at
			}
			s.until("made anew, and stalled still", func(c *v1.RaftCluster) bool {
				if strings.Count(s.images(), "bad") > 1 || s.workloadImage() == "bad" {
					t.Fatalf("the StatefulSet has image %s, the pods %s", s.workloadImage(), s.images())
				}
				return s.workloadImage() == "good" && s.images() == want && s.stalled(plan.ReasonUpdateFailed)(c) && c.Status.ReadyReplicas >= 2 &&
					s.workload().Annotations[failedAnnotation] != ""
			})
			s.change(`{"spec":{"image":"raftkv/node:good"}}`)
			s.until("back", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == "good good good" })
		})
	}
}

// deleteWorkload is what a person does, and waits until the StatefulSet is gone.
func (s *story) deleteWorkload(propagation metav1.DeletionPropagation) {
	s.t.Helper()
	ctx := context.Background()
	if err := s.c.Delete(ctx, s.workload(), client.PropagationPolicy(propagation)); err != nil {
		s.t.Fatal(err)
	}
	var set appsv1.StatefulSet
	for err := error(nil); !apierrors.IsNotFound(err); err = s.c.Get(ctx, s.key, &set) {
		s.k.play("demo")
	}
}

func TestAFailedUpdateOfTheOnlyMemberIsSaidAndTakenBack(t *testing.T) {
	s := newStory(t, 48)
	s.k.bad = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "bad") }
	s.apply("spec: {replicas: 1, image: raftkv/node:good, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 30s}}")
	if c := s.until("ready", asSpecified); c.Status.GoodRevision != s.workload().Status.UpdateRevision {
		t.Errorf("revision %q is on record as good, the pods have %s", c.Status.GoodRevision, s.workload().Status.UpdateRevision)
	}
	s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
	s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "bad" })
	s.later(time.Minute)
	s.until("stalled, and the last good one is back in the StatefulSet", func(c *v1.RaftCluster) bool {
		return s.stalled(plan.ReasonUpdateFailed)(c) && s.workloadImage() == "good"
	})
	if s.images() != "bad" {
		t.Error("the pod was not left for people to look at")
	}
	s.deletePod("demo-0", 0)
	s.until("ready with the last good one", func(c *v1.RaftCluster) bool {
		return s.images() == "good" && c.Status.ReadyReplicas == 1 && s.stalled(plan.ReasonUpdateFailed)(c)
	})
	s.change(`{"spec":{"image":"raftkv/node:bad2"}}`)
	s.until("tried again", func(*v1.RaftCluster) bool { return s.images() == "bad2" })
	s.reconcile()
	s.later(2 * silencePatience) // who runs, and says nothing, may be busy for that long
	s.change(`{"spec":{"image":"raftkv/node:good"}}`)
	s.until("back at once", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == "good" })
}

// Kubernetes keeps ten revisions that no pod has: one that is gone is neither promised nor asked for again and again.
func TestALastGoodRevisionThatIsGoneIsNotPromised(t *testing.T) {
	s := newStory(t, 83)
	s.k.bad = func(p *corev1.Pod) bool { return strings.Contains(p.Spec.Containers[0].Image, "bad") }
	s.apply("spec: {replicas: 1, image: raftkv/node:good, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 30s}}")
	good := s.until("ready", asSpecified).Status.GoodRevision
	s.change(`{"spec":{"image":"raftkv/node:bad"}}`)
	s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "bad" })
	if err := s.c.Delete(context.Background(), &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: good}}); err != nil {
		t.Fatal(err)
	}
	s.later(time.Minute)
	c := s.until("stalled", s.stalled(plan.ReasonUpdateFailed))
	stalled := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
	if !strings.Contains(stalled.Message, "is not kept any more") || strings.Contains(stalled.Message, "come back with the last good") || s.workloadImage() != "bad" {
		t.Errorf("the StatefulSet has image %s, and the condition says %q", s.workloadImage(), stalled.Message)
	}
	s.change(`{"spec":{"image":"raftkv/node:good"}}`)
	s.until("back at once", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.images() == "good" })
}

// What the RaftCluster's schema lets pass and Kubernetes does not take of a child is said in the status, and the store goes on.
func TestWhatKubernetesDoesNotTakeIsSaid(t *testing.T) {
	s := newStory(t, 49)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	for what, x := range map[string]struct{ patch, back, want string }{
		"a node selector that is no label": {`{"podTemplate":{"nodeSelector":{"disk":"not a label!"}}}`, `{"podTemplate":null}`, "nodeSelector"},
		"a label that is none":             {`{"podTemplate":{"labels":{"team":"a b"}}}`, `{"podTemplate":null}`, "labels"},
		"an annotation without a name":     {`{"podTemplate":{"annotations":{"a b":"c"}}}`, `{"podTemplate":null}`, "annotations"},
		"more asked for than allowed":      {`{"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}`, `{"resources":null}`, "must be less than or equal to cpu limit"},
		"a toleration of nothing":          {`{"podTemplate":{"tolerations":[{"operator":"Sometimes"}]}}`, `{"podTemplate":null}`, "tolerations"},
		"a spread over nothing":            {`{"podTemplate":{"topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"x","whenUnsatisfiable":"DoNotSchedule"}]}}`, `{"podTemplate":null}`, "maxSkew"},
		"a client that is nobody":          {`{"networkPolicy":{"enabled":true,"clients":[{}]}}`, `{"networkPolicy":null}`, "NetworkPolicy"},
	} {
		s.change(`{"spec":` + x.patch + `}`)
		c := s.until(what, s.stalled(plan.ReasonSpecRefused))
		stalled := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
		if !strings.Contains(stalled.Message, x.want) || !strings.Contains(stalled.Message, "correct the spec") || c.Status.ObservedGeneration != c.Generation {
			t.Errorf("%s: got %q, want that it names %q", what, stalled.Message, x.want)
		}
		if !is(c, v1.ConditionAvailable) || is(c, v1.ConditionReady) {
			t.Errorf("%s: the conditions are %+v", what, c.Status.Conditions)
		}
		s.change(`{"spec":` + x.back + `}`)
		s.until(what+", corrected", asSpecified)
	}
	if !s.sawEvent("StalledSpecRefused") {
		t.Errorf("no event in %v", s.history)
	}
}

func TestAnEvenNumberOfMembersIsWarnedOf(t *testing.T) {
	s := newStory(t, 50)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	if s.sawEvent("EvenReplicas") {
		t.Errorf("one is odd: %v", s.history)
	}
	for _, x := range []struct {
		replicas int
		warned   bool
	}{{2, true}, {3, false}, {2, true}} {
		s.drain()
		s.history = nil
		s.change(fmt.Sprintf(`{"spec":{"replicas":%d}}`, x.replicas))
		s.until(fmt.Sprintf("ready with %d", x.replicas), func(c *v1.RaftCluster) bool { return asSpecified(c) && int(c.Status.Replicas) == x.replicas })
		if s.sawEvent("EvenReplicas") != x.warned {
			t.Errorf("%d members: warned %v, want %v: %v", x.replicas, !x.warned, x.warned, s.history)
		}
	}
}
