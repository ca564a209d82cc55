package cluster

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// RestartedAt is the annotation that asks for a restart of all pods, as `kubectl rollout restart` uses it.
const RestartedAt = "kubectl.kubernetes.io/restartedAt"

func (k *Kubernetes) patch(ctx context.Context, name string, spec map[string]any) (*v1.RaftCluster, error) {
	c, err := k.api.patch(ctx, k.Namespace, name, spec)
	switch {
	case apierrors.IsNotFound(err):
		return nil, k.noCluster(name)
	case err != nil:
		return nil, fmt.Errorf("change RaftCluster %s: %w", name, err)
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
		return missing(member + " is not a member of " + o.Cluster.Name)
	}
	if claim := o.Claim(ordinal); claim != nil {
		if err := k.api.delete(ctx, k.Namespace, "persistentvolumeclaims", claim.Name, claim.UID); err != nil {
			return fmt.Errorf("delete claim %s: %w", claim.Name, err)
		}
	}
	if p := o.Pod(member); p != nil {
		if err := k.api.delete(ctx, k.Namespace, "pods", p.Name, p.UID); err != nil {
			return fmt.Errorf("delete pod %s: %w", p.Name, err)
		}
	}
	return nil
}
