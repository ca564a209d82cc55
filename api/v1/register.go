package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package's kinds.
var GroupVersion = schema.GroupVersion{Group: "raftkv.io", Version: "v1"}

// RaftClusterKind is the kind of RaftCluster.
const RaftClusterKind = "RaftCluster"

// AddToScheme registers the kinds of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &RaftCluster{}, &RaftClusterList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
