package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

func (s *story) policy() appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	s.t.Helper()
	return *s.workload().Spec.PersistentVolumeClaimRetentionPolicy
}

var keepAll = appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
	WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
}

// owners is how many owners each claim has, and whether all of them are the RaftCluster.
func (s *story) owners(c *v1.RaftCluster) (n int) {
	s.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	if err := s.c.List(context.Background(), &claims, client.InNamespace(s.key.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	for _, claim := range claims.Items {
		for _, r := range claim.OwnerReferences {
			if r.UID != c.UID || r.Kind != "RaftCluster" || r.APIVersion != v1.GroupVersion.String() || r.Controller != nil || r.BlockOwnerDeletion != nil {
				s.t.Errorf("claim %s is owned by %+v", claim.Name, r)
			}
			n++
		}
	}
	return n
}

// Who deletes the StatefulSet, or scales it, has not asked to lose what it holds; who deletes the RaftCluster has, if its spec says so.
func TestClaimsAreTheRaftClustersAndNotTheStatefulSets(t *testing.T) {
	s := newStory(t, 41)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenDeleted: Delete, whenScaled: Delete}}}")
	c := s.until("ready, and owned", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.owners(c) == 3 })
	if s.policy() != keepAll {
		t.Errorf("the StatefulSet's policy is %+v", s.policy())
	}
	id := c.Status.ClusterID

	// A person scales the StatefulSet away under the operator.
	set := s.workload()
	if err := s.c.Patch(ctx, set, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))); err != nil {
		t.Fatal(err)
	}
	s.k.play("demo")
	s.until("put right", asSpecified)

	// A person deletes it with its pods.
	if err := s.c.Delete(ctx, s.workload(), client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	c = s.until("made anew", func(c *v1.RaftCluster) bool {
		var set appsv1.StatefulSet
		return s.c.Get(ctx, s.key, &set) == nil && asSpecified(c)
	})
	for pod, n := range s.k.volumes {
		if n != 1 {
			t.Errorf("%s lost its volume", pod)
		}
	}
	if c.Status.ClusterID != id || s.g.bootstraps != 1 || s.g.refounds != 0 {
		t.Errorf("cluster %s became %s", id, c.Status.ClusterID)
	}

	// What the spec asks for is done all the same: claims go with the members that go, and then none again.
	s.change(`{"spec":{"replicas":1}}`)
	s.until("shrunk", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.policy() == keepAll })
	for i := range 3 {
		var claim corev1.PersistentVolumeClaim
		err := s.c.Get(ctx, client.ObjectKey{Namespace: s.key.Namespace, Name: resources.ClaimName("demo", i)}, &claim)
		if (i == 0 && err != nil) || (i > 0 && !apierrors.IsNotFound(err)) {
			t.Errorf("claim of pod %d: %v", i, err)
		}
	}

	s.change(`{"spec":{"storage":{"retentionPolicy":{"whenDeleted":"Retain"}}}}`)
	s.until("disowned", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.owners(c) == 0 })
}

// list is a reader that has these pods and no claims.
type list struct {
	client.Reader
	pods []corev1.Pod
}

func (l list) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	if pods, ok := into.(*corev1.PodList); ok {
		pods.Items = l.pods
	}
	return nil
}

