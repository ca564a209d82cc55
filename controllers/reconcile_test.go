package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// convergeWithin bounds how long a story may take; it is a hang that it finds, not slowness.
const convergeWithin = 5 * time.Minute

// story is one RaftCluster on the real API server, with nodes and kubelets that are played.
type story struct {
	t       *testing.T
	c       client.Client
	r       *Reconciler
	k       *kubelet
	g       *group
	key     client.ObjectKey
	events  *events.FakeRecorder
	history []string
	// mortal is what stands between the operator and the world, if it is to die.
	mortal *mortal
}

func newStory(t *testing.T, block byte) *story {
	t.Helper()
	// Stories mostly wait for the API server, each in a namespace of its own.
	t.Parallel()
	c := apiServer(t)
	s := &story{t: t, c: c, g: newGroup(), events: events.NewFakeRecorder(1000)}
	s.key = client.ObjectKey{Namespace: namespace(t, c), Name: "demo"}
	s.k = &kubelet{t: t, c: c, g: s.g, ns: s.key.Namespace, block: block, kept: map[string]bool{}}
	operator := asOperator(t)
	s.r = NewReconciler(operator, operator, s.events, s.g.dial, "raftkv/node:default")
	t.Cleanup(func() { s.r.Nodes.Follow(s.key, nil) })
	return s
}

func (s *story) apply(spec string) {
	s.t.Helper()
	if err := s.c.Create(context.Background(), fromYAML(s.t, s.key.Namespace, s.key.Name, spec)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) change(patch string) {
	s.t.Helper()
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name}}
	if err := s.c.Patch(context.Background(), c, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) reconcile() time.Duration {
	s.t.Helper()
	result, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key})
	if err != nil {
		s.t.Fatal(err)
	}
	return result.RequeueAfter
}

// until reconciles, and lets the kubelets play, until the cluster is as told.
func (s *story) until(what string, f func(c *v1.RaftCluster) bool) *v1.RaftCluster {
	s.t.Helper()
	for deadline := time.Now().Add(convergeWithin); ; {
		s.k.play(s.key.Name)
		if s.mortal != nil {
			s.reconcileOnce()
		} else {
			s.reconcile()
		}
		c := s.cluster()
		if f(c) {
			return c
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("never %s: status %+v; events %v", what, c.Status, s.drain())
		}
	}
}

func (s *story) cluster() *v1.RaftCluster {
	s.t.Helper()
	c := &v1.RaftCluster{}
	s.get(s.key.Name, c)
	return c
}

func (s *story) get(name string, o client.Object) {
	s.t.Helper()
	if err := s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: name}, o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) drain() []string {
	for {
		select {
		case e := <-s.events.Events:
			s.history = append(s.history, e)
		default:
			return s.history
		}
	}
}

func (s *story) sawEvent(reason string) bool {
	for _, e := range s.drain() {
		if strings.Contains(e, " "+reason+" ") {
			return true
		}
	}
	return false
}

func is(c *v1.RaftCluster, kind string) bool {
	return meta.IsStatusConditionTrue(c.Status.Conditions, kind)
}

func asSpecified(c *v1.RaftCluster) bool {
	return is(c, v1.ConditionReady) && c.Status.ObservedGeneration == c.Generation && c.Status.ReadyReplicas == *c.Spec.Replicas
}

// annotated tells whether all pods carry the annotation.
func (s *story) annotated(key string) bool {
	s.t.Helper()
	var pods corev1.PodList
	if err := s.c.List(context.Background(), &pods, client.InNamespace(s.key.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	return !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.Annotations[key] == "" })
}

