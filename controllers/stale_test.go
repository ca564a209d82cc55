package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// stale is a watches' cache that shows some kinds of objects as they were.
type stale struct {
	client.Client
	set     *appsv1.StatefulSet
	claims  func(*corev1.PersistentVolumeClaim)
	cluster func(*v1.RaftCluster)
}

func (s *stale) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if set, ok := o.(*appsv1.StatefulSet); ok && s.set != nil {
		s.set.DeepCopyInto(set)
		return nil
	}
	err := s.Client.Get(ctx, key, o, opts...)
	if c, ok := o.(*v1.RaftCluster); ok && err == nil && s.cluster != nil {
		s.cluster(c)
	}
	return err
}

func (s *stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := s.Client.List(ctx, list, opts...)
	if l, ok := list.(*corev1.PersistentVolumeClaimList); ok && s.claims != nil {
		for i := range l.Items {
			s.claims(&l.Items[i])
		}
	}
	return err
}

// Who forgets that a cluster rested while its pods are still being started lets claims go with pods that are only late.
func TestAClusterIsNotCalledAwakeByAStaleCache(t *testing.T) {
	s := newStory(t, 67)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}}")
	s.until("ready", asSpecified)
	cache := &stale{Client: s.r.Client, set: s.workload()}
	s.change(`{"spec":{"hibernate":true}}`)
	s.until("at rest", func(c *v1.RaftCluster) bool { return is(c, v1.ConditionHibernated) })
	s.change(`{"spec":{"hibernate":false,"replicas":1}}`)
	s.r.Client = cache
	s.reconcile()
	if c := s.cluster(); c.Status.Hibernation == nil {
		t.Error("that the cluster rested is forgotten before its pods are there")
	}
	if got := s.policy(); got != keepAll {
		t.Errorf("claims go with pods that are scaled away: %s", got)
	}
	cache.set = nil
	s.until("awake, and shrunk", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && c.Status.Hibernation == nil && len(s.g.membership.Voters()) == 1
	})
	if s.g.bootstraps != 1 {
		t.Errorf("founded %d times", s.g.bootstraps)
	}
}

