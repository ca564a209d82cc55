package client

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client/wire"
)

// watchBuffer is how much of events a watch keeps for its consumer, about, in bytes. Past it the client lets the node forget the watch, and makes it
// again from where it was once the consumer has read on.
const watchBuffer = 4 << 20

// WatchBatch is what a watch tells at a time.
type WatchBatch struct {
	// Events are in the order of their revisions, none if the batch only tells how far the watch has come (WithProgress).
	Events []Event
	// Revision says that all that was written up to it, and that the watch is to see, was told, with this batch.
	Revision uint64
	// Partial says that more events of the last one's revision follow in the next batch: it is a large transaction.
	Partial bool
}

// Watcher is a watch. Its methods may be called by any goroutine, Next and Events by one at a time.
type Watcher struct {
	hub *watchHub
	// request says what is watched; its StartRevision is that of the place, and its ID that of the latest time that it was made on a node.
	request wire.WatchRequest

	mu     sync.Mutex
	place  watchPlace
	queue  []WatchBatch
	bytes  int
	paused bool
	// live is the ID under which the node has told that it was made.
	live  int64
	ended error
	// news has a place for one word: the queue, or ended, has changed.
	news chan struct{}
	// made is closed when the watch exists on a node, or has ended.
	made     chan struct{}
	makeOnce sync.Once
	told     uint64
	// pause is that before a node that has refused it is asked again.
	pause time.Duration
	// retry ends that pause. The hub's mutex guards it.
	retry *time.Timer
}

// Watch tells of every write to the keys from now on, or from WithRevision on. It returns once the watch exists on a node, so that of what is
// written after that nothing is missed; ctx bounds only the wait for that. Close ends the watch. Errors: ErrInvalid (an empty range),
// ErrTooMany (the node, or the client, has no room for more watches), ErrUnavailable, ErrClosed; that the revision is compacted is told by Next.
func (c *Client) Watch(ctx context.Context, keys Keys, options ...WatchOption) (*Watcher, error) {
	w := &Watcher{
		hub:     c.watches,
		request: wire.WatchRequest{Key: []byte(keys.start), End: []byte(keys.end)},
		news:    make(chan struct{}, 1), made: make(chan struct{}),
	}
	for _, o := range options {
		o.forWatch(&w.request)
	}
	if keys.single() && keys.start == "" || !keys.single() && keys.end != "\x00" && keys.end <= keys.start {
		return nil, &callError{kind: ErrInvalid, text: "the range to watch can hold no key"}
	}
	w.place.next = w.request.StartRevision
	limited, cancel := c.limit(ctx)
	defer cancel()
	if err := c.watches.add(w); err != nil {
		return nil, err
	}
	select {
	case <-w.made:
		if err := w.failure(); err != nil {
			return nil, err
		}
		return w, nil
	case <-limited.Done():
		w.Close()
		return nil, unavailable(limited.Err(), nil)
	}
}

func (w *Watcher) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		return nil
	}
	if _, compacted := w.ended.(*CompactedError); compacted { //nolint:errorlint // it is never wrapped
		return nil // is told by Next
	}
	return w.ended
}

// Next waits for the next batch. Errors: *CompactedError, ErrClosed, both for good; or the context's, after which Next may be called again.
func (w *Watcher) Next(ctx context.Context) (WatchBatch, error) {
	for {
		batch, ok, err := w.pop()
		if ok || err != nil {
			return batch, err
		}
		select {
		case <-w.news:
		case <-ctx.Done():
			return WatchBatch{}, ctx.Err()
		}
	}
}

// keep keeps a batch for the consumer. Of those that only tell how far the watch has come, in a row, the last one tells all. The caller holds mu.
func (w *Watcher) keep(batch WatchBatch) {
	if last := len(w.queue) - 1; last >= 0 && len(batch.Events) == 0 && len(w.queue[last].Events) == 0 {
		w.queue[last] = batch
		return
	}
	w.queue = append(w.queue, batch)
	w.bytes += sizeOf(batch.Events)
}

