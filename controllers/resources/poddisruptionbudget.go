package resources

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// PodDisruptionBudget lets a drain take one voter at a time. It is nil where there is nothing to protect: with a
// single voter a budget would only block every drain.
//
// It counts the pods that the operator has labelled as voters, so that a learner that is ready never stands in for
// a voter. A pod that is not ready may always be evicted: that is how a broken member is moved.
func PodDisruptionBudget(c *v1.RaftCluster, voters int) *policyv1.PodDisruptionBudget {
	if voters < 2 {
		return nil
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: meta(c, PodDisruptionBudgetName(c.Name)),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(int32(voters - 1))),
			Selector: &metav1.LabelSelector{
				MatchLabels: SelectorLabels(c.Name),
				MatchExpressions: []metav1.LabelSelectorRequirement{{
					Key: LabelRole, Operator: metav1.LabelSelectorOpIn, Values: []string{RoleFollower, RoleLeader},
				}},
			},
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}
