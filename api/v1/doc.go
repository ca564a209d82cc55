// Package v1 holds the Kubernetes API of raftkv, group raftkv.io: the RaftCluster that a user applies and
// the status that the operator reports. It promises that every value the API server accepted is one that
// the operator can carry out: all validation is in the markers, as CEL rules whose messages say what is
// allowed, and is tested on a real API server. It holds no behaviour and imports no other room.
//
// +kubebuilder:object:generate=true
// +groupName=raftkv.io
package v1
