// Package cluster is raftctl's view of RaftClusters in Kubernetes: it reads a cluster with its pods, claims, events and what its nodes say of themselves
// as one Observation, and makes the few changes that a person asks for. It promises that an Observation tells what it could not find out rather than
// leave it out, and that each change is one write under the reader's own rights, checked against the object that was read. What an observation
// means is decided elsewhere: package doctor.
package cluster
