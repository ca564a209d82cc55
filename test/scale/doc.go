// Package scale is a test of the operator with many RaftClusters: the real program, against a real control plane
// (kube-apiserver with a raftkv node as its store, kube-controller-manager, kube-scheduler), on a machine that could never run
// their pods. kwok plays the Kubernetes nodes and makes pods run and ready; the test itself makes the volumes, and answers the
// admin calls at each pod's address as the node of a small Raft group that agrees with itself.
//
// It counts what the operator asks of the API server, by the audit log, which knows it by its certificate, and what the operator's
// process takes of the machine, by /proc. -scale.clusters says how many RaftClusters there are, -scale.rest how long they are
// watched at rest.
//
// Everything runs in namespaces of its own: the pods' addresses exist on a loopback interface that nobody else sees,
// and all processes end with the test, however it ends. That needs root, or a kernel that lets users make namespaces.
//
// It does not show how fast nodes elect, replicate or catch up: the answers are the protocol's, the delays are the test's.
package scale
