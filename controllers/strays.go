package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// Pods and claims are found by labels, which anybody can take off. One that is missing is looked for by its name before it counts as gone: a claim without
// labels still holds its member's data, and a pod without them keeps the StatefulSet from making another of its name.

// observeStrayPods looks for pods that the StatefulSet is to have and that are not among those with the labels.
func (r *Reconciler) observeStrayPods(ctx context.Context, s *snapshot, d depth) error {
	if d == cached || s.statefulSet == nil || s.statefulSet.Spec.Replicas == nil {
		return nil
	}
	// A StatefulSet that somebody scaled to thousands must not be looked through: no member is there.
	for i := range min(int(*s.statefulSet.Spec.Replicas), raft.MaxMembers) {
		name := resources.PodName(s.cluster.Name, i)
		if s.pod(name) != nil {
			continue
		}
		var p corev1.Pod
		switch err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &p); {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return fmt.Errorf("read pod %s: %w", name, err)
		}
		if !labelled(&p, resources.SelectorLabels(s.cluster.Name)) && p.DeletionTimestamp == nil && s.made(&p, i) {
			s.strayed = append(s.strayed, &p)
		}
	}
	return nil
}

// made tells that the StatefulSet made the pod. Its controller lets go of pods without its labels, but they keep the name that it gives them in DNS, which
// nobody can change, and their volumes. Whatever the labels say meanwhile, also of another application: as long as the pod is there it is a member that its
// peers do not find, and keeps the StatefulSet from making another of its name. A pod that somebody made by hand under that name is theirs.
func (s *snapshot) made(p *corev1.Pod, ordinal int) bool {
	if owner := metav1.GetControllerOf(p); owner != nil {
		return owner.UID == s.statefulSet.UID
	}
	return p.Spec.Hostname == p.Name && p.Spec.Subdomain == resources.PeerServiceName(s.cluster.Name) && mounts(p, resources.ClaimName(s.cluster.Name, ordinal))
}

// mounts tells that the pod has the claim.
func mounts(p *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
	})
}

// observeStrayClaims looks for claims of the names that members and pods use and that are not among those with the labels. One of a member, or of a
// pod that exists, has been the cluster's; any other one is somebody else's, and the StatefulSet would mount it without asking.
func (r *Reconciler) observeStrayClaims(ctx context.Context, s *snapshot) error {
	known, ordinals := map[int]bool{}, map[int]bool{}
	for i := range s.claims {
		n, _ := claimOrdinal(s.cluster.Name, s.claims[i].Name)
		known[n] = true
	}
	for i := range s.observation.Desired {
		ordinals[i] = false
	}
	for i := range s.pods {
		ordinals[podOrdinal(s, &s.pods[i])] = true
	}
	for _, m := range s.cluster.Status.Members {
		if n, ours := resources.Ordinal(s.cluster.Name, m.Name); ours {
			ordinals[n] = true
		}
	}
	for n, ours := range ordinals {
		if known[n] {
			continue
		}
		name := resources.ClaimName(s.cluster.Name, n)
		var c corev1.PersistentVolumeClaim
		switch err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &c); {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return fmt.Errorf("read claim %s: %w", name, err)
		}
		switch selector := resources.SelectorLabels(s.cluster.Name); {
		case labelled(&c, selector) && ours:
			s.claims = append(s.claims, c) // the watch has yet to show it
		case labelled(&c, selector):
		case ours && s.lost(&c, selector):
			s.strayed = append(s.strayed, &c)
			s.claims = append(s.claims, c)
		case ours:
			s.observation.Foreign = append(s.observation.Foreign, fmt.Sprintf("claim %s exists and is not of this cluster (it has other labels, or another owner)", name))
		default:
			s.observation.Foreign = append(s.observation.Foreign, fmt.Sprintf("claim %s exists and is not of this cluster (it lacks its labels)", name))
		}
	}
	slices.SortFunc(s.claims, func(a, b corev1.PersistentVolumeClaim) int {
		x, _ := claimOrdinal(s.cluster.Name, a.Name)
		y, _ := claimOrdinal(s.cluster.Name, b.Name)
		return x - y
	})
	slices.Sort(s.observation.Foreign)
	return nil
}

// lost tells that a claim has lost labels and that nobody else says that it is theirs: by another value of one of them, or as its controller. Kubernetes
// makes the StatefulSet or the pod a claim's controller where claims go with them.
func (s *snapshot) lost(c *corev1.PersistentVolumeClaim, selector map[string]string) bool {
	for k, want := range selector {
		if is, labelled := c.Labels[k]; labelled && is != want {
			return false
		}
	}
	owner := metav1.GetControllerOf(c)
	if owner == nil || owner.UID == s.cluster.UID || s.statefulSet != nil && owner.UID == s.statefulSet.UID {
		return true
	}
	return slices.ContainsFunc(s.pods, func(p corev1.Pod) bool { return p.UID == owner.UID }) ||
		slices.ContainsFunc(s.strayed, func(o client.Object) bool { return o.GetUID() == owner.UID })
}

// relabel gives strayed pods and claims their labels back.
func (r *Reconciler) relabel(ctx context.Context, s *snapshot) error {
	for _, o := range s.strayed {
		kind, labels := "pod", resources.ServingLabels(s.cluster.Name)
		if _, claim := o.(*corev1.PersistentVolumeClaim); claim {
			kind, labels = "claim", resources.SelectorLabels(s.cluster.Name)
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": o.GetUID(), "labels": labels,
		}})
		if err != nil {
			return err
		}
		err = r.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), fieldOwner)
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			continue
		case err != nil:
			return fmt.Errorf("label %s %s: %w", kind, o.GetName(), err)
		}
		r.Recorder.Eventf(s.cluster, o, corev1.EventTypeWarning, "ChildPutRight", "apply", "%s %s had lost its labels, and has them again", kind, o.GetName())
	}
	return nil
}