func (w *Watcher) pop() (batch WatchBatch, ok bool, err error) {
	w.mu.Lock()
	if len(w.queue) == 0 {
		defer w.mu.Unlock()
		return WatchBatch{}, false, w.ended
	}
	batch = w.queue[0]
	w.queue[0] = WatchBatch{}
	w.queue = w.queue[1:]
	w.bytes -= sizeOf(batch.Events)
	w.told = max(w.told, batch.Revision)
	again := w.paused && w.bytes < watchBuffer/2
	w.paused = w.paused && !again
	w.mu.Unlock()
	if again {
		w.hub.again(w)
	}
	return batch, true, nil
}

// Events gives one event after the other, and at the end the error that Next would return.
func (w *Watcher) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			batch, err := w.Next(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range batch.Events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Revision is that of the latest batch that Next returned, and before the first that behind which the watch began: another watch WithRevision(w.Revision()+1) goes on behind it.
func (w *Watcher) Revision() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// Close ends the watch. It may be called twice.
func (w *Watcher) Close() {
	w.hub.remove(w)
	w.end(ErrClosed)
}

// end ends the watch for good; the first reason counts.
func (w *Watcher) end(err error) {
	w.mu.Lock()
	if w.ended == nil {
		w.ended = err
	}
	w.mu.Unlock()
	w.exists()
	w.poke()
}

// existed tells whether a node has made the watch, as long as it has not ended.
func (w *Watcher) existed() bool {
	select {
	case <-w.made:
		return true
	default:
		return false
	}
}

// retryLater has a watch that was refused made again after a pause. The caller holds the hub's mutex.
func (w *Watcher) retryLater() {
	w.mu.Lock()
	w.pause = min(max(2*w.pause, leastRefusedPause), mostRefusedPause)
	pause := w.pause
	w.mu.Unlock()
	w.stopRetry()
	w.retry = time.AfterFunc(pause, func() { w.hub.again(w) })
}

// stopRetry ends the wait: the watch is made again for another reason, or not at all. The caller holds the hub's mutex.
func (w *Watcher) stopRetry() {
	if w.retry != nil {
		w.retry.Stop()
		w.retry = nil
	}
}

func (w *Watcher) exists() { w.makeOnce.Do(func() { close(w.made) }) }

func (w *Watcher) poke() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// eventOverheadBytes is what an event takes beside its keys and values, about.
const eventOverheadBytes = 128

func sizeOf(events []Event) int {
	size := 0
	for i := range events {
		size += len(events[i].KV.Key) + len(events[i].KV.Value) + eventOverheadBytes
		if p := events[i].Prev; p != nil {
			size += len(p.Key) + len(p.Value) + eventOverheadBytes
		}
	}
	return size
}

// watchPlace is how far a watch has come, over all the nodes that it was made on.
type watchPlace struct {
	// next is the first revision of which not everything was taken in; zero: what is written from the making on.
	next uint64
	// part is the number of events of next that were taken in.
	part int
	// skip is the number of events of next that the node is to tell again.
	skip int
}

// begin says that the watch is made on a node, from next on.
func (p *watchPlace) begin() { p.skip = p.part }

// reach moves on behind a revision up to which everything was taken in.
func (p *watchPlace) reach(revision uint64) {
	if revision >= p.next {
		p.next, p.part, p.skip = revision+1, 0, 0
	}
}

// take gives what of an update is new, and moves on behind it.
func (p *watchPlace) take(u *wire.WatchUpdate) []Event {
	if u.Created {
		if p.next == 0 {
			p.next = u.Revision + 1
		}
		return nil
	}
	events := u.Events
	for len(events) > 0 && (events[0].KV.ModRevision < p.next || events[0].KV.ModRevision == p.next && p.skip > 0) {
		if events[0].KV.ModRevision == p.next {
			p.skip--
		}
		events = events[1:]
	}
	if len(u.Events) == 0 {
		p.reach(u.Revision)
		return nil
	}
	if !u.Fragment {
		p.reach(u.Events[len(u.Events)-1].KV.ModRevision)
		return events
	}
	for i := range events {
		if r := events[i].KV.ModRevision; r > p.next {
			p.next, p.part, p.skip = r, 0, 0
		}
		p.part++
	}
	return events
}
