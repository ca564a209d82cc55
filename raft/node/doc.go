// Package node runs one member: turns with the raft core, and around it the goroutines that store, send and apply. Any
// StateMachine can be replicated by it. It promises that nothing is acknowledged before a quorum has it on stable storage, that
// every queue has a bound, and that a turn waits for no disk, network or state machine, so that heartbeats do not either.
//
// One goroutine at a time is at the core. Mostly it is the loop, which takes all that waits as one batch. Whoever brings news, a
// connection's reader or the goroutine that stores, takes the turn itself when the core is free (hasten): the way of a lone
// proposal is then half as many switches of goroutines. It leaves to the loop what comes seldom: leaders, memberships and the like.
//
// Stop refuses what comes, hands leadership over, waits for the answers of what was taken, and answers the rest: applied, surely
// not, or not known.
package node
