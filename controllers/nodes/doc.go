// Package nodes is the operator's only way to the nodes: it follows the status of each pod's node as a stream, so that
// a change of leadership wakes the reconcile loop at once, and gives access to the admin service of a node.
//
// It promises one connection and one goroutine per pod that is followed, none for pods that are not, and that an answer
// is never taken for that of another pod. It does not decide what an answer means, nor repeat a call that changes something.
package nodes
