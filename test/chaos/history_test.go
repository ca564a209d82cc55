//go:build linux

package chaos

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// kind is what an operation asked for.
type kind int

const (
	read kind = iota
	put
	create // If-None-Match: *
	swap   // If-Match
	remove
)

func (k kind) String() string { return [...]string{"get", "put", "create", "swap", "delete"}[k] }

// operation is one request on one key, as its client saw it. Values are unique, so that a read tells which write it saw.
type operation struct {
	client int
	kind   kind
	key    string
	value  string
	// oldValue is what a swap expects: the value that had the mod revision in its If-Match.
	oldValue string
	call     time.Duration
	done     time.Duration
	reply    reply
}

func (o *operation) String() string {
	until := o.done.Round(time.Millisecond).String()
	if o.reply.outcome == unknown {
		until = "?"
	}
	return fmt.Sprintf("%v..%s client %d: %v %s %q (expecting %q) -> %v %d %q revision %d", o.call.Round(time.Millisecond), until, o.client,
		o.kind, o.key, o.value, o.oldValue, o.reply.outcome, o.reply.status, o.reply.value, o.reply.revision)
}

// history is all that clients did.
type history struct {
	began time.Time

	mu         sync.Mutex
	byKey      map[string][]*operation
	outcomes   map[string]int
	acks       []time.Duration // of writes, in order
	complaints []string
}

func newHistory() *history {
	return &history{began: time.Now(), byKey: map[string][]*operation{}, outcomes: map[string]int{}}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// add takes an operation that has come to its end.
func (h *history) add(o *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	label := o.reply.outcome.String()
	if o.reply.outcome == answered {
		label = fmt.Sprint(o.reply.status)
	}
	h.outcomes[fmt.Sprintf("%v %s", o.kind, label)]++
	if o.reply.outcome == wrong {
		h.complaints = append(h.complaints, o.String()+": "+o.reply.text)
	}
	if o.kind != read && o.reply.outcome == answered && o.reply.status == http.StatusOK {
		h.acks = append(h.acks, o.done)
	}
	h.byKey[o.key] = append(h.byKey[o.key], o)
}

// acknowledged counts the writes that were acknowledged since then.
func (h *history) acknowledged(since time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := 0
	for i := len(h.acks) - 1; i >= 0 && h.acks[i] > since; i-- {
		count++
	}
	return count
}

// longestGap is the longest time without an acknowledged write that touches the time since from.
func (h *history) longestGap(from time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Clients write their acknowledgements down a little out of order.
	i := max(0, len(h.acks)-1)
	for i > 0 && h.acks[i] > from {
		i--
	}
	last := slices.Clone(h.acks[i:])
	slices.Sort(last)
	var longest time.Duration
	for j := 1; j < len(last); j++ {
		longest = max(longest, last[j]-last[j-1])
	}
	return longest
}

// finish adds a read of every key that was ever used: what all nodes held in the end.
func (h *history) finish(held map[string]item, call, done time.Duration) {
	h.mu.Lock()
	keys := make([]string, 0, len(h.byKey))
	for key := range h.byKey {
		keys = append(keys, key)
	}
	h.mu.Unlock()
	for _, key := range keys {
		r := reply{status: http.StatusNotFound}
		if x, there := held[key]; there {
			r = reply{status: http.StatusOK, value: string(x.Value), revision: x.ModRevision}
		}
		h.add(&operation{client: -1, kind: read, key: key, call: call, done: done, reply: r})
	}
	for key := range held {
		if !slices.Contains(keys, key) && !strings.HasPrefix(key, pairPrefix) {
			h.complaints = append(h.complaints, fmt.Sprintf("a key that nobody wrote: %q", key))
		}
	}
}

// checkTimeout bounds the search for an order of one key's operations.
const checkTimeout = 30 * time.Second

// check fails the test unless some order of all operations, each at a moment between its call and its answer, explains what
// clients saw.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.complaints {
		t.Error(c)
	}
	operations := 0
	for key, all := range h.byKey {
		operations += len(all)
		if err := linearizable(all); err != nil {
			slices.SortFunc(all, func(a, b *operation) int { return int(a.call - b.call) })
			t.Errorf("key %s: %v; its history:", key, err)
			for _, o := range all {
				t.Log(o)
			}
		}
	}
	t.Logf("%d operations on %d keys: %v", operations, len(h.byKey), h.outcomes)
}

// linearizable tells what is wrong with the operations on one key.
func linearizable(all []*operation) error {
	revisions, err := revisionsOf(all)
	if err != nil {
		return err
	}
	var events []porcupine.Operation
	for _, o := range all {
		if o.reply.outcome == refused || o.reply.outcome == wrong || o.kind == read && o.reply.outcome == unknown {
			continue // it had no effect: if it had, reads would not be explained
		}
		e := porcupine.Operation{ClientId: o.client + 1, Input: o, Output: o, Call: int64(o.call), Return: int64(o.done)}
		if o.reply.outcome == unknown {
			e.Return = math.MaxInt64 // it may take effect any time
		}
		events = append(events, e)
	}
	if result := porcupine.CheckOperationsTimeout(register(revisions), events, checkTimeout); result != porcupine.Ok {
		return fmt.Errorf("not linearizable: %v", result)
	}
	return nil
}

// revisionsOf collects the mod revision of every value that anyone saw. A value that has two was written twice.
func revisionsOf(all []*operation) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, o := range all {
		if o.reply.outcome != answered || o.reply.status != http.StatusOK || o.kind == remove {
			continue
		}
		value := o.value
		if o.kind == read {
			value = o.reply.value
		}
		if old, known := out[value]; known && old != o.reply.revision {
			return nil, fmt.Errorf("value %q was seen at the revisions %d and %d", value, old, o.reply.revision)
		}
		out[value] = o.reply.revision
	}
	return out, nil
}

// state is what a register holds: a value, or "" when there is none, and the highest revision that any change of it is known by.
type state struct {
	value string
	floor uint64
}

// write changes the value; the revision is 0 when nobody knows it.
func (s state) write(value string, revision uint64) (bool, any) {
	switch {
	case revision == 0:
		return true, state{value, s.floor}
	case revision <= s.floor:
		return false, s
	}
	return true, state{value, revision}
}

// register is the sequential specification of one key.
func register(revisions map[string]uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(from, _, output any) (bool, any) {
			s, o := from.(state), output.(*operation)
			known, ok := o.reply.outcome == answered, o.reply.status == http.StatusOK
			switch o.kind {
			case read:
				return s.value == o.reply.value, s
			case put:
				if known && !ok {
					return false, s
				}
				return s.write(o.value, revisions[o.value])
			case remove:
				if known && ok != (s.value != "") {
					return false, s
				}
				if s.value == "" {
					return true, s
				}
				return s.write("", o.reply.revision)
			}
			holds := s.value == o.oldValue // a create expects none
			if known && ok != holds {
				return false, s
			}
			if holds {
				return s.write(o.value, revisions[o.value])
			}
			if known && (o.reply.revision == 0) != (s.value == "") {
				return false, s
			}
			at, seen := revisions[s.value]
			return !known || s.value == "" || !seen || at == o.reply.revision, s
		},
	}
}
