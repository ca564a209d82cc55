// Package chaos is a test of the store by real processes: it compiles raftkv-node, runs clusters of one, three and five of them on
// the loopback interface, lets clients write and read through the REST API, run transactions over pairs of keys and watch them through
// etcd's while nodes are killed, paused, cut off, wiped and robbed of power, and then checks that what the clients saw is linearizable, that all
// watches told the same (all that was written, in its order, nothing twice, each revision in one piece), and that all nodes hold the same.
//
// What happens when is drawn from a seed, which is printed: -chaos.seed repeats the schedule of faults (the processes' own timing
// is not repeatable). -chaos.duration makes it go on for longer than one round of all faults. Logs of the nodes are kept with
// -artifacts.
//
// It promises to kill only processes that it started, and to leave nothing behind. It does not promise to find what depends
// on the order of events inside a node: that is what the simulation is for.
package chaos
