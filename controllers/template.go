package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/plan"
)

// failedAnnotation is on a StatefulSet that holds the last good template: the revision and a digest of the one that made no pod ready. It goes
// with the next template that is applied, and means nothing once the spec asks for another.
const failedAnnotation = "raftkv.io/failed-template"

// failedRevision is the revision of the wanted template, if that was taken out of the StatefulSet because it made no pod ready.
func failedRevision(is, wanted *appsv1.StatefulSet) (string, error) {
	revision, of, found := strings.Cut(is.Annotations[failedAnnotation], " ")
	if !found {
		return "", nil
	}
	digest, err := templateDigest(wanted)
	if err != nil || digest != of {
		return "", err
	}
	return revision, nil
}

func templateDigest(set *appsv1.StatefulSet) (string, error) {
	text, err := json.Marshal(&set.Spec.Template)
	if err != nil {
		return "", fmt.Errorf("encode the template of %s: %w", set.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// observeGood looks whether the last good revision is still kept, where it may have to be put back. Kubernetes keeps ten that no pod has.
func (r *Reconciler) observeGood(ctx context.Context, s *snapshot) error {
	o := &s.observation
	late := slices.ContainsFunc(o.Pods, func(p plan.Pod) bool { return p.Late })
	if s.depth != live || !late || o.Good == "" || o.Workload == nil || o.Good == o.Workload.Revision {
		return nil
	}
	_, kept, err := r.keptRevision(ctx, s, o.Good)
	o.GoodGone = err == nil && !kept
	return err
}

// keptRevision reads one of the StatefulSet's revisions; false if there is none of that name, or it is somebody else's.
func (r *Reconciler) keptRevision(ctx context.Context, s *snapshot, name string) (*appsv1.ControllerRevision, bool, error) {
	var revision appsv1.ControllerRevision
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: name}, &revision)
	if client.IgnoreNotFound(err) != nil {
		return nil, false, fmt.Errorf("read revision %s: %w", name, err)
	}
	return &revision, err == nil && metav1.IsControlledBy(&revision, s.statefulSet), nil
}

// putBack applies the StatefulSet with the template of an earlier revision, which Kubernetes keeps as long as a pod has it.
func (r *Reconciler) putBack(ctx context.Context, s *snapshot, t plan.PutBack) error {
	revision, kept, err := r.keptRevision(ctx, s, t.Revision)
	switch {
	case err != nil:
		return err
	case !kept:
		return fmt.Errorf("StatefulSet %s has no revision %s", s.statefulSet.Name, t.Revision)
	}
	template, err := templateOf(revision)
	if err != nil {
		return err
	}
	wanted, ok := s.workload.wanted.(*appsv1.StatefulSet)
	if !ok {
		return fmt.Errorf("%s is no StatefulSet", s.workload.wanted.GetName())
	}
	digest, err := templateDigest(wanted)
	if err != nil {
		return err
	}
	u, _, err := s.workload.outdated()
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedMap(u.Object, template, "spec", "template"); err != nil {
		return err
	}
	annotations := u.GetAnnotations()
	delete(annotations, appliedAnnotation) // what is applied is not what the spec asks for
	annotations[failedAnnotation] = t.Failed + " " + digest
	u.SetAnnotations(annotations)
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply StatefulSet %s: %w", u.GetName(), err)
	}
	return nil
}

// templateOf is the pod template that a revision of a StatefulSet keeps, as a patch of it.
func templateOf(revision *appsv1.ControllerRevision) (map[string]any, error) {
	var patch map[string]any
	if err := utiljson.Unmarshal(revision.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("decode revision %s: %w", revision.Name, err)
	}
	template, found, err := unstructured.NestedMap(patch, "spec", "template")
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the template of revision %s: %w", revision.Name, err)
	case !found:
		return nil, fmt.Errorf("revision %s holds no pod template", revision.Name)
	}
	delete(template, "$patch")
	unstructured.RemoveNestedField(template, "metadata", "creationTimestamp")
	return template, nil
}