// A pod that is scaled away has ended before it is deleted, and its claim goes only then. Where the claims of pods that are scaled away were kept until then, as that of a pod with another cluster's data, which
// does not say so any more when it ends, they stay.
func TestClaimsGoWithPodsThatHaveEndedAndAreNotDeletedYet(t *testing.T) {
	const keeps, deletes = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	pod := func(ordinal int, phase corev1.PodPhase) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", ordinal)}, Status: corev1.PodStatus{Phase: phase}}
	}
	ending := func(p corev1.Pod) corev1.Pod {
		p.DeletionTimestamp = &metav1.Time{}
		return p
	}
	for name, c := range map[string]struct {
		last      corev1.Pod
		whenScale appsv1.PersistentVolumeClaimRetentionPolicyType
		want      bool
	}{
		"it runs":                             {pod(3, corev1.PodRunning), deletes, true},
		"it ends":                             {ending(pod(3, corev1.PodRunning)), deletes, true},
		"it has ended well":                   {ending(pod(3, corev1.PodSucceeded)), deletes, true},
		"it has ended":                        {ending(pod(3, corev1.PodFailed)), deletes, true},
		"it is one that stays":                {pod(2, corev1.PodFailed), deletes, false},
		"no StatefulSet, it has ended":        {pod(3, corev1.PodFailed), "", true},
		"claims are kept, it runs":            {pod(3, corev1.PodRunning), keeps, true},
		"claims are kept, it ends":            {ending(pod(3, corev1.PodRunning)), keeps, false},
		"claims are kept, it has ended":       {ending(pod(3, corev1.PodFailed)), keeps, false},
		"claims are kept, it ended by itself": {pod(3, corev1.PodSucceeded), keeps, false},
	} {
		s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}, observation: plan.Observation{Cluster: "demo", Desired: 3}}
		running := []corev1.Pod{pod(0, corev1.PodRunning), pod(1, corev1.PodRunning), c.last}
		if err := (&Reconciler{}).observeObjects(t.Context(), list{pods: running}, s); err != nil {
			t.Fatal(err)
		}
		if c.whenScale != "" {
			s.statefulSet = &appsv1.StatefulSet{}
			s.statefulSet.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: c.whenScale}
		}
		if scalesIn(s, 3) != c.want {
			t.Errorf("%s: claims follow whenScaled: %v", name, !c.want)
		}
	}
}

// A pod with another cluster's data does not answer any more when replicas are lowered, as the condition advises: its claim stays.
func TestAClaimWithAnotherClustersDataStaysAlsoWhenItsNodeIsSilent(t *testing.T) {
	s := newStory(t, 132)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}}")
	s.until("ready", asSpecified)
	s.k.volumes["demo-3"] = 1
	foreign := s.k.incarnation("demo-3")
	delete(s.k.volumes, "demo-3")
	unlock := s.g.lock()
	s.g.lost, s.g.lostMembers = 0xbad, raft.NewMembership(raft.Member{ID: 1, Incarnation: foreign, Name: "demo-3"})
	unlock()
	s.change(`{"spec":{"replicas":4}}`)
	s.until("stalled", s.stalled(plan.ReasonForeignData))
	var p corev1.Pod
	s.get("demo-3", &p)
	s.g.fail(p.Status.PodIP)
	s.change(`{"spec":{"replicas":3}}`)
	s.until("shrunk", func(c *v1.RaftCluster) bool {
		return c.Status.ObservedGeneration == c.Generation && asSpecified(c) && s.policy() == keepAll
	})
	var c corev1.PersistentVolumeClaim
	s.get("data-demo-3", &c)
	if c.DeletionTimestamp != nil || c.Annotations[holdsAnnotation] != raft.ClusterID(0xbad).String() {
		t.Errorf("the claim of demo-3: %+v", c.ObjectMeta)
	}
	if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(&p), &p); !apierrors.IsNotFound(err) {
		t.Errorf("pod demo-3 is there: %v", err)
	}

	// Once the volume holds nothing of another cluster, its claim goes with the member as the spec asks.
	unlock = s.g.lock()
	s.g.lost, s.g.lostMembers = 0, raft.Membership{}
	unlock()
	s.change(`{"spec":{"replicas":4}}`)
	s.until("four", asSpecified)
	s.get("data-demo-3", &c)
	if mark, marked := c.Annotations[holdsAnnotation]; marked {
		t.Errorf("the claim is marked %q", mark)
	}
	s.change(`{"spec":{"replicas":3}}`)
	s.until("three again", func(c *v1.RaftCluster) bool {
		return c.Status.ObservedGeneration == c.Generation && asSpecified(c) && s.policy() == keepAll
	})
	if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(&c), &c); !apierrors.IsNotFound(err) {
		t.Errorf("the claim is there: %v", err)
	}
}

