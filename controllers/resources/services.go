package resources

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// PeerService is the headless Service. It publishes pods that are not ready, since a member must be found by its
// peers before it can become ready.
func PeerService(c *v1.RaftCluster) *corev1.Service {
	s := service(c, PeerServiceName(c.Name), nil,
		port(PeerPortName, PeerPort), port(ClientPortName, ClientPort), port(MetricsPortName, MetricsPort))
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.PublishNotReadyAddresses = true
	return s
}

// ClientService spreads clients over the ready pods, any of which takes any request, but for those whose members are about to be removed.
func ClientService(c *v1.RaftCluster) *corev1.Service {
	return service(c, ClientServiceName(c.Name), ServingLabels(c.Name), port(ClientPortName, ClientPort))
}

// ServicesForget is longer than the machines of Kubernetes need to learn that a pod is no longer behind a Service.
const ServicesForget = 2 * time.Second

// LeaderService reaches the pod that the operator has labelled as the leader.
func LeaderService(c *v1.RaftCluster) *corev1.Service {
	return service(c, LeaderServiceName(c.Name), map[string]string{LabelRole: RoleLeader}, port(ClientPortName, ClientPort))
}

func service(c *v1.RaftCluster, name string, extra map[string]string, ports ...corev1.ServicePort) *corev1.Service {
	selector := SelectorLabels(c.Name)
	for k, v := range extra {
		selector[k] = v
	}
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta(c, name),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: selector,
			Ports:    ports,
			// Whatever families the Kubernetes cluster has; on an IPv6-only one this is IPv6.
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyPreferDualStack),
		},
	}
}

func port(name string, number int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: number, TargetPort: intstr.FromString(name)}
}
