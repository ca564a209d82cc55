// Package mutants puts known bugs into the sources, one at a time, and demands that a simulation catches each of them. The sources are not
// touched: a bug is replacements in a copy of a file, which the compiler sees in its place (go build -overlay). A bug that does not fit
// its file any more is an error, here and in Fit, which a unit test calls. So is a seed that catches one and fails without it.
//
// It promises nothing about bugs that are not in a list.
package mutants
