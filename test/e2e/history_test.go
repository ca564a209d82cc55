//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// registerOperations are made on one shared key before its clients turn to the next: few enough that an order is found at once,
	// also when some of them have no known end.
	registerOperations = 60
	// checkTimeout bounds the search for an order of one key's operations.
	checkTimeout = time.Minute
)

// operation is a read or a write of a shared key as its client saw it. Values are unique, so that a read tells which write it saw.
type operation struct {
	client int
	read   bool
	key    string
	value  string // written or read; "" is no key
	// revision is the one that the answer names; 0 when nobody knows it.
	revision   uint64
	call, done time.Duration
	// known is whether the client was answered. What is not answered may take effect at any time after the call.
	known bool
}

func (o *operation) String() string {
	what, until := "put", "?"
	if o.read {
		what = "get"
	}
	if o.known {
		until = o.done.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%v..%s client %d: %s %q revision %d", o.call.Round(time.Millisecond), until, o.client, what, o.value, o.revision)
}

// history is what several clients did to a row of shared keys, one key after the other.
type history struct {
	prefix string
	began  time.Time

	mu      sync.Mutex
	ended   bool                    // no more operations begin
	begun   int                     // operations
	flying  map[string]int          // key to operations without an end yet
	byKey   map[string][]*operation // of keys that were not checked yet
	checked int                     // operations
}

func newHistory(prefix string) *history {
	return &history{prefix: prefix, began: time.Now(), flying: map[string]int{}, byKey: map[string][]*operation{}}
}

// begin starts an operation on the key whose turn it is.
func (h *history) begin(client int, read bool) *operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &operation{client: client, read: read, key: h.key(h.begun / registerOperations), call: time.Since(h.began)}
	if !read {
		o.value = fmt.Sprintf("%d by %d", h.begun, client)
	}
	h.begun++
	h.flying[o.key]++
	return o
}

func (h *history) key(n int) string { return fmt.Sprintf("%s%06d", h.prefix, n) }

// finish takes an operation that has come to its end. One that had no effect is forgotten: if it had one, reads would not be explained.
func (h *history) finish(o *operation, effect bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.done = time.Since(h.began)
	h.flying[o.key]--
	if effect && (o.known || !o.read) {
		h.byKey[o.key] = append(h.byKey[o.key], o)
	}
}

// settled are the keys that nobody uses any more and that were not checked yet.
func (h *history) settled() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := h.key(h.begun / registerOperations)
	var keys []string
	for key := range h.byKey {
		if (key != current || h.ended) && h.flying[key] == 0 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// end says that no more operations begin, so that the last key can be checked, too.
func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
}

// checkable tells that at least one key was checked or can be.
func (h *history) checkable() bool {
	settled := h.settled()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.checked > 0 || len(settled) > 0
}

// check fails the test unless the operations on each of the keys have an order that explains what clients saw, and what all members
// hold now. It counts what it checked.
func (h *history) check(t *testing.T, keys []string, held map[string]string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		now := time.Since(h.began)
		all := append(h.byKey[key], &operation{client: -1, read: true, key: key, value: held[key], call: now, done: now, known: true})
		if err := linearizable(all); err != nil {
			slices.SortFunc(all, func(a, b *operation) int { return int(a.call - b.call) })
			t.Errorf("key %s: %v; its history:", key, err)
			for _, o := range all {
				t.Log(o)
			}
		}
		h.checked += len(all) - 1
		delete(h.byKey, key)
		delete(h.flying, key)
	}
}

// linearizable tells what is wrong with the operations on one key.
func linearizable(all []*operation) error {
	revisions := map[string]uint64{}
	for _, o := range all {
		if o.revision == 0 || o.value == "" {
			continue
		}
		if old, found := revisions[o.value]; found && old != o.revision {
			return fmt.Errorf("value %q was seen at the revisions %d and %d", o.value, old, o.revision)
		}
		revisions[o.value] = o.revision
	}
	seen := map[string]bool{}
	for _, o := range all {
		if o.read {
			seen[o.value] = true
		}
	}
	events := make([]porcupine.Operation, 0, len(all))
	for _, o := range all {
		if !o.known && !seen[o.value] {
			continue // if there is an order, there is one in which it comes last; and each of these doubles the search
		}
		e := porcupine.Operation{ClientId: o.client + 1, Input: o, Output: o, Call: int64(o.call), Return: int64(o.done)}
		if !o.known {
			e.Return = math.MaxInt64
		}
		events = append(events, e)
	}
	if result := porcupine.CheckOperationsTimeout(register(revisions), events, checkTimeout); result != porcupine.Ok {
		return fmt.Errorf("not linearizable: %v", result)
	}
	return nil
}

// registerState is what a key holds, and the highest revision that any write of it is known by.
type registerState struct {
	value string
	floor uint64
}

// register is the sequential specification of one key.
func register(revisions map[string]uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return registerState{} },
		Step: func(from, _, output any) (bool, any) {
			s, o := from.(registerState), output.(*operation)
			if o.read {
				return s.value == o.value, s
			}
			revision := revisions[o.value]
			if revision == 0 {
				return true, registerState{o.value, s.floor}
			}
			return revision > s.floor, registerState{o.value, revision}
		},
	}
}

// TestTheCheckerTellsRightFromWrong: it finds what a broken store would show to its clients, and nothing wrong with what a right one may.
func TestTheCheckerTellsRightFromWrong(t *testing.T) {
	put := func(from, to int, value string, revision uint64) *operation {
		return &operation{value: value, revision: revision, call: time.Duration(from), done: time.Duration(to), known: true}
	}
	get := func(from, to int, value string, revision uint64) *operation {
		o := put(from, to, value, revision)
		o.read = true
		return o
	}
	lost := func(from int, value string) *operation { return &operation{value: value, call: time.Duration(from)} }
	for _, x := range []struct {
		name  string
		right bool
		all   []*operation
	}{
		{"a read after a write", true, []*operation{put(0, 1, "a", 2), get(2, 3, "a", 2)}},
		{"a read beside a write", true, []*operation{put(0, 1, "a", 2), put(2, 9, "b", 3), get(3, 4, "b", 3), get(5, 6, "b", 3)}},
		{"a stale read", false, []*operation{put(0, 1, "a", 2), put(2, 3, "b", 3), get(4, 5, "a", 2)}},
		{"a lost write", false, []*operation{put(0, 1, "a", 2), get(2, 3, "", 0)}},
		{"a write of unknown outcome that is seen late", true, []*operation{put(0, 1, "a", 2), lost(2, "b"), get(3, 4, "a", 2), get(5, 6, "b", 3)}},
		{"a write of unknown outcome that comes and goes", false, []*operation{put(0, 1, "a", 2), lost(2, "b"), get(3, 4, "b", 3), get(5, 6, "a", 2)}},
		{"a write of unknown outcome that nobody saw", true, []*operation{put(0, 1, "a", 2), lost(2, "b"), get(3, 4, "a", 2)}},
		{"a write that was made twice", false, []*operation{put(0, 1, "a", 2), get(2, 3, "a", 3)}},
		{"revisions that run backwards", false, []*operation{put(0, 1, "a", 5), put(2, 3, "b", 4)}},
	} {
		if err := linearizable(x.all); (err == nil) != x.right {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
