// Package node runs one member: an event loop that owns the raft core, and around it the goroutines that
// store, send and apply. Any StateMachine can be replicated by it. It promises that nothing is acknowledged
// before a quorum has it on stable storage, and that every queue has a bound.
package node
