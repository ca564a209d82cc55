package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// While the spec's pod template is held back, because updates are paused or it failed, the one in force is nowhere but in the StatefulSet. A copy
// of it is kept beside that, and its name is on record in the status: who deletes the StatefulSet must not bring the spec's template to all pods at once.

// holdTemplate keeps the copy as long as it is needed. The status, written after this, names it: an operator that dies in between finds the copy made, or
// the old one gone, and goes on.
func (r *Reconciler) holdTemplate(ctx context.Context, s *snapshot, d *plan.Decision) error {
	if s.statefulSet == nil || s.statefulSet.DeletionTimestamp != nil || s.observation.Workload == nil {
		return nil
	}
	name := ""
	if d.Hold && s.observation.Workload.Stale {
		held, err := heldTemplate(s)
		if err != nil {
			return err
		}
		if name = held.Name; name == s.cluster.Status.HeldTemplate {
			return nil
		}
		err = r.Client.Create(ctx, held, fieldOwner)
		if apierrors.IsAlreadyExists(err) {
			err = r.checkHeld(ctx, s, name)
		}
		if err != nil {
			return fmt.Errorf("keep the template in force as revision %s: %w", name, err)
		}
	}
	if before := s.cluster.Status.HeldTemplate; before != "" && before != name {
		if err := r.dropHeld(ctx, s, before); err != nil {
			return fmt.Errorf("delete revision %s, which is not needed any more: %w", before, err)
		}
	}
	s.cluster.Status.HeldTemplate = name
	return nil
}

// checkHeld refuses a revision of somebody else's under the name of the copy.
func (r *Reconciler) checkHeld(ctx context.Context, s *snapshot, name string) error {
	var is appsv1.ControllerRevision
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &is); err != nil {
		return err
	}
	if !metav1.IsControlledBy(&is, s.cluster) {
		return errors.New("it exists and does not belong to this RaftCluster: delete it, and the operator makes its own")
	}
	return nil
}

// dropHeld deletes a copy. The status names it, which others may write: what is not the cluster's stays.
func (r *Reconciler) dropHeld(ctx context.Context, s *snapshot, name string) error {
	var old appsv1.ControllerRevision
	switch err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &old); {
	case err != nil:
		return client.IgnoreNotFound(err)
	case !metav1.IsControlledBy(&old, s.cluster):
		return nil
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, &old, client.Preconditions{UID: &old.UID}))
}

// heldTemplate is the copy of the template that the StatefulSet holds, in the form in which Kubernetes keeps one, under a name that tells its content.
// It lacks a label of the pods, so that the StatefulSet controller does not take it for one of its own.
func heldTemplate(s *snapshot) (*appsv1.ControllerRevision, error) {
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"template": &s.statefulSet.Spec.Template}})
	if err != nil {
		return nil, fmt.Errorf("encode the template of %s: %w", s.statefulSet.Name, err)
	}
	failed := s.statefulSet.Annotations[failedAnnotation]
	sum := sha256.Sum256(append(text, failed...))
	revision := resources.HeldTemplate(s.cluster, hex.EncodeToString(sum[:8]))
	revision.Data = runtime.RawExtension{Raw: text}
	if failed != "" {
		revision.Annotations = map[string]string{failedAnnotation: failed}
	}
	return revision, nil
}

// observeHeld gives a StatefulSet that is to be made the template that was in force, if the spec's was held back.
func (r *Reconciler) observeHeld(ctx context.Context, s *snapshot) error {
	name := s.cluster.Status.HeldTemplate
	wanted, ok := s.workload.wanted.(*appsv1.StatefulSet)
	if s.statefulSet != nil || name == "" || !ok {
		return nil
	}
	var held appsv1.ControllerRevision
	switch err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &held); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read revision %s: %w", name, err)
	case !metav1.IsControlledBy(&held, s.cluster):
		return nil
	}
	template, err := templateOf(&held)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, &wanted.Spec.Template); err != nil {
		return fmt.Errorf("read the template of revision %s: %w", name, err)
	}
	if failed := held.Annotations[failedAnnotation]; failed != "" {
		wanted.Annotations = map[string]string{failedAnnotation: failed}
	}
	return nil
}
