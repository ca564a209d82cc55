package rpc

import (
	"context"
	"runtime"
	"sync"
)

const (
	// SendQueueFrames and SendQueueBytes bound what waits to be written on one connection; a single frame of any legal size
	// fits an empty queue. Past either, senders wait (or fail, see TrySend). As much again may be with the writer.
	SendQueueFrames = 1024
	SendQueueBytes  = 8 << 20
	// gatheredFrames is how many frames are worth a write of their own. Below that the writer lets those who are about to send run
	// first, so that one write takes theirs along.
	gatheredFrames = 16
	// controlFrames is how many pings, pongs and cancels may stand in the queue beyond SendQueueFrames; past it they are dropped.
	controlFrames = 2 * SendQueueFrames
)

// sendQueue is a bounded queue of frames with many producers and one writer, who always takes all that waits.
type sendQueue struct {
	mu            sync.Mutex
	notEmpty      sync.Cond
	frames        []*buffer
	bytes         int
	total         uint64 // bytes that were ever added
	writerWaiting bool
	space         chan struct{} // closed when the writer takes; nil while nobody waits for it
	closed        error         // why nothing more is taken in
	finishing     bool          // closed for producers, the writer still empties it
}

func newSendQueue() *sendQueue {
	q := &sendQueue{}
	q.notEmpty.L = &q.mu
	return q
}

// push is place for whom it does not matter where.
func (q *sendQueue) push(ctx context.Context, f *buffer, try bool) *Error {
	_, err := q.place(ctx, f, try)
	return err
}

// place adds a frame and takes it over, also on failure. It blocks while the queue is full; with try it fails instead. It gives how many bytes were
// ever added, the frame's included.
func (q *sendQueue) place(ctx context.Context, f *buffer, try bool) (end uint64, err *Error) {
	for {
		q.mu.Lock()
		if q.closed != nil {
			err := q.closed
			q.mu.Unlock()
			f.release()
			return 0, notSentError(err)
		}
		if len(q.frames) == 0 || (len(q.frames) < SendQueueFrames && q.bytes+len(f.b) <= SendQueueBytes) {
			end = q.add(f)
			q.mu.Unlock()
			return end, nil
		}
		if try {
			q.mu.Unlock()
			f.release()
			return 0, notSentError(Errorf(CodeExhausted, "the send queue of the connection is full (%d frames or %d bytes): try again later", SendQueueFrames, SendQueueBytes))
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			f.release()
			return 0, contextError(ctx, "while the send queue of the connection was full", true)
		}
	}
}

// pushControl adds a small frame of the protocol itself past the bound for calls. It never blocks. It gives how many bytes were ever added, these
// included; zero if there was no room.
func (q *sendQueue) pushControl(f *buffer) (end uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil || len(q.frames) >= SendQueueFrames+controlFrames {
		f.release()
		return 0
	}
	return q.add(f)
}

func (q *sendQueue) add(f *buffer) (end uint64) {
	q.frames = append(q.frames, f)
	q.bytes += len(f.b)
	q.total += uint64(len(f.b))
	if q.writerWaiting {
		q.writerWaiting = false
		q.notEmpty.Signal()
	}
	return q.total
}

// take waits for frames and swaps them for the emptied slice of the last batch. ok is false when the queue is closed and, if it
// was closed by finish, empty.
func (q *sendQueue) take(spent []*buffer) (batch []*buffer, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.frames) == 0 {
		if q.closed != nil {
			return nil, false
		}
		q.writerWaiting = true
		q.notEmpty.Wait()
	}
	if len(q.frames) < gatheredFrames && q.closed == nil {
		q.mu.Unlock()
		runtime.Gosched()
		q.mu.Lock()
	}
	if q.closed != nil && !q.finishing {
		return nil, false
	}
	batch, q.frames, q.bytes = q.frames, spent[:0], 0
	q.wakeProducers()
	return batch, true
}

func (q *sendQueue) wakeProducers() {
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
}

func (q *sendQueue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.frames)
}

// remove takes back the request of this call if the writer has not taken it yet.
func (q *sendQueue) remove(callID uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range q.frames {
		if f.id == callID {
			q.bytes -= len(f.b)
			q.frames = append(q.frames[:i], q.frames[i+1:]...)
			f.release()
			q.wakeProducers() // the writer does not, if that was the last one
			return true
		}
	}
	return false
}

// finish refuses new frames; the writer writes what is queued and then ends.
func (q *sendQueue) finish(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return
	}
	q.closed, q.finishing = err, true
	q.wakeProducers()
	q.notEmpty.Broadcast()
}

// close ends the queue at once and gives the call ids of the requests that the writer never took.
func (q *sendQueue) close(err error) (unsent map[uint64]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed == nil {
		q.closed = err
	}
	q.finishing = false
	unsent = make(map[uint64]bool, len(q.frames))
	for _, f := range q.frames {
		if f.id != 0 {
			unsent[f.id] = true
		}
		f.release()
	}
	q.frames, q.bytes = nil, 0
	q.wakeProducers()
	q.notEmpty.Broadcast()
	return unsent
}
