package resources

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// HeldTemplate keeps a pod template of that digest, which the caller fills in. It is not of the pods' component, so that the StatefulSet's selector does
// not find it.
func HeldTemplate(c *v1.RaftCluster, digest string) *appsv1.ControllerRevision {
	m := meta(c, HeldTemplateName(c.Name, digest))
	delete(m.Labels, LabelComponent)
	return &appsv1.ControllerRevision{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ControllerRevision"},
		ObjectMeta: m,
		Revision:   1,
	}
}
