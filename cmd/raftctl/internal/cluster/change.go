package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// RestartedAt is the annotation that asks for a restart of all pods, as `kubectl rollout restart` uses it.
const RestartedAt = "kubectl.kubernetes.io/restartedAt"

// fieldOwner is who the changes of raftctl are recorded as.
const fieldOwner = client.FieldOwner("raftctl")

func hibernates(c *v1.RaftCluster) bool { return c.Spec.Hibernate }

// patch merges spec into the RaftCluster's. Fields that the CRD does not know are refused, since an older one would drop them without a word.
func (k *Kubernetes) patch(ctx context.Context, name string, spec map[string]any) (*v1.RaftCluster, error) {
	c, err := k.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, err
	}
	err = k.client.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), fieldOwner, client.FieldValidation(metav1.FieldValidationStrict))
	if err != nil {
		return nil, explain("change RaftCluster "+name, err)
	}
	return c, nil
}

// Restart asks the operator to restart all pods, one by one, the leader last. It returns the cluster as it was written.
func (k *Kubernetes) Restart(ctx context.Context, name string, at time.Time) (*v1.RaftCluster, error) {
	return k.patch(ctx, name, map[string]any{"podTemplate": map[string]any{"annotations": map[string]any{RestartedAt: at.UTC().Format(time.RFC3339)}}})
}

// Hibernate asks the operator to stop all pods and keep all data; false asks it to bring them back.
func (k *Kubernetes) Hibernate(ctx context.Context, name string, rest bool) (*v1.RaftCluster, error) {
	return k.patch(ctx, name, map[string]any{"hibernate": rest})
}

// Discard deletes a member's claim, and then its pod, whose place an empty one takes: the operator sees that the volume is gone and replaces the
// member. Both must be those that were observed. A member whose pod is gone already loses its claim only.
func (k *Kubernetes) Discard(ctx context.Context, o *Observation, member string) error {
	ordinal, ok := resources.Ordinal(o.Cluster.Name, member)
	if !ok {
		return fmt.Errorf("%s is not a member of %s: %w", member, o.Cluster.Name, ErrNotFound)
	}
	if claim := o.Claim(ordinal); claim != nil {
		if err := k.delete(ctx, claim.DeepCopy(), claim.UID); err != nil {
			return fmt.Errorf("delete claim %s: %w", claim.Name, err)
		}
	}
	if p := o.Pod(member); p != nil {
		if err := k.delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}, p.UID); err != nil {
			return fmt.Errorf("delete pod %s: %w", p.Name, err)
		}
	}
	return nil
}

func (k *Kubernetes) delete(ctx context.Context, object client.Object, uid types.UID) error {
	err := k.client.Delete(ctx, object, client.Preconditions{UID: &uid})
	return client.IgnoreNotFound(err)
}
