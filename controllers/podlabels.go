package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// labelledWithin is how old a pod is at most that has no role label since it is new.
	labelledWithin = time.Minute
	// clockSkew is by how much the clocks of operators may differ: a pod that was withdrawn later than that from now was withdrawn before the clock
	// was set back.
	clockSkew = time.Minute
)

// labelPods keeps the labels of the pods that the Services and the disruption budget select by: roles, and whether clients are sent to the pod. One that cannot be
// labelled keeps no other from it: it may be the leader that clients look for.
func (r *Reconciler) labelPods(ctx context.Context, s *snapshot, d *plan.Decision) error {
	var failed error
	for i := range s.pods {
		p := &s.pods[i]
		labels, annotations := map[string]any{}, map[string]any{}
		role, ok := d.Roles[p.Name]
		led := false
		if ok && p.Labels[resources.LabelRole] != role && (p.DeletionTimestamp == nil || role != "") {
			labels[resources.LabelRole] = valueOrNone(role)
			l := s.cluster.Status.Leader
			led = role == resources.RoleLeader && l != nil && l.Name == p.Name
		}
		_, marked := p.Annotations[resources.AnnotationWithdrawn]
		_, withdrawn := withdrawnAt(p)
		if serves := p.Labels[resources.LabelManagedBy] == resources.ManagedBy; p.DeletionTimestamp == nil && !d.Withdrawn[p.Name] && (marked || !serves) {
			labels[resources.LabelManagedBy] = resources.ManagedBy
			annotations[resources.AnnotationWithdrawn] = nil
		}
		if len(labels) == 0 {
			continue
		}
		patch, err := podPatch(p, labels, annotations)
		if err != nil {
			return err
		}
		updated := p.DeepCopy()
		err = r.Client.Patch(ctx, updated, patch, fieldOwner)
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			continue
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("label pod %s: %w", p.Name, err))
			continue
		}
		settled := r.now().Sub(p.CreationTimestamp.Time) > labelledWithin
		_, serving := labels[resources.LabelManagedBy]
		s.pods[i] = *updated
		switch {
		case led && settled:
			r.Recorder.Eventf(s.cluster, updated, corev1.EventTypeWarning, "ChildPutRight", "label", "somebody else had changed the role label of pod %s, which leads, and it is put right", p.Name)
		case serving && withdrawn:
			r.Recorder.Eventf(s.cluster, updated, corev1.EventTypeNormal, "PodReadmitted", "label", "pod %s stays after all: the client Service has it again", p.Name)
		case serving && settled:
			r.Recorder.Eventf(s.cluster, updated, corev1.EventTypeWarning, "ChildPutRight", "label",
				"somebody else had changed the label %s of pod %s, by which the client Service finds it, and it is put right", resources.LabelManagedBy, p.Name)
		}
	}
	return failed
}

// withdraw takes the pod out of the client Service, and notes when.
func (r *Reconciler) withdraw(ctx context.Context, s *snapshot, t plan.Withdraw) error {
	p := s.pod(t.Pod)
	if p == nil || string(p.UID) != t.UID {
		return nil
	}
	patch, err := podPatch(p, map[string]any{resources.LabelManagedBy: nil},
		map[string]any{resources.AnnotationWithdrawn: r.now().UTC().Format(time.RFC3339Nano)})
	if err != nil {
		return err
	}
	return r.Client.Patch(ctx, p.DeepCopy(), patch, fieldOwner)
}

// podPatch changes labels and annotations. The UID makes sure that a pod which took the name meanwhile does not get its predecessor's.
func podPatch(p *corev1.Pod, labels, annotations map[string]any) (client.Patch, error) {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID, "labels": labels, "annotations": annotations}})
	if err != nil {
		return nil, fmt.Errorf("encode the labels of pod %s: %w", p.Name, err)
	}
	return client.RawPatch(types.MergePatchType, text), nil
}

// valueOrNone is the value of a label in a patch, which takes an empty one off.
func valueOrNone(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// withdrawnAt is when the operator took the pod out of the client Service; false if it did not. The label itself does not count: whoever puts it on again does not
// keep the pod's member from being removed.
func withdrawnAt(p *corev1.Pod) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339Nano, p.Annotations[resources.AnnotationWithdrawn])
	return at, err == nil
}

// forgotten tells that no client is sent to a pod any more that was withdrawn then.
func forgotten(at, now time.Time) bool {
	age := now.Sub(at)
	return age >= resources.ServicesForget || age < -clockSkew
}
