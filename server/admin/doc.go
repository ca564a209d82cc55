// Package admin is the interface through which the operator and raftctl steer one node: what a node
// tells of itself, bootstrap, membership changes and the hand-over of leadership. It travels over rpc on
// the peer port and needs the cluster's admin token. The package promises that every call may be repeated
// and that a call decided on an outdated membership is refused.
package admin
