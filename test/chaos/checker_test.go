//go:build linux

package chaos

import (
	"net/http"
	"testing"
	"time"
)

// The checker finds what a broken store would show to its clients, and nothing wrong with what a right one may.
func TestCheckerTellsRightFromWrong(t *testing.T) {
	at := func(from, to int, o operation) *operation {
		o.key, o.call, o.done = "k", time.Duration(from), time.Duration(to)
		return &o
	}
	ok := func(value string, revision uint64) reply {
		return reply{status: http.StatusOK, value: value, revision: revision}
	}
	none := reply{status: http.StatusNotFound}
	failed := func(current uint64) reply { return reply{status: http.StatusPreconditionFailed, revision: current} }
	lost := reply{outcome: unknown}
	for _, x := range []struct {
		name  string
		right bool
		all   []*operation
	}{
		{"a read after a write", true, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: read, reply: ok("a", 2)})}},
		{"a stale read", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: put, value: "b", reply: ok("", 3)}),
			at(4, 5, operation{kind: read, reply: ok("a", 2)})}},
		{"a lost write", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: read, reply: none})}},
		{"a write that was refused and made all the same", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: reply{outcome: refused}}), at(2, 3, operation{kind: read, reply: ok("a", 2)})}},
		{"a write of unknown outcome that is seen late", true, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: lost}), at(2, 3, operation{kind: read, reply: none}),
			at(4, 5, operation{kind: read, reply: ok("a", 2)})}},
		{"a write of unknown outcome that comes and goes", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: lost}), at(2, 3, operation{kind: read, reply: ok("a", 2)}),
			at(4, 5, operation{kind: read, reply: none})}},
		{"a write that was made twice", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: read, reply: ok("a", 3)})}},
		{"revisions that run backwards", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 5)}), at(2, 3, operation{kind: put, value: "b", reply: ok("", 4)})}},
		{"a swap that holds", true, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}),
			at(2, 3, operation{kind: swap, value: "b", oldValue: "a", reply: ok("", 3)}), at(4, 5, operation{kind: read, reply: ok("b", 3)})}},
		{"two swaps of one value", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}),
			at(2, 9, operation{kind: swap, value: "b", oldValue: "a", reply: ok("", 3)}),
			at(2, 9, operation{kind: swap, value: "c", oldValue: "a", reply: ok("", 4)})}},
		{"a swap that fails for no reason", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}),
			at(2, 3, operation{kind: swap, value: "b", oldValue: "a", reply: failed(2)})}},
		{"a failure that names another revision than the key has", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: create, value: "b", reply: failed(1)})}},
		{"a create over a key", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: create, value: "b", reply: ok("", 3)})}},
		{"a deletion of nothing", false, []*operation{at(0, 1, operation{kind: remove, reply: ok("", 2)})}},
		{"a key that comes back", false, []*operation{
			at(0, 1, operation{kind: put, value: "a", reply: ok("", 2)}), at(2, 3, operation{kind: remove, reply: ok("", 3)}),
			at(4, 5, operation{kind: read, reply: ok("a", 2)})}},
	} {
		if err := linearizable(x.all); (err == nil) != x.right {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
