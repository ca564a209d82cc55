// Command mutants puts classic bugs into the consensus core, the log and their arithmetic, one at a time, and demands that
// the simulation (raft/sim) catches each of them. The sources are not touched: a bug is a replacement in a copy of
// a file, which the compiler sees in its place (go build -overlay). A bug that does not fit its file any more
// fails, here and in the unit test.
//
// It promises nothing about bugs that are not in its list.
package main
