package controllers

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// A claim that says by a label's value or by its controller that it is somebody else's is not relabelled, and the operator stops and says so.
func TestAClaimOfSomebodyElseStaysTheirs(t *testing.T) {
	for name, x := range map[string]struct {
		labels func(map[string]string)
		owners []metav1.OwnerReference
		theirs bool
	}{
		"without labels":       {labels: func(l map[string]string) { clear(l) }},
		"another's label":      {labels: func(l map[string]string) { l[resources.LabelInstance] = "another" }, theirs: true},
		"another's controller": {labels: func(l map[string]string) { clear(l) }, owners: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "another", UID: "another", Controller: ptr.To(true)}}, theirs: true},
	} {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Labels: resources.SelectorLabels("demo"), OwnerReferences: x.owners}}
		x.labels(c.Labels)
		s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", UID: "ours"}}}
		if got := s.lost(c, resources.SelectorLabels("demo")); got == x.theirs {
			t.Errorf("%s: lost: %v", name, got)
		}
	}
	s := newStory(t, 73)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var claim corev1.PersistentVolumeClaim
	s.get("data-demo-0", &claim)
	claim.Labels[resources.LabelInstance] = "another"
	if err := s.c.Update(context.Background(), &claim); err != nil {
		t.Fatal(err)
	}
	s.until("stalled", s.stalled("ChildNotOwned"))
	if s.get("data-demo-0", &claim); claim.Labels[resources.LabelInstance] != "another" {
		t.Errorf("the claim has the labels %v", claim.Labels)
	}
}

// A pod of a member's name is the StatefulSet's if that made it, whatever its labels say, and not if another controller runs it, or a person did.
func TestWhosePodIsRelabelled(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*corev1.Pod)
		want   int
	}{
		"without labels":  {func(*corev1.Pod) {}, 1},
		"another's label": {func(p *corev1.Pod) { p.Labels = map[string]string{resources.LabelInstance: "another"} }, 1},
		"another component": {func(p *corev1.Pod) {
			p.Labels = resources.SelectorLabels("demo")
			p.Labels[resources.LabelComponent] = "debug"
		}, 1},
		"in the hands of the StatefulSet still": {func(p *corev1.Pod) {
			p.Spec = corev1.PodSpec{}
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "demo", UID: "set", Controller: ptr.To(true)}}
		}, 1},
		"with its labels": {func(p *corev1.Pod) { p.Labels = resources.SelectorLabels("demo") }, 0},
		"another's controller": {func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "backup", UID: "backup", Controller: ptr.To(true)}}
		}, 0},
		"made by a person to look at the volume": {func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "", "" }, 0},
		"of another StatefulSet's Service":       {func(p *corev1.Pod) { p.Spec.Subdomain = "another" }, 0},
		"on another claim":                       {func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "another" }, 0},
		"that is ending":                         {func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }, 0},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-0"}, Spec: corev1.PodSpec{Hostname: "demo-0", Subdomain: "demo-peers",
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-demo-0"}}}}}}
		x.change(p)
		s := &snapshot{
			cluster:     &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo"}},
			statefulSet: &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "demo", UID: "set"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](1)}},
		}
		r := &Reconciler{Live: onePod{pod: p}}
		if err := r.observeStrayPods(context.Background(), s, live); err != nil {
			t.Fatal(err)
		}
		if len(s.strayed) != x.want {
			t.Errorf("%s: %d pods are to be relabelled, want %d", name, len(s.strayed), x.want)
		}
	}
}

// onePod reads the same pod always.
type onePod struct {
	client.Reader
	pod *corev1.Pod
}

func (o onePod) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.pod.DeepCopyInto(into.(*corev1.Pod))
	return nil
}

// A revision of somebody else's is neither deleted because the status names it nor taken for the copy that is to be kept.
func TestARevisionOfSomebodyElseStays(t *testing.T) {
	s := newStory(t, 75)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	c := s.until("ready", asSpecified)
	ctx := context.Background()
	revision := func(name string) *appsv1.ControllerRevision {
		return &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: name}, Data: runtime.RawExtension{Raw: []byte(`{}`)},
		}
	}
	theirs := revision("theirs")
	held, err := heldTemplate(&snapshot{cluster: c, statefulSet: s.workload()})
	if err != nil {
		t.Fatal(err)
	}
	taken := revision(held.Name)
	for _, o := range []*appsv1.ControllerRevision{theirs, taken} {
		if err := s.c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	s.change(`{"spec":{"updateStrategy":{"paused":true},"image":"raftkv/node:another"}}`)
	if _, err := s.r.Reconcile(ctx, reconcile.Request{NamespacedName: s.key}); err == nil || !strings.Contains(err.Error(), "does not belong to this RaftCluster") {
		t.Errorf("want a refusal, got %v", err)
	}
	if err := s.c.Delete(ctx, taken); err != nil {
		t.Fatal(err)
	}
	s.until("kept", func(c *v1.RaftCluster) bool { return c.Status.HeldTemplate == held.Name })
	c = s.cluster()
	c.Status.HeldTemplate = "theirs"
	if err := s.c.Status().Update(ctx, c); err != nil {
		t.Fatal(err)
	}
	s.until("another is on record", func(c *v1.RaftCluster) bool { return c.Status.HeldTemplate == held.Name })
	s.change(`{"spec":{"updateStrategy":{"paused":false}}}`)
	s.until("updated", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.HeldTemplate == "" })
	if err := s.c.Get(ctx, client.ObjectKeyFromObject(theirs), theirs); err != nil {
		t.Errorf("another's revision: %v", err)
	}
	if err := s.c.Get(ctx, client.ObjectKeyFromObject(held), held); !apierrors.IsNotFound(err) {
		t.Errorf("the copy is left behind: %v", err)
	}
}
