// Package scenario plays stories about a cluster, each a text file that a person can read, in the simulation of raft/sim:
// the real core, log and state machine in virtual time, without any fault but those of the story.
//
// It promises that a story and a seed play the same way each time, that all invariants of raft/sim are checked after every step
// and linearizability at the end, and that a story which does not go as it says fails with the file and line, what was told
// so far, and the trace of what the machines did. It says nothing about real sockets and files; test/sockets plays the same stories on those.
//
// # How a story is written
//
// One sentence a line; # begins a comment. Machines are numbered from 1. Wherever machines are named, these
// may stand, joined by commas: a number; all, up, down; leader (of the highest term), claimants (all that believe to lead),
// follower, followers; any, any-up, any-down (by chance); a name that let has given; behind them, "but" and those to
// leave out. Registers are called a to z.
//
//	cluster 5 [with 2 spares]     begins, with empty machines behind the others; one-by-one at the end: each append
//	                              message carries one entry; leases: reads need no round while a lease holds
//	let A = leader                gives a name to machines
//	run 5s | run 10ms..500ms      lets time pass
//	elect [among 1,2,3]           waits until one leads, has committed in its term, and all that it reaches follow
//	settle                        waits until all that run are equal, everything committed is applied, and the leader knows
//	mark                          counters, "changed" and "agreement" count from here
//
//	put x 10 [at 2]               a client writes and is answered; get x = 10 and swap x 10 11 [fails] likewise; a machine
//	                              that follows hands writes on to its leader
//	start put x 10 [at 2]         does not wait for the answer; start get x
//	submit x 10 to leader         proposes to one machine, which must take it, and waits for nothing
//	submit 50 to leader           the same for many writes
//	offer 5 to all                the same, but machines may refuse
//	clients 5 | clients stop      clients that do random operations
//
//	cut 1,2                       separates each from everyone else; reconnect 1 ends that
//	cut 1 from 2,3                cuts these links; block 1 -> 2 loses what goes that way only
//	partition 1,2 | rest          cuts between groups, instead of the groups before
//	heal                          ends all cuts, partitions, blocks, loss, doubling and reordering
//	loss 20%, duplicate 10%, reorder 10%, latency 1ms..5ms
//
//	crash 3 | power-loss 3        the program ends; a power loss also drops what was not synced, and tells nobody
//	restart all | pause 2 3s | wipe 3
//	compact keep 5                the machines compact their logs all the time
//	allow partition,crash         kinds of faults of raft/sim that strike by chance, until forbid (or forbid all)
//
//	add 4, promote 4, remove 4    change the membership and wait until that is committed
//	remove lost 4                 the member that 4 had before its disk was lost
//	cannot remove 4               the leader must refuse
//	change promote 4 and remove 3 several changes in one call, until the joint phase is over
//	transfer to 2
//
//	stall 2 3s                    the disk stands still; fill 2 takes all room from it, free 2 gives it back
//	rot 2                         bits of the log flip: the next start refuses it, and the machine begins anew
//
//	repeat 10 ... end             repeats the lines between
//	maybe 30% COMMAND             by chance
//	simulated COMMAND             in the simulation only: what real sockets cannot do or show
//
//	expect CONDITION [within 5s]  must hold now, or at some moment within that time
//
// The conditions:
//
//	one leader [among 1,2] | no leader [among 1,2]
//	leader is A | leader is not A | leader changed | leader unchanged
//	all applied equal [among 1,2]
//	x = 10 on all | x != 10 on 3
//	no agreement                  nothing was committed since the mark
//	all answered | N unanswered   of what was started
//	voters 1,2,3 | learners 4 | learners none
//	log <= 50 on all              entries of the log in memory
//	appends < 10                  any counter since the mark, with <, <=, =, >= or >; expect.go lists them
//	linearizable
package scenario
