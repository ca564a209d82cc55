package controllers

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