// Pods that are stopped to rest do not take their claims with them where a cache does not show yet that they rest.
func TestClaimsOfPodsThatRestAreKeptWhateverAStaleCacheShows(t *testing.T) {
	s := newStory(t, 68)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"hibernate":true,"replicas":2}}`)
	cache := &stale{Client: s.r.Client, cluster: func(c *v1.RaftCluster) {
		c.Spec.Hibernate, c.Status.Hibernation = false, nil
	}}
	// The followers' pods have yet to end: nobody plays the kubelet after that.
	s.until("the followers are stopped", func(*v1.RaftCluster) bool { return *s.workload().Spec.Replicas == 1 })
	s.r.Client = cache
	for range 3 {
		s.reconcile()
		if got := s.policy(); got != keepAll {
			t.Fatalf("claims go with pods that are scaled away: %s", got)
		}
	}
	s.r.Client = cache.Client
	s.change(`{"spec":{"hibernate":false,"replicas":3}}`)
	s.until("as it was", asSpecified)
}

// Which cluster a RaftCluster without a record takes up is decided on what is, not on what a cache shows of the claims.
func TestNoClusterIsAdoptedOnAStaleCache(t *testing.T) {
	s := newStory(t, 69)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	id := s.until("ready", asSpecified).Status.ClusterID
	for _, name := range []string{"demo-1", "demo-2"} {
		var p corev1.Pod
		s.get(name, &p)
		s.g.fail(p.Status.PodIP)
	}
	unlock := s.g.lock()
	leader := s.g.leader
	s.g.leader = 0
	unlock()
	c := s.cluster()
	c.Status = v1.RaftClusterStatus{}
	if err := s.c.Status().Update(ctx, c); err != nil {
		t.Fatal(err)
	}
	cache := &stale{Client: s.r.Client, claims: func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status = "", corev1.PersistentVolumeClaimStatus{}
	}}
	s.r.Client = cache
	for range 3 {
		s.k.play("demo")
		s.reconcile()
		if c := s.cluster(); c.Status.ClusterID != "" {
			t.Fatalf("cluster %s is adopted while two of three claims may hold another", c.Status.ClusterID)
		}
	}
	s.r.Client = cache.Client
	for i := range 3 {
		var p corev1.Pod
		s.get(resources.PodName("demo", i), &p)
		s.g.recover(p.Status.PodIP)
	}
	unlock = s.g.lock()
	s.g.leader = leader
	unlock()
	c = s.until("adopted", asSpecified)
	if c.Status.ClusterID != id || s.g.bootstraps != 1 || meta.IsStatusConditionTrue(c.Status.Conditions, v1.ConditionStalled) {
		t.Errorf("got %+v; founded %d times", c.Status, s.g.bootstraps)
	}
}

// A RaftCluster that is applied again right after its deletion finds what the garbage collector has yet to take: no person has to decide anything.
func TestAClusterThatIsAppliedAgainWaitsForWhatGoesWithTheEarlierOne(t *testing.T) {
	s := newStory(t, 71)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	earlier := s.until("ready", asSpecified)
	if err := s.c.Delete(ctx, earlier.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.drain()
	if again := s.reconcile(); again == 0 || again > whileWaiting {
		t.Errorf("it looks again in %v", again)
	}
	c := s.cluster()
	if r := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReady); is(c, v1.ConditionStalled) || r.Reason != plan.ReasonCreating || !strings.Contains(r.Message, "an earlier RaftCluster of this name") {
		t.Errorf("got conditions %+v", c.Status.Conditions)
	}
	var service corev1.Service
	if s.get("demo", &service); !metav1.IsControlledBy(&service, earlier) {
		t.Error("what goes with the earlier one was touched")
	}
	if err := s.c.Delete(ctx, s.workload(), client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	s.collectGarbage(earlier)
	c = s.until("adopted", asSpecified)
	if c.Status.ClusterID != earlier.Status.ClusterID || s.g.bootstraps != 1 || s.sawEvent("StalledChildNotOwned") {
		t.Errorf("cluster %s, before %s; founded %d times; %v", c.Status.ClusterID, earlier.Status.ClusterID, s.g.bootstraps, s.drain())
	}
}

// A RaftCluster that was deleted without its dependents has let go of them: who still sees it as it was before must not make it their owner again, or the garbage
// collector deletes the claims.
func TestWhatADeletedRaftClusterLetGoOfIsLeftAlone(t *testing.T) {
	s := newStory(t, 74)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenDeleted: Delete}}}")
	before := s.until("ready, and owned", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.owners(c) == 3 })
	cache := &stale{Client: s.r.Client, cluster: before.DeepCopyInto}
	if err := s.c.Delete(ctx, before.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	// As the garbage collector does it.
	letGo := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`))
	if err := s.c.Patch(ctx, s.workload(), letGo); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var claim corev1.PersistentVolumeClaim
		s.get(resources.ClaimName("demo", i), &claim)
		if err := s.c.Patch(ctx, &claim, letGo); err != nil {
			t.Fatal(err)
		}
	}
	s.r.Client = cache
	for range 3 {
		if _, err := s.r.Reconcile(ctx, reconcile.Request{NamespacedName: s.key}); err != nil {
			t.Log(err) // the status of one that is no more cannot be written
		}
		if n := s.owners(before); n != 0 {
			t.Fatalf("%d claims go with a RaftCluster that is no more", n)
		}
		if owners := s.workload().OwnerReferences; len(owners) != 0 {
			t.Fatalf("the StatefulSet goes with a RaftCluster that is no more: %+v", owners)
		}
	}
}

