package resources

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// OperatorName is the value of LabelName on the operator's pods, by which the members' NetworkPolicy knows them in any namespace.
const OperatorName = "raftkv-operator"

// NetworkPolicy lets in, on the peer port, members and the operator; on the client port those that the spec names, or all; on the metrics
// port all, since nobody can change anything there. It is nil unless the spec asks for it. What the members connect to is not
// restricted: it is each other and DNS.
func NetworkPolicy(c *v1.RaftCluster) *networkingv1.NetworkPolicy {
	if !c.Spec.NetworkPolicy.Enabled {
		return nil
	}
	members := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: SelectorLabels(c.Name)}}
	operator := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{LabelName: OperatorName}},
	}
	var clients []networkingv1.NetworkPolicyPeer
	if given := c.Spec.NetworkPolicy.Clients; len(given) > 0 {
		// The members forward to each other on the client port too.
		clients = append(clients, given...)
		clients = append(clients, members)
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: meta(c, NetworkPolicyName(c.Name)),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: SelectorLabels(c.Name)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{Ports: policyPort(PeerPort), From: []networkingv1.NetworkPolicyPeer{members, operator}},
				{Ports: policyPort(ClientPort), From: clients},
				{Ports: policyPort(MetricsPort)},
			},
		},
	}
}

func policyPort(number int32) []networkingv1.NetworkPolicyPort {
	return []networkingv1.NetworkPolicyPort{{Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(intstr.FromInt32(number))}}
}
