// Package local offers the state machine of this node as a backend.Store: what needs the cluster goes through the log, the rest is
// answered here. It also does what a leader owes its store: leases end, history is given up, and a store that is full is known to all.
package local