// An older operator left the retention to the StatefulSet, which owns the claims then. That is put right also while the template is held back.
func TestClaimsOfAnOlderOperatorAreTakenOver(t *testing.T) {
	s := newStory(t, 42)
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, retentionPolicy: {whenDeleted: Delete}}, updateStrategy: {paused: true}}")
	s.until("ready", asSpecified)
	set := s.workload()
	if err := s.c.Patch(ctx, set, client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Delete","whenScaled":"Delete"}}}`))); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var claim corev1.PersistentVolumeClaim
		s.get(resources.ClaimName("demo", i), &claim)
		claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set.Name, UID: set.UID}}
		if err := s.c.Update(ctx, &claim); err != nil {
			t.Fatal(err)
		}
	}
	s.reconcile()
	c := s.until("taken over", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.policy() == keepAll && s.owners(c) == 3 })

	if err := s.c.Delete(ctx, c); err != nil {
		t.Fatal(err)
	}
	s.collectGarbage(c)
	var claims corev1.PersistentVolumeClaimList
	if err := s.c.List(ctx, &claims, client.InNamespace(s.key.Namespace)); err != nil || len(claims.Items) != 0 {
		t.Errorf("claims are left of a RaftCluster that takes them with it: %v, %d of them", err, len(claims.Items))
	}
}

// A claim that goes with an earlier RaftCluster of the name grows for nobody, and that its class could not let it grow is no matter for a person.
func TestClaimsThatGoAreNotAskedToGrow(t *testing.T) {
	size := func(text string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(text)}
	}
	for name, x := range map[string]struct {
		owner types.UID
		want  int
	}{"of this one": {"now", 1}, "of an earlier one": {"earlier", 0}} {
		cluster := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop", UID: "now"}}
		cluster.Spec.Storage.Size = resource.MustParse("2Gi")
		claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-demo-0", Namespace: "shop",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1.GroupVersion.String(), Kind: "RaftCluster", Name: "demo", UID: x.owner}}}}
		claim.Spec.VolumeName, claim.Spec.Resources.Requests = "pv", size("1Gi")
		asked := 0
		r := &Reconciler{Client: interceptor.NewClient(nil, interceptor.Funcs{
			Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				asked++
				return nil
			},
		})}
		stays, err := r.growClaims(t.Context(), &snapshot{cluster: cluster, claims: []corev1.PersistentVolumeClaim{claim}}, &plan.Decision{})
		if err != nil || stays != nil || asked != x.want {
			t.Errorf("%s: asked %d times to grow, %v, %v", name, asked, stays, err)
		}
	}
}

// Who is told to delete a RaftCluster must not lose its data by that.
func TestAClaimThatCannotGrowCostsNoData(t *testing.T) {
	for policy, first := range map[v1.RetentionPolicy]bool{v1.RetainVolumes: false, "": false, v1.DeleteVolumes: true} {
		cluster := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop"}}
		cluster.Spec.Storage.Size, cluster.Spec.Storage.RetentionPolicy.WhenDeleted = resource.MustParse("2Gi"), policy
		claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-demo-0", Namespace: "shop"}}
		claim.Spec.VolumeName = "pv"
		r := &Reconciler{Client: interceptor.NewClient(nil, interceptor.Funcs{
			Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return apierrors.NewForbidden(corev1.Resource("persistentvolumeclaims"), "data-demo-0", errors.New("its class does not expand"))
			},
		})}
		stays, err := r.growClaims(t.Context(), &snapshot{cluster: cluster, claims: []corev1.PersistentVolumeClaim{claim}}, &plan.Decision{})
		if err != nil || stays == nil || strings.Contains(stays.Message, "set storage.retentionPolicy.whenDeleted to Retain") != first || !strings.Contains(stays.Message, "apply it again with the old size") {
			t.Errorf("whenDeleted %q: %+v, %v", policy, stays, err)
		}
	}
}
