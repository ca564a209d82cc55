package controllers

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/plan"
)

// maxRefusalBytes bounds what of the API server's words goes into a condition.
const maxRefusalBytes = 1000

// refusal takes it down that Kubernetes does not take what the spec makes of a child, such as a nodeSelector that is no label: rules that the
// RaftCluster's own schema does not repeat. The child stays as it is, and all that does not need the change goes on. Other errors are given back.
func (s *snapshot) refusal(err error) error {
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		return err
	}
	text := shortened(oneLine(err.Error()), maxRefusalBytes)
	s.beside(&plan.Reason{Reason: plan.ReasonSpecRefused, Message: fmt.Sprintf("Kubernetes does not take what the spec asks for, which stays as it was: %s; correct the spec", text)})
	return nil
}

// denied takes it down that a policy, a quota or a right that the operator lacks is in the way. Nothing else is made or changed then, and it is tried again.
func (s *snapshot) denied(err error) {
	if apierrors.IsForbidden(err) {
		s.beside(&plan.Reason{Reason: plan.ReasonSpecRefused, Message: fmt.Sprintf(
			"Kubernetes denies what the operator does: %s; change the policy, the quota or the operator's rights, or correct the spec", shortened(oneLine(err.Error()), maxRefusalBytes))})
	}
}

// tellRefusal says what keeps a pod from being evicted, such as a disruption budget that somebody else made, where nothing has gone on for longer than Kubernetes needs to take in
// that a budget or a pod has just changed.
func (r *Reconciler) tellRefusal(s *snapshot, d *plan.Decision, err error) {
	if !apierrors.IsTooManyRequests(err) || d.Waiting == nil {
		return
	}
	if r.now().Sub(lastSign(s, r.lastReport(client.ObjectKeyFromObject(s.cluster)).stepped)) <= troubleAfter {
		return
	}
	text := err.Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			text += " " + cause.Message
		}
	}
	d.Waiting.Message += "; Kubernetes refuses that: " + shortened(oneLine(text), maxTroubleBytes)
}

// beside adds something that waits for a person.
func (s *snapshot) beside(r *plan.Reason) {
	switch {
	case r == nil:
	case s.besides == nil:
		s.besides = r
	default:
		s.besides = &plan.Reason{Reason: s.besides.Reason, Message: s.besides.Message + "; besides, " + r.Message}
	}
}
