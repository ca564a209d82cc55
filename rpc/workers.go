package rpc

import "sync"

const (
	// idleWorkers is how many goroutines of a connection wait for the next call; a fresh one would have to grow its stack first.
	idleWorkers = 8
	// queuedCalls and queuedCallBytes bound the calls of one connection that were read and wait for a handler's goroutine.
	queuedCalls     = 1024
	queuedCallBytes = 8 << 20
)

// workers run the calls of one connection, at most MaxHandlers at the same time. There is no goroutine for each call: those that are
// there take one call after the other. As long as calls wait, one goroutine that has none yet is on its way, so a handler that blocks
// holds nobody up; one that is quick costs no switch.
type workers struct {
	run func(queuedCall)

	mu        sync.Mutex
	notEmpty  sync.Cond
	notFull   sync.Cond
	queue     []queuedCall // from head on
	head      int
	bytes     int
	total     int  // goroutines
	idle      int  // of them, those that wait
	searching bool // one was started or woken and has not taken a call yet
	closed    bool
	running   sync.WaitGroup
}

// queuedCall is a call on its way to its handler.
type queuedCall struct {
	received
	ctx *callContext
}

func newWorkers(run func(queuedCall)) *workers {
	w := &workers{run: run}
	w.notEmpty.L, w.notFull.L = &w.mu, &w.mu
	return w
}

// put hands a call over. It blocks while the queue is full; false means that the workers were closed.
func (w *workers) put(c queuedCall) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && w.waiting() > 0 && (w.waiting() >= queuedCalls || w.bytes+len(c.body) > queuedCallBytes) {
		w.notFull.Wait()
	}
	if w.closed {
		return false
	}
	if w.head >= queuedCalls { // never empty under load
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, c)
	w.bytes += len(c.body)
	w.search()
	return true
}

func (w *workers) length() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting()
}

func (w *workers) waiting() int { return len(w.queue) - w.head }

// search sees to it that a goroutine comes for what waits; mu is held.
func (w *workers) search() {
	switch {
	case w.searching || w.waiting() == 0:
	case w.idle > 0:
		w.searching = true
		w.idle--
		w.notEmpty.Signal()
	case w.total < MaxHandlers:
		w.searching = true
		w.total++
		w.running.Go(w.loop)
	}
}

func (w *workers) loop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for first := true; ; first = false {
		if first {
			w.searching = false
		}
		for w.waiting() == 0 {
			if w.closed || w.idle >= idleWorkers {
				w.total--
				return
			}
			w.idle++
			w.notEmpty.Wait()
			w.searching = false
		}
		c := w.take()
		w.search()
		w.mu.Unlock()
		w.run(c)
		w.mu.Lock()
	}
}

func (w *workers) take() queuedCall {
	c := w.queue[w.head]
	w.queue[w.head] = queuedCall{}
	w.head++
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	w.bytes -= len(c.body)
	w.notFull.Signal()
	return c
}

// shut takes nothing more in and gives what waits to drop.
func (w *workers) shut(drop func(queuedCall)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.waiting() > 0 {
		drop(w.take())
	}
	w.idle = 0
	w.notEmpty.Broadcast()
	w.notFull.Broadcast()
}
