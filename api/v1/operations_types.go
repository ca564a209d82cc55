package v1

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RecoverySpec is a person's consent to go on without what only lost members held. It is followed once, since the cluster that it names is
// another one afterwards, and only when no quorum of that cluster can ever come back.
//
// +kubebuilder:validation:XValidation:rule="self.acknowledgeDataLoss",message="recovery.acknowledgeDataLoss must be true: writes that were acknowledged may be lost, and this says that you know"
type RecoverySpec struct {
	// clusterID of the cluster that has lost its quorum, as status.clusterID says it: hexadecimal. The member that holds most founds a new one in
	// its place, under a new ID.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{1,16}$')",message="recovery.clusterID must be a cluster ID as status.clusterID says it: up to 16 hexadecimal digits"
	// +kubebuilder:validation:MaxLength=64
	ClusterID string `json:"clusterID"`
	// acknowledgeDataLoss says that you know that acknowledged writes may be lost. It must be true.
	// +required
	AcknowledgeDataLoss bool `json:"acknowledgeDataLoss"`
	// startEmpty allows to begin without any data where no member is left. Where one is left it changes nothing.
	// +optional
	StartEmpty bool `json:"startEmpty,omitempty"`
}

// ReplacementSpec says when a member begins anew with an empty volume.
type ReplacementSpec struct {
	// unreachableAfter is for how long a member may be unreachable before its claim is deleted, with the data in it, so that it begins anew
	// elsewhere: from 1m to 168h. It happens to one member at a time, while all others are healthy, and not to a claim that is younger
	// than six times this. What counts is for how long the operator itself has seen the member gone, without a break and under a leader: another
	// operator begins to count anew. Left out, it never happens, and a person deletes the claim and the pod.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$') && self.size() > 0 && duration(self) >= duration('1m') && duration(self) <= duration('168h')",message="replacement.unreachableAfter must be a duration from 1m to 168h in whole seconds, such as 30m"
	// +optional
	UnreachableAfter *metav1.Duration `json:"unreachableAfter,omitempty"`
}

// NetworkPolicySpec says who may connect to the members.
type NetworkPolicySpec struct {
	// enabled makes a NetworkPolicy: the peer port is open to the members and to pods of the operator (those with the label
	// app.kubernetes.io/name=raftkv-operator), the metrics port to all, the client port to clients.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// clients may connect to the client port. Left out, all may.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Clients []networkingv1.NetworkPolicyPeer `json:"clients,omitempty"`
}

// RecoveryStatus is the decision, recorded before it is carried out, from which member a lost cluster is rebuilt.
type RecoveryStatus struct {
	// from is the ID of the cluster that was lost, hexadecimal.
	From string `json:"from"`
	// clusterID that the rebuilt cluster has, hexadecimal.
	ClusterID string `json:"clusterID"`
	// pod whose node founds the new cluster.
	Pod string `json:"pod"`
	// incarnation of that node's data directory, hexadecimal: no other one is ever asked.
	Incarnation string `json:"incarnation"`
	// empty: no member was left, so that the new cluster began without data.
	// +optional
	Empty bool `json:"empty,omitempty"`
}

// HibernationStatus is what the cluster was before it went to rest.
type HibernationStatus struct {
	// pods is the number of pods that it had and gets again.
	Pods int32 `json:"pods"`
}
