package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// scalesIn tells that pods are to go for good, or are going: until the last is gone its claim follows the spec's whenScaled.
func scalesIn(s *snapshot, replicas int32) bool {
	o := &s.observation
	if o.Asleep > 0 || s.foreign {
		return false
	}
	// A StatefulSet that keeps claims until now does so for pods that end already: whoever of them held another cluster's data does not say so any more. From one that does not, a pod that has ended counts
	// until it is deleted: should the StatefulSet keep claims again before that, it takes back that this one goes with its pod.
	keeps := s.statefulSet != nil && !deletesScaled(s.statefulSet)
	most := int(replicas)
	if !keeps {
		most = max(most, s.finished)
	}
	for i := range s.pods {
		if p := &s.pods[i]; !keeps || p.DeletionTimestamp == nil {
			most = max(most, podOrdinal(s, p)+1)
		}
	}
	return most > o.Desired
}

// dropsClaims tells that the StatefulSet, which is made or has kept the claims of pods that are scaled away, is to delete them from now on.
func dropsClaims(s *snapshot) bool {
	wanted, ok := s.workload.wanted.(*appsv1.StatefulSet)
	return ok && deletesScaled(wanted) && (s.statefulSet == nil || !deletesScaled(s.statefulSet))
}

func deletesScaled(set *appsv1.StatefulSet) bool {
	p := set.Spec.PersistentVolumeClaimRetentionPolicy
	return p != nil && p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// holdsAnnotation is on the claim of a pod whose node says that it holds another cluster's data, and names that cluster. A node that does not answer does not say so any more.
const holdsAnnotation = "raftkv.io/holds-data-of"

// dataOfAnother is the other cluster whose data the node has; zero if it has none, or this cluster's.
func (s *snapshot) dataOfAnother(node *admin.Status) raft.ClusterID {
	if ours := s.observation.ClusterID; ours == 0 || node.State != admin.StateMember || node.ClusterID == ours {
		return 0
	}
	return node.ClusterID
}

// holdsForeign tells that a pod which nobody asks for says, or said last, that it holds data of another cluster. Who lowers replicas because of that, as the condition advises, wants
// to keep that data: its claim stays, whatever whenScaled says of those that the cluster needs no more.
func holdsForeign(s *snapshot, answers map[types.UID]nodes.Answer) bool {
	return slices.ContainsFunc(s.pods, func(p corev1.Pod) bool {
		ordinal := podOrdinal(s, &p)
		if ordinal < s.observation.Desired {
			return false
		}
		if a, asked := answers[p.UID]; asked && a.Err == nil {
			return s.dataOfAnother(a.Status) != 0
		}
		c := s.claimOf(ordinal)
		return c != nil && c.Annotations[holdsAnnotation] != ""
	})
}

// markForeign notes on the claims which other cluster's data they hold, as their pods' nodes say.
func (r *Reconciler) markForeign(ctx context.Context, s *snapshot) error {
	for i := range s.observation.Pods {
		p := &s.observation.Pods[i]
		c := s.claimOf(p.Ordinal)
		if c == nil || c.DeletionTimestamp != nil || p.Node == nil || s.observation.ClusterID == 0 {
			continue
		}
		var of any // null takes the annotation off
		text := ""
		if id := s.dataOfAnother(p.Node); id != 0 {
			text = id.String()
			of = text
		}
		if c.Annotations[holdsAnnotation] == text {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": c.UID, "annotations": map[string]any{holdsAnnotation: of}}})
		if err != nil {
			return err
		}
		err = r.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("mark claim %s: %w", c.Name, err)
		}
	}
	return nil
}

// keepPolicy brings the claims' retention policy to a StatefulSet whose template is held back, so that it is not applied.
func (r *Reconciler) keepPolicy(ctx context.Context, s *snapshot) error {
	wanted, ok := s.workload.wanted.(*appsv1.StatefulSet)
	if !ok || s.statefulSet.DeletionTimestamp != nil ||
		reflect.DeepEqual(s.statefulSet.Spec.PersistentVolumeClaimRetentionPolicy, wanted.Spec.PersistentVolumeClaimRetentionPolicy) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": s.statefulSet.ResourceVersion},
		"spec":     map[string]any{"persistentVolumeClaimRetentionPolicy": wanted.Spec.PersistentVolumeClaimRetentionPolicy},
	})
	if err != nil {
		return err
	}
	return r.Client.Patch(ctx, s.statefulSet.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
}

// goesWithAnother tells that the claim goes with an earlier RaftCluster of the name, whose deletion the garbage collector has not carried out yet.
func goesWithAnother(cluster *v1.RaftCluster, c *corev1.PersistentVolumeClaim) bool {
	return len(c.OwnerReferences) > 0 && !slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool { return !ofEarlier(cluster, r) })
}

// mayOwn tells, from a live read, that the RaftCluster is there still and asks for what was read of it before it becomes the owner of something that exists. One that was deleted
// without its dependents (--cascade=orphan) has just let go of them: an owner that is no more would have the garbage collector delete them all the same. The error is a
// conflict, which the next look answers.
func (r *Reconciler) mayOwn(ctx context.Context, s *snapshot) error {
	if s.depth == live || s.ownerSeen {
		return nil
	}
	var now v1.RaftCluster
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.cluster), &now)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("read the RaftCluster: %w", err)
	case err != nil || now.UID != s.cluster.UID || now.DeletionTimestamp != nil || now.Generation != s.cluster.Generation:
		return apierrors.NewConflict(v1.GroupVersion.WithResource("raftclusters").GroupResource(), s.cluster.Name, errors.New("the watch has not brought its last change"))
	}
	s.ownerSeen = true
	return nil
}

// goesWith tells that the RaftCluster is among the owners.
func goesWith(cluster *v1.RaftCluster, owners []metav1.OwnerReference) bool {
	return slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == cluster.UID })
}

// ownClaims gives the claims the owners that whenDeleted asks for.
func (r *Reconciler) ownClaims(ctx context.Context, s *snapshot) error {
	for i := range s.claims {
		c := &s.claims[i]
		ordinal, _ := claimOrdinal(s.cluster.Name, c.Name)
		inUse := ordinal < s.observation.Desired || s.pod(resources.PodName(s.cluster.Name, ordinal)) != nil
		owners := resources.ClaimOwners(s.cluster, c.OwnerReferences, inUse)
		if equality.Semantic.DeepEqual(owners, c.OwnerReferences) || c.DeletionTimestamp != nil {
			continue
		}
		if !goesWith(s.cluster, c.OwnerReferences) && goesWith(s.cluster, owners) {
			if err := r.mayOwn(ctx, s); err != nil {
				return err
			}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": c.UID, "resourceVersion": c.ResourceVersion, "ownerReferences": owners,
		}})
		if err != nil {
			return err
		}
		err = r.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			continue // it has changed since: the next look tells
		case err != nil:
			return fmt.Errorf("own claim %s: %w", c.Name, err)
		}
	}
	return nil
}
