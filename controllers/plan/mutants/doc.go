// Command mutants puts bugs into the operator's decider (controllers/plan), one at a time, and demands that its simulation, which runs it with the real consensus core,
// catches each of them (test/mutants).
//
// It promises nothing about bugs that are not in its list.
package main
