package sim

import (
	"math"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/raftkv/raftkv/raft"
)

// operation is one thing that a client did, as the client saw it.
type operation struct {
	session      uint64
	firstAttempt uint64
	key          int
	kind         opKind
	value, old   uint64
	call         time.Duration

	known  bool // it was answered
	done   time.Duration
	result result
	index  raft.Index // of the state that answered, or of the entry
}

func (op *operation) answered(now time.Duration, r reply) {
	op.known, op.done, op.result, op.index = true, now, r.result, r.index
}

// history is all that clients did.
type history struct {
	nonces     uint64 // of sessions
	values     uint64
	operations []*operation
	recent     map[int]uint64 // by key: the value that was written last, as far as clients know
}

// freshValue returns a value that nobody wrote before, so that a read tells which write it saw.
func (h *history) freshValue(key int) uint64 {
	h.values++
	if h.recent == nil {
		h.recent = map[int]uint64{}
	}
	h.recent[key] = h.values
	return h.values
}

// recentValue is what a swap may expect: often the last value.
func (h *history) recentValue(r *random, key int) uint64 {
	if r.chance(0.2) {
		return uint64(r.n(int(h.values + 1)))
	}
	return h.recent[key]
}

func (h *history) add(op *operation) { h.operations = append(h.operations, op) }

// check tells whether some order of all operations, each at a moment between its call and its answer, explains what
// clients saw (linearizability).
func (h *history) check() {
	byKey := map[int][]porcupine.Operation{}
	keys := []int{}
	for i, op := range h.operations {
		if !op.known && op.kind == opRead {
			continue
		}
		x := porcupine.Operation{ClientId: int(op.session), Input: h.operations[i], Call: int64(op.call), Output: op, Return: int64(op.done)}
		if !op.known {
			x.Return = math.MaxInt64 // it may take effect any time
		}
		if len(byKey[op.key]) == 0 {
			keys = append(keys, op.key)
		}
		byKey[op.key] = append(byKey[op.key], x)
	}
	sort.Ints(keys)
	for _, key := range keys {
		if !porcupine.CheckOperations(register, byKey[key]) {
			fail("linearizability", "no order of the %d operations on register %d explains what clients saw", len(byKey[key]), key)
		}
	}
}

// register is the sequential specification of one register.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, _, output any) (bool, any) {
		value, op := state.(uint64), output.(*operation)
		switch op.kind {
		case opRead:
			return op.result.value == value, state
		case opWrite:
			return true, op.value
		}
		matches := value == op.old
		if op.known && op.result.swapped != matches {
			return false, state
		}
		if matches {
			return true, op.value
		}
		return true, state
	},
}
