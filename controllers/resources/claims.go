package resources

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// ClaimOwners are the owner references that a claim is to have, given those that it has. The RaftCluster is among them if whenDeleted says that the claim
// goes with it: the garbage collector deletes it then, where no operator runs, too. inUse says that a pod has the claim or is to have it; one that was
// kept when its pod went gets no new owner, nor does one that goes with an earlier RaftCluster of the name. Its StatefulSet is never among
// them. Owners of others' making stay.
func ClaimOwners(c *v1.RaftCluster, have []metav1.OwnerReference, inUse bool) []metav1.OwnerReference {
	goes := c.Spec.Storage.RetentionPolicy.WhenDeleted == v1.DeleteVolumes
	owned := false
	out := slices.DeleteFunc(slices.Clone(have), func(r metav1.OwnerReference) bool {
		switch {
		case r.Kind == "StatefulSet" && r.Name == StatefulSetName(c.Name):
			return true
		case r.UID == c.UID:
			owned = true
			return !goes
		case r.Kind == "RaftCluster":
			owned = true
		}
		return false
	})
	if goes && !owned && inUse {
		out = append(out, metav1.OwnerReference{APIVersion: v1.GroupVersion.String(), Kind: "RaftCluster", Name: c.Name, UID: c.UID})
	}
	return out
}
