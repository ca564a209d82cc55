package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of the conditions of a RaftCluster.
const (
	// ConditionReady is True while the cluster is as the spec asks: all members vote and are caught up, all pods ready.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator works towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while the operator cannot go on without a person; the message says why and what to do.
	ConditionStalled = "Stalled"
	// ConditionAvailable is True while the cluster has a leader and so accepts writes.
	ConditionAvailable = "Available"
	// ConditionDegraded is True while a member is missing, unhealthy or behind.
	ConditionDegraded = "Degraded"
	// ConditionHibernated is True while the cluster has no pods, as the spec asks.
	ConditionHibernated = "Hibernated"
)

// RaftClusterStatus is the cluster as the operator last saw it. Numbers that do not fit a JSON number are strings.
type RaftClusterStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// clusterID identifies the Raft group: hexadecimal, set once, and anew when the cluster was rebuilt by spec.recovery.
	// +optional
	ClusterID string `json:"clusterID,omitempty"`
	// bootstrap is the decision, recorded before it is carried out, which node founds the cluster.
	// +optional
	Bootstrap *BootstrapStatus `json:"bootstrap,omitempty"`
	// recovery is the decision, recorded before it is carried out, from which member a lost cluster is rebuilt; it stays when that was done.
	// +optional
	Recovery *RecoveryStatus `json:"recovery,omitempty"`
	// hibernation is what the cluster was before it went to rest.
	// +optional
	Hibernation *HibernationStatus `json:"hibernation,omitempty"`
	// goodRevision is the revision of the pods' template with which all pods were last ready: what a failed update goes back to.
	// +optional
	GoodRevision string `json:"goodRevision,omitempty"`
	// heldTemplate is the ControllerRevision that keeps the pods' template in force while the spec's is held back, because updates are paused or
	// it failed: a StatefulSet that is deleted meanwhile comes back with it.
	// +optional
	HeldTemplate string `json:"heldTemplate,omitempty"`
	// image that all members were last ready with, or the operator's default for a new cluster whose spec names none. It is what a spec without an image
	// asks for.
	// +optional
	Image string `json:"image,omitempty"`
	// replicas is the number of the cluster's pods.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// readyReplicas is the number of pods that are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// selector finds the cluster's pods.
	// +optional
	Selector string `json:"selector,omitempty"`
	// leader of the cluster, absent while there is none.
	// +optional
	Leader *LeaderStatus `json:"leader,omitempty"`
	// members of the Raft group, as its leader last told.
	// +listType=map
	// +listMapKey=id
	// +optional
	Members []MemberStatus `json:"members,omitempty"`
	// version that all members run; during an update the one that they come from.
	// +optional
	Version string `json:"version,omitempty"`
	// conditions: Ready, Reconciling, Stalled, Available, Degraded, Hibernated.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BootstrapStatus names the one node that is to found the cluster.
type BootstrapStatus struct {
	// clusterID that the new cluster gets, hexadecimal.
	ClusterID string `json:"clusterID"`
	// pod whose node founds the cluster.
	Pod string `json:"pod"`
	// incarnation of that node's data directory, hexadecimal: no other one is ever asked.
	Incarnation string `json:"incarnation"`
}

// LeaderStatus is the member that leads.
type LeaderStatus struct {
	// name of the leader, which is its pod's.
	Name string `json:"name"`
	// id of the leader, hexadecimal.
	ID string `json:"id"`
	// term in which it leads, decimal.
	Term string `json:"term"`
}

// MemberStatus is one member of the Raft group.
type MemberStatus struct {
	// name of the member, which is its pod's.
	Name string `json:"name"`
	// id of the member, hexadecimal. It is never used again once the member was removed.
	ID string `json:"id"`
	// role of the member.
	// +kubebuilder:validation:Enum=leader;follower;learner
	Role string `json:"role"`
	// healthy: the leader hears from the member and it is caught up.
	Healthy bool `json:"healthy"`
	// version of the member's program, if it answers.
	// +optional
	Version string `json:"version,omitempty"`
}
