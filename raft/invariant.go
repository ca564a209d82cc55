package raft

import "fmt"

// invariant stops the program when the core finds itself in a state that the protocol rules out. Going on would
// put data at risk; a node that stops does not.
func invariant(holds bool, format string, args ...any) {
	if !holds {
		panic("raft: broken invariant: " + fmt.Sprintf(format, args...))
	}
}
