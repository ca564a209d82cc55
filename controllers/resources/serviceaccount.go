package resources

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// ServiceAccount of the pods. It has no rights, and its token is not mounted: a node never speaks to Kubernetes.
func ServiceAccount(c *v1.RaftCluster) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   meta(c, ServiceAccountName(c.Name)),
		AutomountServiceAccountToken: ptr.To(false),
	}
}
