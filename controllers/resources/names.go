package resources

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// Ports of a node: their names and numbers.
const (
	ClientPortName  = "client"
	PeerPortName    = "peer"
	MetricsPortName = "metrics"

	ClientPort  = 2379
	PeerPort    = 2380
	MetricsPort = 8080
)

// Labels of the children and of the pods.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelRole is kept on the pods by the operator: leader, follower or learner.
	LabelRole = "raftkv.io/role"
	// AnnotationWithdrawn is on a pod that the operator has taken out of the client Service, since its member is about to be removed: when
	// that was (RFC 3339).
	AnnotationWithdrawn = "raftkv.io/withdrawn"

	// Name, Component and ManagedBy are the labels' values; the instance is the cluster's name.
	Name      = "raftkv"
	Component = "node"
	ManagedBy = "raftkv-operator"
)

// Values of LabelRole.
const (
	RoleLeader   = "leader"
	RoleFollower = "follower"
	RoleLearner  = "learner"
)

// StatefulSetName is the name of the cluster's StatefulSet; its pods are that name, a dash and their ordinal.
func StatefulSetName(cluster string) string { return cluster }

// ClientServiceName is the name of the Service over the pods that are ready.
func ClientServiceName(cluster string) string { return cluster }

// LeaderServiceName is the name of the Service that follows the leader.
func LeaderServiceName(cluster string) string { return cluster + "-leader" }

// PeerServiceName is the name of the headless Service that gives the pods their names in DNS.
func PeerServiceName(cluster string) string { return cluster + "-peers" }

// ServiceAccountName is the name of the pods' ServiceAccount.
func ServiceAccountName(cluster string) string { return cluster }

// PodDisruptionBudgetName is the name of the PodDisruptionBudget.
func PodDisruptionBudgetName(cluster string) string { return cluster }

// NetworkPolicyName is the name of the NetworkPolicy.
func NetworkPolicyName(cluster string) string { return cluster }

// HeldTemplateName is the name of the ControllerRevision that keeps a pod template of that digest.
func HeldTemplateName(cluster, digest string) string { return cluster + "-held-" + digest }

// AdminTokenSecretName is the name of the Secret that holds the admin token.
func AdminTokenSecretName(cluster string) string { return cluster + "-admin-token" }

// PodName is the name of the pod with that ordinal.
func PodName(cluster string, ordinal int) string { return cluster + "-" + strconv.Itoa(ordinal) }

// ClaimName is the name of the claim of the pod with that ordinal.
func ClaimName(cluster string, ordinal int) string {
	return DataVolume + "-" + PodName(cluster, ordinal)
}

// Ordinal returns the ordinal of the pod or member of that name; false for a name that is not of this cluster's pods.
func Ordinal(cluster, pod string) (int, bool) {
	text, ok := strings.CutPrefix(pod, cluster+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || strconv.Itoa(n) != text {
		return 0, false
	}
	return n, true
}

// PeerAddress is the host:port under which other members reach the pod's peer listener. It leaves the cluster
// domain to the resolver's search list.
func PeerAddress(namespace, cluster, pod string) string {
	return podAddress(namespace, cluster, pod, PeerPort)
}

// ClientAddress is the host:port under which clients inside Kubernetes reach the pod.
func ClientAddress(namespace, cluster, pod string) string {
	return podAddress(namespace, cluster, pod, ClientPort)
}

func podAddress(namespace, cluster, pod string, port int) string {
	host := fmt.Sprintf("%s.%s.%s.svc", pod, PeerServiceName(cluster), namespace)
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// SelectorLabels finds the pods of the cluster, and the claims, to which the StatefulSet gives them.
func SelectorLabels(cluster string) map[string]string {
	return map[string]string{LabelName: Name, LabelInstance: cluster, LabelComponent: Component}
}

// ServingLabels are what the client Service selects by: a pod is withdrawn by taking LabelManagedBy off. That label, and no new one, since every pod has
// had it from its template with every version of the operator: Services find pods that an earlier one made, a pod that is made anew serves
// with no operator there, and no template changes. The StatefulSet does not select by it, so that the pod stays the StatefulSet's.
func ServingLabels(cluster string) map[string]string { return Labels(cluster) }

// Labels are on every child.
func Labels(cluster string) map[string]string {
	l := SelectorLabels(cluster)
	l[LabelManagedBy] = ManagedBy
	return l
}

// meta is the metadata that all children share.
func meta(c *v1.RaftCluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: c.Namespace,
		Labels:    Labels(c.Name),
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(c, v1.GroupVersion.WithKind(v1.RaftClusterKind)),
		},
	}
}
