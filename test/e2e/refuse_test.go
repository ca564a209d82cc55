//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// manifest is a RaftCluster as a person writes it.
func manifest(name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.RaftClusterKind))
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// TestInvalidSpecsAreRefused sends what kubectl would send, with its strict validation.
func TestInvalidSpecsAreRefused(t *testing.T) {
	strict := []client.CreateOption{client.DryRunAll, client.FieldValidation("Strict")}
	for _, test := range []struct {
		name   string
		object *unstructured.Unstructured
		want   string
	}{
		{"no replicas", manifest("bad", map[string]any{"replicas": int64(0)}), "replicas must be from 1 to 7"},
		{"too many replicas", manifest("bad", map[string]any{"replicas": int64(8)}), "replicas must be from 1 to 7"},
		{"too small a volume", manifest("bad", map[string]any{"storage": map[string]any{"size": "1Mi"}}), "storage.size must be at least 256Mi"},
		{
			"heartbeats as rare as elections",
			manifest("bad", map[string]any{"raft": map[string]any{"heartbeatInterval": "500ms", "electionTimeout": "500ms"}}),
			"raft.electionTimeout must be at least",
		},
		{"too long a name", manifest(strings.Repeat("a", 41), map[string]any{}), "at most 40 characters"},
		{"a name that no Service may have", manifest("1st", map[string]any{}), "DNS-1035"},
		{"a field that does not exist", manifest("bad", map[string]any{"replica": int64(3)}), `unknown field "spec.replica"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, kube.Create(t.Context(), test.object, strict...), test.want)
		})
	}
	if err := kube.Create(t.Context(), manifest("good", map[string]any{}), strict...); err != nil {
		t.Errorf("a RaftCluster with nothing but a name is refused: %v", err)
	}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a refusal that says %q", err, want)
	}
}

// TestSomebodyElsesObjectsAreLeftAlone puts something of another owner where a child would go.
func TestSomebodyElsesObjectsAreLeftAlone(t *testing.T) {
	labels := map[string]string{"app": "somebody-else"}
	for _, test := range []struct {
		cluster string
		foreign client.Object
	}{
		{"taken-service", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "taken-service"},
			Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
		}},
		{"taken-set", &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "taken-set"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](0), ServiceName: "nothing", Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/none"}}},
				},
			},
		}},
		{"taken-claim", &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "data-taken-claim-0", Labels: labels},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}},
	} {
		t.Run(fmt.Sprintf("%T", test.foreign), func(t *testing.T) {
			test.foreign.SetNamespace(namespace)
			if err := kube.Create(t.Context(), test.foreign); err != nil {
				t.Fatal(err)
			}
			before := test.foreign.DeepCopyObject().(client.Object)
			t.Cleanup(func() { _ = kube.Delete(context.Background(), test.foreign) })
			if err := kube.Create(t.Context(), newCluster(test.cluster, 1)); err != nil {
				t.Fatal(err)
			}
			eventually(t, test.cluster+" is stalled and says why", func(ctx context.Context) error {
				c, err := getCluster(ctx, test.cluster)
				if err != nil {
					return err
				}
				stalled := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled)
				if stalled == nil || stalled.Status != metav1.ConditionTrue || !strings.Contains(stalled.Message, before.GetName()) {
					return fmt.Errorf("conditions: %s", describe(c.Status.Conditions))
				}
				return nil
			})
			if found := mustPods(t, test.cluster); len(found) > 0 {
				t.Errorf("%d pods were made all the same", len(found))
			}
			removeCluster(t, test.cluster)
			now := test.foreign
			if err := kube.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
				t.Fatalf("what belongs to somebody else is gone: %v", err)
			}
			if now.GetGeneration() != before.GetGeneration() || len(now.GetOwnerReferences()) > 0 || len(now.GetLabels()) != len(before.GetLabels()) {
				t.Errorf("what belongs to somebody else was changed: %+v", now)
			}
		})
	}
}

// TestForbiddenChangesAreRefused changes a cluster that exists.
func TestForbiddenChangesAreRefused(t *testing.T) {
	const name = "settled"
	c := newCluster(name, 1)
	c.Spec.Storage.Size = resource.MustParse("512Mi")
	c.Spec.Storage.RetentionPolicy = v1.RetentionPolicySpec{WhenDeleted: v1.DeleteVolumes}
	apply(t, c)
	for _, test := range []struct {
		name   string
		change func(*v1.RaftCluster)
		want   string
	}{
		{"a smaller volume", func(c *v1.RaftCluster) { c.Spec.Storage.Size = resource.MustParse("256Mi") }, "storage.size can only grow"},
		{"another storage class", func(c *v1.RaftCluster) { c.Spec.Storage.StorageClassName = ptr.To("other") }, "storage.storageClassName cannot be changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed, err := getCluster(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			test.change(changed)
			refused(t, kube.Update(t.Context(), changed, client.DryRunAll), test.want)
		})
	}
	removeCluster(t, name)
	eventually(t, "its claims go with it, as it asked", func(ctx context.Context) error {
		left, err := claims(ctx, name)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("claims: %v", left)
		}
		return err
	})
}
