// Package admin is the interface through which the operator and raftctl steer one node: what a node
// tells of itself, bootstrap, membership changes and the hand-over of leadership. It travels over rpc on
// the peer port and needs the cluster's admin token; a node that was given none refuses it. The package promises that every
// call may be repeated, that a call decided on an outdated membership is refused, and that whoever waits for a new
// status misses none.
//
// The token travels unencrypted: the peer port belongs on a network that is trusted.
package admin
