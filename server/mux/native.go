package mux

import (
	"github.com/raftkv/raftkv/rpc"
)

// Native matches the greeting of package rpc, which no HTTP method begins with.
func Native(prefix []byte) Verdict {
	n := min(len(prefix), len(rpc.Magic))
	switch {
	case string(prefix[:n]) != rpc.Magic[:n]:
		return No
	case n < len(rpc.Magic):
		return More
	}
	return Yes
}
