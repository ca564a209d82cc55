package sockets

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

type opKind int

const (
	opRead opKind = iota
	opWrite
	opSwap
)

// operation is one attempt of a client, as the client saw it.
type operation struct {
	kind       opKind
	key        string
	value, old uint64 // that it writes, and that a swap expects; a read finds value
	swapped    bool
	call, done time.Duration
	known      bool
}

// history is what all clients did.
type history struct {
	mu         sync.Mutex
	began      time.Time
	operations []*operation
}

func (h *history) now() time.Duration {
	if h.began.IsZero() {
		h.began = time.Now()
	}
	return time.Since(h.began)
}

// begin notes an attempt; until it is answered it may take effect at any time.
func (h *history) begin(kind opKind, key string, value, old uint64) *operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := &operation{kind: kind, key: key, value: value, old: old, call: h.now()}
	h.operations = append(h.operations, op)
	return op
}

// answered notes the end of an attempt.
func (h *history) answered(op *operation, value uint64, swapped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.known, op.done = true, h.now()
	if op.kind == opRead {
		op.value = value
	}
	op.swapped = swapped
}

// drop takes back an attempt that surely had no effect.
func (h *history) drop(op *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.operations, op); i >= 0 {
		h.operations = slices.Delete(h.operations, i, i+1)
	}
}

// checkTimeout bounds the search for an order of one register's operations.
const checkTimeout = 30 * time.Second

// check tells whether some order of all operations, each at a moment between its call and its answer, explains what clients saw.
func (h *history) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	byKey := map[string][]porcupine.Operation{}
	for _, op := range h.operations {
		if !op.known && op.kind == opRead {
			continue
		}
		x := porcupine.Operation{Input: op, Output: op, Call: int64(op.call), Return: int64(op.done)}
		if !op.known {
			x.Return = math.MaxInt64
		}
		x.ClientId = len(byKey[op.key])
		byKey[op.key] = append(byKey[op.key], x)
	}
	for key, operations := range byKey {
		switch porcupine.CheckOperationsTimeout(register, operations, checkTimeout) {
		case porcupine.Illegal:
			return fmt.Errorf("no order of the %d operations on %s explains what clients saw", len(operations), key)
		case porcupine.Unknown:
			return errors.New("no order of the operations on " + key + " was found in time")
		}
	}
	return nil
}

// register is the sequential specification of one register.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, _, output any) (bool, any) {
		value, op := state.(uint64), output.(*operation)
		switch op.kind {
		case opRead:
			return op.value == value, state
		case opWrite:
			return true, op.value
		}
		matches := value == op.old
		if op.known && op.swapped != matches {
			return false, state
		}
		if matches {
			return true, op.value
		}
		return true, state
	},
}
