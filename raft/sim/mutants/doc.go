// Command mutants puts classic bugs into the consensus core, the log and their arithmetic, one at a time, and demands that
// the simulation (raft/sim) catches each of them (test/mutants).
//
// It promises nothing about bugs that are not in its list.
package main
