// Package sockets plays the stories of raft/sim/scenario over real sockets, real files and the real clock: members of package replica with
// the kv store on loopback addresses, whose connections go through the leaky network of rpc/rpctest. What the simulation proves for
// every order of events that a seed can bring about, this shows for the shells around the core.
//
// A story's words mean here:
//
//	run           waits that long
//	expect        a deadline is a multiple of the story's, since a machine may be busy; what must hold now may take a moment
//	cut, block    what one machine sends to another goes nowhere, as in a black hole, and dials wait; when that ends the connections break
//	loss          a chunk of bytes is lost, and its connection with it: that is how TCP shows loss
//	reorder       chunks are late, so that connections overtake each other; TCP doubles nothing, so duplicate does nothing
//	crash         the member stops with no time for a hand-over, and its port closes; power-loss is the same (test/chaos drops unsynced writes)
//	pause         nothing reaches the machine and nothing leaves it
//	compact keep  the members run with a short log
//	submit        one proposal to one member's core, outside of any session
//	              (a partition that strikes by chance lets them go on instead, with all that was under way)
//	allow         partitions, crashes, pauses and transfers strike by chance
//
// The history of all clients must be linearizable (porcupine).
package sockets
