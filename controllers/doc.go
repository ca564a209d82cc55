// Package controllers is the operator: it brings each RaftCluster from what it is to what its spec asks for.
//
// A reconcile is four steps, each a file: observe gathers what Kubernetes and the nodes say, plan (package plan, a
// pure function) decides, act carries out at most one risky step and any safe ones, report writes the status.
// Nothing waits inside a reconcile: a step that takes time is seen to be done by a later one, which the node's status
// stream, a Kubernetes watch or a timer wakes. Every step can be repeated, so the operator may be killed at any
// point.
//
// It promises that a cluster is bootstrapped once, that no step of its own takes a quorum away, that data is kept
// unless the spec says otherwise in so many words, and that children which belong to something else are never
// touched. It does not judge nodes by timeouts of its own: who is healthy is what the cluster's leader says.
package controllers
