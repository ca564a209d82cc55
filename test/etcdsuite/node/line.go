package main

import (
	"slices"
	"strings"
)

// addressed are flags whose values have addresses of members.
var addressed = []string{"--listen-peer-urls", "--initial-advertise-peer-urls", "--initial-cluster"}

// members gives members that are to have sockets addresses instead: raftkv's are dialled by host and port. Etcd's tests name them host:port, too.
func members(args []string) []string {
	out := slices.Clone(args)
	for i := range out {
		name, _, joined := strings.Cut(out[i], "=")
		if !slices.Contains(addressed, name) {
			continue
		}
		at := i
		if !joined {
			at = min(i+1, len(out)-1)
		}
		out[at] = strings.NewReplacer("unixs://", "https://", "unix://", "http://").Replace(out[at])
	}
	return out
}
