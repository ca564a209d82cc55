package transport

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// Bounds of what waits for one connection, and of what goes into one frame (at least one message does).
const (
	ControlQueueMessages = 1024
	ControlQueueBytes    = 1 << 20
	BulkQueueMessages    = 1024
	BulkQueueBytes       = 32 << 20
	BatchBytes           = 1 << 20
)

// lane is the queue of one connection to one member, and the goroutine that empties it.
type lane struct {
	transport             *Transport
	maxMessages, maxBytes int
	peer                  *rpc.Peer
	service               raftService
	failed                func(error)     // told when messages could not be sent
	overflow              chan<- struct{} // capacity 1, signaled when the queue was full
	counters              *counters

	mu       sync.Mutex
	queue    []raft.Message
	bytes    int
	wake     chan struct{}
	inFlight atomic.Int64 // messages that the goroutine holds
	// inFlightBytes are theirs.
	inFlightBytes atomic.Int64
}

func newLane(t *Transport, maxMessages, maxBytes int, peer *rpc.Peer, c *counters, failed func(error), overflow chan<- struct{}) (*lane, error) {
	l := &lane{transport: t, maxMessages: maxMessages, maxBytes: maxBytes, peer: peer, counters: c, failed: failed, overflow: overflow, wake: make(chan struct{}, 1)}
	return l, rpc.Bind(peer, serviceRaft, &l.service)
}

// push queues a message or drops it. It never blocks.
func (l *lane) push(m *raft.Message) {
	size := messageBytes(m)
	l.mu.Lock()
	full := len(l.queue) > 0 && (len(l.queue) >= l.maxMessages || l.bytes+size > l.maxBytes)
	if !full {
		l.queue = append(l.queue, *m)
		l.bytes += size
	}
	l.mu.Unlock()
	var signal chan<- struct{} = l.wake
	if full {
		l.counters.dropped.Add(1)
		l.transport.droppedKinds.count([]raft.Message{*m})
		signal = l.overflow
	}
	select {
	case signal <- struct{}{}:
	default:
	}
}

// run sends until the context ends.
func (l *lane) run(ctx context.Context) {
	var spent []raft.Message
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		waiting := l.queue
		l.inFlightBytes.Store(int64(l.bytes))
		l.queue, l.bytes = spent[:0], 0
		l.mu.Unlock()
		l.send(ctx, waiting)
		clear(waiting) // entries must not be kept alive by it
		spent = waiting
		if cap(spent) > l.maxMessages {
			spent = nil
		}
	}
}

// send sends all messages, batched. When one cannot be sent, those behind it cannot either: raft sends what matters again.
func (l *lane) send(ctx context.Context, messages []raft.Message) {
	l.inFlight.Store(int64(len(messages)))
	defer l.inFlightBytes.Store(0)
	defer l.inFlight.Store(0)
	for len(messages) > 0 {
		n, size := 1, messageBytes(&messages[0])
		for n < len(messages) {
			next := messageBytes(&messages[n])
			if size+next > BatchBytes {
				break
			}
			size += next
			n++
		}
		if err := l.service.Step(ctx, &batch{messages[:n]}); err != nil {
			l.counters.dropped.Add(uint64(len(messages)))
			l.transport.droppedKinds.count(messages)
			if ctx.Err() == nil {
				l.failed(err)
			}
			return
		}
		l.counters.sent.Add(uint64(n))
		l.transport.sentKinds.count(messages[:n])
		l.counters.sentBytes.Add(uint64(size))
		messages = messages[n:]
	}
}

// waiting is what has not been handed to the connection yet.
func (l *lane) waiting() (messages, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) + int(l.inFlight.Load()), l.bytes + int(l.inFlightBytes.Load())
}
