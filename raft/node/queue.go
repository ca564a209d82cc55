package node

import "sync"

// queue hands items from many goroutines to one, which takes all that wait at once. It holds leaf data only;
// its bounds are kept by whoever puts.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	spare []T
	bytes int
	wake  chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// put adds an item unless the queue is not empty and would pass its bounds (zero: none).
func (q *queue[T]) put(item T, size, maxItems, maxBytes int) (added bool) {
	q.mu.Lock()
	if len(q.items) > 0 && ((maxItems > 0 && len(q.items) >= maxItems) || (maxBytes > 0 && q.bytes+size > maxBytes)) {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, item)
	q.bytes += size
	q.mu.Unlock()
	q.poke()
	return true
}

// poke wakes the taker.
func (q *queue[T]) poke() {
	select {
	case q.wake <- struct{}{}:
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