// Nor is it any where a call to a node takes longer than a look, on a machine that has much to do.
func TestAnOperatorWhoseFirstCallsTakeLongCallsNoLeaderLost(t *testing.T) {
	s := newStory(t, 98)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	before := s.until("ready", asSpecified)
	for i := range 3 {
		s.g.cutOff(resources.PodName("demo", i), s.g.leader, func() {})
	}
	operator := asOperator(t)
	s.r.Nodes.Follow(s.key, nil)
	s.r = NewReconciler(operator, operator, s.events, s.g.dial, "raftkv/node:default")
	if again := s.reconcile(); again == 0 || again > afterStep {
		t.Errorf("it looks again in %v, want %v at most", again, afterStep)
	}
	if now := s.cluster(); now.ResourceVersion != before.ResourceVersion {
		t.Errorf("a cluster of which nothing was heard yet got the status %+v", now.Status)
	}
	s.r.Nodes.Follow(s.key, nil)
}

// An operator that has just begun has heard no node yet: that is no news of a cluster, also of one that waits for a person.
func TestAnOperatorThatHasJustBegunCallsNoLeaderLost(t *testing.T) {
	s := newStory(t, 76)
	s.k.bad = func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "bad" }
	s.apply("spec: {replicas: 3, image: good, storage: {size: 1Gi}, updateStrategy: {progressDeadline: 30s}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"image":"bad"}}`)
	s.until("begun", func(*v1.RaftCluster) bool { return s.images() == "good good bad" })
	s.later(time.Minute)
	before := s.until("stalled", func(c *v1.RaftCluster) bool { return s.stalled(plan.ReasonUpdateFailed)(c) && c.Status.Leader != nil })
	s.drain()
	s.history = nil
	operator := asOperator(t)
	s.r.Nodes.Follow(s.key, nil)
	s.r = NewReconciler(operator, operator, s.events, func(address, token string) (admin.Service, func(), error) {
		service, end, err := s.g.dial(address, token)
		answer := service.WaitStatus
		service.WaitStatus = func(ctx context.Context, r *admin.WaitStatusRequest) (*admin.Status, error) {
			time.Sleep(time.Millisecond) // as far as any network is
			return answer(ctx, r)
		}
		return service, end, err
	}, "raftkv/node:default")
	s.later(time.Minute)
	s.reconcile()
	if c := s.cluster(); c.Status.Leader == nil || *c.Status.Leader != *before.Status.Leader || !is(c, v1.ConditionAvailable) || s.sawEvent("LeaderLost") {
		t.Errorf("%+v led, and now the status says %+v; events %v", before.Status.Leader, c.Status, s.history)
	}
}

// Somebody scales the StatefulSet far up: its pods are not asked for one by one.
func TestAStatefulSetOfThousandsIsNotLookedThrough(t *testing.T) {
	s := newStory(t, 72)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	if err := s.c.Patch(context.Background(), s.workload(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":5000}}`))); err != nil {
		t.Fatal(err)
	}
	n := s.counting()
	s.reconcile()
	if got := n.of("live get Pod"); got == 0 || got > 4*raft.MaxMembers {
		t.Errorf("%d pods were read one by one", got)
	}
}

// An admission webhook that refuses changes of a pod keeps neither the status from telling who leads nor the leader's Service from reaching it.
func TestAPodThatCannotBeLabelledKeepsNobodyFromHearingWhoLeads(t *testing.T) {
	s := newStory(t, 73)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	c, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("admission webhook denied the request")
	s.r.Client = interceptor.NewClient(c, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if _, ok := o.(*corev1.Pod); ok && o.GetName() == "demo-0" {
				return refused
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
	m, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	unlock := s.g.lock()
	s.g.leader, s.g.term = m.ID, s.g.term+1
	unlock()
	for deadline := time.Now().Add(convergeWithin); ; time.Sleep(time.Millisecond) {
		_, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key})
		if err != nil && !errors.Is(err, refused) {
			t.Fatal(err)
		}
		l, roles := s.cluster().Status.Leader, s.roles()
		if l != nil && l.Name == "demo-2" && roles == "demo-0=leader demo-1=follower demo-2=leader" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the status names %+v, the labels %s", l, roles)
		}
	}
}