func (s *story) roles() string {
	s.t.Helper()
	var pods corev1.PodList
	if err := s.c.List(context.Background(), &pods, client.InNamespace(s.key.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, p := range pods.Items {
		out = append(out, p.Name+"="+p.Labels[resources.LabelRole])
	}
	return strings.Join(out, " ")
}

func TestClusterFromNothingToFiveAndBackToThree(t *testing.T) {
	s := newStory(t, 1)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	c := s.until("ready", asSpecified)
	if s.g.bootstraps != 1 {
		t.Errorf("bootstrapped %d times", s.g.bootstraps)
	}
	st := c.Status
	if st.ClusterID != s.g.cluster.String() || st.Leader == nil || st.Leader.Name != "demo-0" || len(st.Members) != 3 ||
		st.Image != "raftkv/node:default" || st.Version != "0.1.0" || st.Replicas != 3 {
		t.Errorf("got status %+v", st)
	}
	if !is(c, v1.ConditionAvailable) || is(c, v1.ConditionDegraded) || is(c, v1.ConditionStalled) || is(c, v1.ConditionReconciling) {
		t.Errorf("got conditions %+v", st.Conditions)
	}
	if got := s.roles(); got != "demo-0=leader demo-1=follower demo-2=follower" {
		t.Errorf("got roles %s", got)
	}
	var budget policyv1.PodDisruptionBudget
	if s.get("demo", &budget); budget.Spec.MinAvailable.IntValue() != 2 {
		t.Errorf("got minAvailable %v, want 2", budget.Spec.MinAvailable)
	}
	for _, e := range []string{"Bootstrapped", "LearnerAdded", "MemberPromoted", "LeaderElected"} {
		if !s.sawEvent(e) {
			t.Errorf("no event %s in %v", e, s.drain())
		}
	}
	s.newerOperator()

	s.change(`{"spec":{"replicas":5}}`)
	s.until("ready with five", asSpecified)
	if n := len(s.g.membership.Voters()); n != 5 {
		t.Errorf("got %d voters, want 5", n)
	}
	if s.get("demo", &budget); budget.Spec.MinAvailable.IntValue() != 4 {
		t.Errorf("got minAvailable %v, want 4", budget.Spec.MinAvailable)
	}
	if got := s.images(); got != "default default default default default" {
		t.Errorf("the pods have the images %s", got)
	}
	s.change(`{"spec":{"replicas":3}}`)
	s.until("ready with three again", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.Replicas == 3 })
	if n := len(s.g.membership.Voters()); n != 3 {
		t.Errorf("got %d voters, want 3", n)
	}
	if s.get("demo", &budget); budget.Spec.MinAvailable.IntValue() != 2 {
		t.Errorf("got minAvailable %v, want 2", budget.Spec.MinAvailable)
	}
	s.atRest()
}

// newerOperator has an operator of another version, whose default image is another one, take over a cluster that is as specified: it leaves all as it is.
func (s *story) newerOperator() {
	s.t.Helper()
	pods, generation := s.podUIDs(), s.workload().Generation
	operator := asOperator(s.t)
	s.r.Nodes.Follow(s.key, nil)
	s.r = NewReconciler(operator, operator, s.events, s.g.dial, "raftkv/node:newer")
	s.until("at rest under a newer operator", func(*v1.RaftCluster) bool { return s.reconcile() == 0 })
	s.atRest()
	if now := s.podUIDs(); now != pods {
		s.t.Errorf("a newer operator restarted pods: %s became %s", pods, now)
	}
	if set := s.workload(); set.Generation != generation || s.workloadImage() != "default" || s.cluster().Status.Image != "raftkv/node:default" {
		s.t.Errorf("a newer operator changed the StatefulSet, which has image %s, generation %d, before %d; the status has %s",
			s.workloadImage(), set.Generation, generation, s.cluster().Status.Image)
	}
	if s.sawEvent("TemplateChanged") {
		s.t.Errorf("a newer operator says that the template changes: %v", s.history)
	}
}

// atRest checks that nothing is written once all is as asked, and that no timer runs.
func (s *story) atRest() {
	s.t.Helper()
	versions := func() string {
		var set appsv1.StatefulSet
		var service corev1.Service
		var budget policyv1.PodDisruptionBudget
		s.get("demo", &set)
		s.get("demo", &service)
		s.get("demo", &budget)
		return fmt.Sprint(s.cluster().ResourceVersion, set.ResourceVersion, service.ResourceVersion, budget.ResourceVersion)
	}
	before := versions()
	if again := s.reconcile(); again != 0 {
		s.t.Errorf("at rest it wants to be called again in %v", again)
	}
	if after := versions(); after != before {
		s.t.Errorf("at rest it wrote: resource versions %s became %s", before, after)
	}
}

func TestUpdateRestartsTheLeaderLastAfterItHandedOver(t *testing.T) {
	s := newStory(t, 2)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"updateStrategy":{"paused":true},"image":"raftkv/node:another"}}`)
	c := s.until("seen while paused", func(c *v1.RaftCluster) bool { return c.Status.ObservedGeneration == c.Generation })
	var set appsv1.StatefulSet
	if s.get("demo", &set); set.Spec.Template.Spec.Containers[0].Image != "raftkv/node:default" {
		t.Error("the template changed while updates are paused")
	}
	if r := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReconciling); r.Reason != "Paused" {
		t.Errorf("got condition %+v, want one that says that it is paused", r)
	}
	uids := map[string]string{}
	for i := range 3 {
		var p corev1.Pod
		s.get(resources.PodName("demo", i), &p)
		uids[p.Name] = string(p.UID)
	}
	s.change(`{"spec":{"updateStrategy":{"paused":false}}}`)
	s.until("ready on the new image", func(c *v1.RaftCluster) bool {
		for name, uid := range uids {
			var p corev1.Pod
			if err := s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: name}, &p); err != nil || string(p.UID) == uid {
				return false
			}
		}
		return asSpecified(c)
	})
	var order []string
	for _, e := range s.drain() {
		for _, name := range []string{"demo-0", "demo-1", "demo-2"} {
			if strings.Contains(e, "PodRestarted") && strings.Contains(e, "restart pod "+name) {
				order = append(order, name)
			}
		}
		if strings.Contains(e, "LeadershipTransferred") {
			order = append(order, "transfer")
		}
	}
	if got := strings.Join(order, " "); got != "demo-2 demo-1 transfer demo-0" {
		t.Errorf("got the order %q", got)
	}
	if got := s.templateChanges(); len(got) != 1 || !strings.Contains(got[0], "as the spec asks (spec.template.spec.containers[0].image)") {
		t.Errorf("got the events %q", got)
	}
	// An operator of an earlier version has made the template without a field that this one sets.
	var grace int64 = 3 // seconds
	s.get("demo", &set)
	set.Annotations[appliedAnnotation], set.Spec.Template.Spec.TerminationGracePeriodSeconds = "earlier", &grace
	if err := s.c.Update(context.Background(), &set); err != nil {
		t.Fatal(err)
	}
	s.history = nil
	s.reconcile()
	if got := s.templateChanges(); len(got) != 1 || !strings.Contains(got[0], "as this version of the operator makes it (spec.template.spec.terminationGracePeriodSeconds)") {
		t.Errorf("got the events %q", got)
	}
}

// templateChanges are the events which say that the pods get another template.
func (s *story) templateChanges() []string {
	return slices.DeleteFunc(slices.Clone(s.drain()), func(e string) bool { return !strings.Contains(e, " TemplateChanged ") })
}

func TestLostVolumeIsReplacedUnderANewID(t *testing.T) {
	s := newStory(t, 3)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var p corev1.Pod
	s.get("demo-1", &p)
	old, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-1"))
	unlock := s.g.lock()
	for _, n := range s.g.nodes {
		if n.name == "demo-1" {
			n.incarnation = 0xabcdef
		}
	}
	unlock()
	s.until("ready again", func(c *v1.RaftCluster) bool {
		_, replaced := s.g.membership.FindIncarnation(0xabcdef)
		return replaced && asSpecified(c)
	})
	if _, ok := s.g.membership.Find(old.ID); ok || len(s.g.membership.Voters()) != 3 {
		t.Errorf("got members %+v, want three without ID %s", s.g.membership.Members, old.ID)
	}
}

func TestLeaderChangeReachesLabelAndStatusAtOnce(t *testing.T) {
	s := newStory(t, 4)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	news := workqueue.NewTypedRateLimitingQueue(options().RateLimiter)
	defer news.ShutDown()
	if err := s.r.woken.attach(context.Background(), news); err != nil {
		t.Fatal(err)
	}
	m, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	unlock := s.g.lock()
	s.g.leader, s.g.term = m.ID, s.g.term+1
	unlock()
	for deadline := time.Now().Add(convergeWithin); news.Len() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a change of leadership wakes nobody")
		}
	}
	s.until("led by demo-2", func(c *v1.RaftCluster) bool { return c.Status.Leader != nil && c.Status.Leader.Name == "demo-2" })
	if got := s.roles(); got != "demo-0=follower demo-1=follower demo-2=leader" {
		t.Errorf("got roles %s", got)
	}
}

// A machine that is cut off is told by nothing but silence, which the operator waits through when it asks all nodes anew: who leads now, and that a member is ill, is in the
// status before that.
func TestTheStatusDoesNotWaitForANodeThatIsCutOff(t *testing.T) {
	s := newStory(t, 97)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	next, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	var once sync.Once
	var told v1.RaftClusterStatus
	s.g.cutOff("demo-0", next.ID, func() { once.Do(func() { told = s.cluster().Status }) })
	s.until("led by demo-2", func(c *v1.RaftCluster) bool { return c.Status.Leader != nil && c.Status.Leader.Name == "demo-2" })
	s.until("waiting", func(*v1.RaftCluster) bool { return told.Leader != nil })
	if told.Leader.Name != "demo-2" || told.Members[0].Healthy || !meta.IsStatusConditionTrue(told.Conditions, v1.ConditionDegraded) {
		t.Errorf("when the node that is cut off was asked, the status said %+v", told)
	}
}

// Nor does it where the watch has not brought yet what was written last, such as that the leader is lost: the next look comes at once.
func TestTheStatusDoesNotWaitWhileTheWatchIsBehind(t *testing.T) {
	s := newStory(t, 99)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	c := s.until("ready", asSpecified)
	next, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	asked := make(chan struct{}, 100)
	s.g.cutOff("demo-0", next.ID, func() { asked <- struct{}{} })
	s.r.reports.Store(s.key, reported{past: []string{c.ResourceVersion}})
	s.until("labelled", func(*v1.RaftCluster) bool { return strings.Contains(s.roles(), "demo-2=leader") })
	if again := s.reconcile(); again != afterStep || len(asked) != 0 {
		t.Errorf("it looks again in %v, want %v, and the node that is cut off was asked %d times", again, afterStep, len(asked))
	}
	s.r.reports.Store(s.key, reported{})
	s.until("led by demo-2", func(c *v1.RaftCluster) bool { return c.Status.Leader != nil && c.Status.Leader.Name == "demo-2" })
}

func TestObjectsOfOthersStallAndStayUntouched(t *testing.T) {
	for name, foreign := range map[string]client.Object{
		"Service demo-leader": &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "demo-leader"},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		"claim data-demo-1": &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-demo-1"},
			Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}},
		"PodDisruptionBudget demo": &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "demo"}},
		"Secret demo-admin-token":  &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "demo-admin-token"}},
		"StatefulSet demo": &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "demo"}, Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, 5)
			foreign.SetNamespace(s.key.Namespace)
			if err := s.c.Create(context.Background(), foreign); err != nil {
				t.Fatal(err)
			}
			version := foreign.GetResourceVersion()
			s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
			if again := s.reconcile(); again != whileStalled {
				t.Errorf("looks again in %v, want %v", again, whileStalled)
			}
			c := s.cluster()
			stalled := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
			if stalled == nil || stalled.Status != metav1.ConditionTrue || !strings.Contains(stalled.Message, name) {
				t.Errorf("got condition %+v, want Stalled with %q", stalled, name)
			}
			s.get(foreign.GetName(), foreign)
			if foreign.GetResourceVersion() != version {
				t.Error("it was touched")
			}
			if err := s.c.Delete(context.Background(), foreign); err != nil {
				t.Fatal(err)
			}
			// Claims have a finalizer that no controller takes off here.
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
			if err := s.c.Patch(context.Background(), foreign, patch); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			s.until("going on", func(c *v1.RaftCluster) bool { return !is(c, v1.ConditionStalled) })
		})
	}
}

func TestDriftAndWithdrawnFieldsAreRepaired(t *testing.T) {
	s := newStory(t, 6)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}, podTemplate: {annotations: {a: b}, nodeSelector: {disk: fast}}}")
	s.until("ready", asSpecified)
	var service corev1.Service
	s.get("demo-leader", &service)
	service.Spec.Selector = map[string]string{"wrong": "pods"}
	if err := s.c.Update(context.Background(), &service); err != nil {
		t.Fatal(err)
	}
	s.change(`{"spec":{"podTemplate":{"nodeSelector":null}}}`)
	s.reconcile()
	if s.get("demo-leader", &service); service.Spec.Selector[resources.LabelRole] != resources.RoleLeader || len(service.Spec.Selector) != 4 {
		t.Errorf("got selector %v", service.Spec.Selector)
	}
	var set appsv1.StatefulSet
	if s.get("demo", &set); len(set.Spec.Template.Spec.NodeSelector) != 0 || set.Spec.Template.Annotations["a"] != "b" {
		t.Errorf("got template %+v", set.Spec.Template)
	}
}

func TestSingleMemberHasNoBudget(t *testing.T) {
	s := newStory(t, 7)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var budget policyv1.PodDisruptionBudget
	if err := s.c.Get(context.Background(), s.key, &budget); !apierrors.IsNotFound(err) {
		t.Errorf("got error %v, want that there is no budget", err)
	}
}

func TestPodsAreFitForTheRestrictedPolicy(t *testing.T) {
	s := newStory(t, 8)
	var n corev1.Namespace
	if err := s.c.Get(context.Background(), client.ObjectKey{Name: s.key.Namespace}, &n); err != nil {
		t.Fatal(err)
	}
	n.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if err := s.c.Update(context.Background(), &n); err != nil {
		t.Fatal(err)
	}
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
}
