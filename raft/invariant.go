package raft

import "fmt"

// broken stops the program when the core finds itself in a state that the protocol rules out. Going on would put
// data at risk; a node that stops does not. The check stands at the caller, so that it costs nothing when it holds.
func broken(format string, args ...any) {
	panic("raft: broken invariant: " + fmt.Sprintf(format, args...))
}
