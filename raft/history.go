package raft

// history holds the values of one kind that entries of the log brought, oldest first. The last one is in force; those
// before it come back when the log is truncated. It is never empty.
type history[T any] struct {
	steps []historyStep[T]
}

type historyStep[T any] struct {
	index Index // of the entry that brought it
	value T
}

func historyOf[T any](index Index, value T) history[T] {
	return history[T]{steps: []historyStep[T]{{index, value}}}
}

func (h *history[T]) last() *historyStep[T] { return &h.steps[len(h.steps)-1] }

func (h *history[T]) push(index Index, value T) {
	h.steps = append(h.steps, historyStep[T]{index, value})
}

// before returns the value that was in force before the last one.
func (h *history[T]) before() (value T, ok bool) {
	if len(h.steps) < 2 {
		return value, false
	}
	return h.steps[len(h.steps)-2].value, true
}

// at returns the value in force at index, or the oldest one that is known.
func (h *history[T]) at(index Index) T {
	n := len(h.steps) - 1
	for n > 0 && h.steps[n].index > index {
		n--
	}
	return h.steps[n].value
}

// truncate forgets what entries from index on brought, and tells whether that was anything.
func (h *history[T]) truncate(index Index) bool {
	n := len(h.steps)
	for n > 1 && h.steps[n-1].index >= index {
		n--
	}
	dropped := n < len(h.steps)
	h.steps = h.steps[:n:n]
	return dropped
}

// compact forgets what nothing behind index can go back to.
func (h *history[T]) compact(index Index) {
	for len(h.steps) > 1 && h.steps[1].index <= index {
		h.steps = h.steps[1:]
	}
}
