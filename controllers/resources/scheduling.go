package resources

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// affinity is the user's, or else a wish that members avoid each other's nodes: a wish and not a demand, so that a
// small Kubernetes can still run the cluster.
func affinity(c *v1.RaftCluster) *corev1.Affinity {
	if a := c.Spec.PodTemplate.Affinity; a != nil {
		return a
	}
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100,
			PodAffinityTerm: corev1.PodAffinityTerm{
				TopologyKey:   corev1.LabelHostname,
				LabelSelector: &metav1.LabelSelector{MatchLabels: SelectorLabels(c.Name)},
			},
		}},
	}}
}

// topologySpread is the user's constraints, counting this cluster's members where they do not say what to count, or
// else a wish that members are spread over zones.
func topologySpread(c *v1.RaftCluster) []corev1.TopologySpreadConstraint {
	selector := &metav1.LabelSelector{MatchLabels: SelectorLabels(c.Name)}
	if given := c.Spec.PodTemplate.TopologySpreadConstraints; len(given) > 0 {
		out := make([]corev1.TopologySpreadConstraint, len(given))
		for i := range given {
			given[i].DeepCopyInto(&out[i])
			if out[i].LabelSelector == nil {
				out[i].LabelSelector = selector
			}
		}
		return out
	}
	return []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelTopologyZone,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     selector,
	}}
}
