package node

import "sync"

// queue hands items from many goroutines to one, which takes all that wait at once. It holds leaf data only;
// its bounds are kept by whoever puts.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	spare []T
	bytes int
	// closed takes nothing more.
	closed bool
	// wake has room for one word: something waits. Queues that one goroutine empties share it.
	wake chan struct{}
}

func newWake() chan struct{} { return make(chan struct{}, 1) }

func newQueue[T any](wake chan struct{}) *queue[T] { return &queue[T]{wake: wake} }

// put adds an item unless the queue is closed, or is not empty and would pass its bounds (zero: none), and wakes the taker.
func (q *queue[T]) put(item T, size, maxItems, maxBytes int) (added bool) {
	added = q.add(item, size, maxItems, maxBytes)
	if added {
		poke(q.wake)
	}
	return added
}

// add is put without the waking, for those who see to it themselves.
func (q *queue[T]) add(item T, size, maxItems, maxBytes int) (added bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items) > 0 && ((maxItems > 0 && len(q.items) >= maxItems) || (maxBytes > 0 && q.bytes+size > maxBytes)) {
		return false
	}
	q.items = append(q.items, item)
	q.bytes += size
	return true
}

// close returns what waits; nothing is added any more.
func (q *queue[T]) close() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	return q.items
}

// poke wakes who waits for it.
func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// take returns all items; they are valid until the next call.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	clear(q.spare)
	q.items, q.spare, q.bytes = q.spare[:0], items, 0
	return items
}
