package watch

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/raftkv/raftkv/kv"
)

// Bounds of a hub.
const (
	// DefaultQueueBytes bounds the events that were applied and not handed out yet. Past it they are forgotten, and the
	// watches read them from the history.
	DefaultQueueBytes = 16 << 20
	// DefaultPendingBytes and DefaultPendingEvents bound what a watch holds for its consumer before it falls behind.
	DefaultPendingBytes, DefaultPendingEvents = 1 << 20, 4096
	// DefaultHeldBytes bounds what all watches together hold for their consumers. Past it those of the slowest fall behind, without it.
	DefaultHeldBytes = 128 << 20
	// DefaultResponseBytes is the size at which a response ends, at the next revision or, with fragments, in the middle of one.
	DefaultResponseBytes = 1 << 20
	// DefaultRevisionBytes bounds the events of one revision with the versions before, which a watch that takes no fragments is told as a whole.
	DefaultRevisionBytes = 256 << 20
	// DefaultMaxWatches bounds the watches of a hub, and DefaultRangeBytes the keys that these watch.
	DefaultMaxWatches, DefaultRangeBytes = 1 << 18, 64 << 20

	// eventBytes is what an event costs in memory beside its key and value, roughly.
	eventBytes = 160
	// historyEvents is how many events one look into the history takes at most.
	historyEvents = 1024
	// heldParts is the part of the bound of all watches, as one in so many, that is handed out at once, before the bound is looked at again. One
	// revision is never split: past the bound itself, those it is gathered for read it from the history.
	heldParts = 64
)

// Store is what a hub reads from: a *kv.Machine.
type Store interface {
	Revision() (revision, compacted uint64)
	Events(context.Context, kv.EventsRequest) (events []kv.Event, next uint64, err error)
	Get(ctx context.Context, key []byte, revision uint64) (kv.GetResult, error)
}

// Options are the bounds of a hub. Zero fields have the defaults.
type Options struct {
	QueueBytes, PendingBytes, PendingEvents, HeldBytes, ResponseBytes, RevisionBytes, MaxWatches, RangeBytes int
}

// Hub hands events to watches. It is a kv.Observer; Run must be running for anything to happen.
type Hub struct {
	options Options
	// scans bounds the looks into the history at one time.
	scans chan struct{}

	// queue is what was applied and not handed out yet. It has a mutex of its own, which is never held for long, for Applied.
	queueMu    sync.Mutex
	queue      []kv.Changes
	queueBytes int
	latest     uint64 // the revision behind the last of the queue
	gap        bool   // events before the queue were forgotten
	wake       chan struct{}

	// mu guards all that follows, and the streams.
	mu      sync.Mutex
	store   Store
	closed  bool
	streams map[*stream]struct{}
	watches int
	// rangeBytes is how large the keys are that they watch.
	rangeBytes int
	// handed is the revision up to which events were handed out: watches that are in step have all of them.
	handed uint64
	keys   map[string]*group
	ranges intervals
	spans  map[span]*group
	// held is what the watches hold for their consumers, in bytes.
	held int
}

// group is all watches of the same range that are in step.
type group struct {
	watchers map[*watcher]struct{}
	// batch and bytes gather what is being handed out.
	batch []kv.Event
	bytes int
}

var _ kv.Observer = (*Hub)(nil)

// NewHub makes a hub. It is to be given to a machine as its Observer.
func NewHub(o Options) *Hub {
	for _, x := range []struct {
		field    *int
		standard int
	}{
		{&o.QueueBytes, DefaultQueueBytes}, {&o.PendingBytes, DefaultPendingBytes}, {&o.PendingEvents, DefaultPendingEvents},
		{&o.HeldBytes, DefaultHeldBytes}, {&o.ResponseBytes, DefaultResponseBytes}, {&o.RevisionBytes, DefaultRevisionBytes}, {&o.MaxWatches, DefaultMaxWatches},
		{&o.RangeBytes, DefaultRangeBytes},
	} {
		if *x.field == 0 {
			*x.field = x.standard
		}
	}
	return &Hub{
		options: o, scans: make(chan struct{}, runtime.GOMAXPROCS(0)), wake: make(chan struct{}, 1),
		streams: map[*stream]struct{}{}, keys: map[string]*group{}, ranges: newIntervals(), spans: map[span]*group{},
	}
}

// Applied is that of kv.Observer.
func (h *Hub) Applied(c kv.Changes) {
	h.queueMu.Lock()
	defer h.queueMu.Unlock()
	h.latest = c.Revision
	if len(c.Events) == 0 {
		return
	}
	size := sizeOf(c.Events)
	if h.queueBytes+size > h.options.QueueBytes {
		h.queue, h.queueBytes, h.gap = nil, 0, true
	} else {
		h.queue = append(h.queue, c)
		h.queueBytes += size
	}
	poke(h.wake)
}

// Replaced is that of kv.Observer.
func (h *Hub) Replaced(revision, _ uint64, _ []kv.Lease) {
	h.queueMu.Lock()
	defer h.queueMu.Unlock()
	h.latest = revision
	h.queue, h.queueBytes, h.gap = nil, 0, true
	poke(h.wake)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sizeOf(events []kv.Event) int {
	n := 0
	for i := range events {
		n += eventSize(&events[i])
	}
	return n
}

func eventSize(e *kv.Event) int { return eventBytes + len(e.KV.Key) + len(e.KV.Value) }

// Run hands out events until the context ends, and then closes all streams. It closes running once streams can be opened.
func (h *Hub) Run(ctx context.Context, s Store, running chan<- struct{}) {
	h.mu.Lock()
	h.store = s
	h.mu.Unlock()
	close(running)
	for {
		select {
		case <-ctx.Done():
			h.close()
			return
		case <-h.wake:
			h.handOut()
		}
	}
}

func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.streams {
		s.closeLocked()
	}
}

// handOut gives all that is queued to the watches.
func (h *Hub) handOut() {
	h.queueMu.Lock()
	queue, gap, latest := h.queue, h.gap, h.latest
	h.queue, h.queueBytes, h.gap = nil, 0, false
	h.queueMu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if gap {
		// What is queued begins somewhere behind the gap: the history has it too.
		h.eachGroup(func(g *group) {
			for w := range g.watchers {
				h.fallBehind(w)
			}
		})
	} else {
		h.spread(queue)
	}
	h.handed = latest
	for s := range h.streams {
		if s.progressAt > 0 {
			poke(s.wake)
		}
	}
}

func (h *Hub) eachGroup(f func(*group)) {
	for _, g := range h.keys {
		f(g)
	}
	for _, g := range h.spans {
		f(g)
	}
}

// spread hands out what is queued, a part of it at a time.
func (h *Hub) spread(queue []kv.Changes) {
	var touched []*group
	gathered, last := 0, h.handed
	for i := range queue {
		for j := range queue[i].Events {
			e := &queue[i].Events[j]
			if gathered >= h.options.HeldBytes/heldParts && e.KV.ModRevision > last {
				h.share(touched, last)
				touched, gathered = touched[:0], 0
			}
			last = e.KV.ModRevision
			var own kv.Event
			size := 0
			give := func(g *group) {
				if size == 0 {
					own, size = detached(e), eventSize(e)
				}
				if g.batch == nil {
					touched = append(touched, g)
				}
				g.batch = append(g.batch, own)
				g.bytes += size
				gathered += size
			}
			if g := h.keys[string(e.KV.Key)]; g != nil {
				give(g)
			}
			if h.ranges.root != nil {
				h.ranges.find(string(e.KV.Key), give)
			}
			if gathered > h.options.HeldBytes {
				h.pass(touched)
				touched, gathered = touched[:0], 0
			}
		}
	}
	h.share(touched, last)
}

// pass lets the watches of groups fall behind without what was gathered for these.
func (h *Hub) pass(groups []*group) {
	for _, g := range groups {
		g.batch, g.bytes = nil, 0
		for w := range g.watchers {
			h.fallBehind(w)
		}
	}
}

// detached copies the key and the value. They are parts of an entry, and that is one of a message of many, all of which a watch would keep in memory
// with them for as long as its consumer takes.
func detached(e *kv.Event) kv.Event {
	out, n := *e, len(e.KV.Key)
	both := append(append(make([]byte, 0, n+len(e.KV.Value)), e.KV.Key...), e.KV.Value...)
	out.KV.Key = both[:n:n]
	if e.KV.Value != nil {
		out.KV.Value = both[n:]
	}
	return out
}

// share gives the watches of groups what was gathered for these, up to a revision.
func (h *Hub) share(groups []*group, revision uint64) {
	for _, g := range groups {
		c := chunk{events: g.batch, bytes: g.bytes, shared: &shared{bytes: g.bytes}}
		g.batch, g.bytes = nil, 0
		for w := range g.watchers {
			h.give(w, c)
		}
	}
	h.handed = revision
	if h.held > h.options.HeldBytes {
		h.shed()
	}
}

// shed lets watches fall behind without what they hold, which the history has too: all those of one stream after the other, the one that holds most
// first, until half of the bound is free. Its consumer is the slowest; to read the history costs far more than to be handed events.
func (h *Hub) shed() {
	type load struct {
		stream *stream
		bytes  int
	}
	loads := make([]load, 0, len(h.streams))
	for s := range h.streams {
		l := load{stream: s}
		for _, w := range s.watchers {
			l.bytes += w.pendingBytes
		}
		loads = append(loads, l)
	}
	slices.SortFunc(loads, func(a, b load) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, l := range loads {
		if h.held <= h.options.HeldBytes/2 {
			return
		}
		for _, w := range l.stream.watchers {
			if len(w.pending) == 0 {
				continue
			}
			h.leave(w)
			w.next = w.pending[0].events[0].KV.ModRevision
			w.forget()
			l.stream.ready(w)
		}
	}
}

// give adds a chunk to what a watch holds, or lets it fall behind.
func (h *Hub) give(w *watcher, c chunk) {
	c = c.from(w.next)
	if len(c.events) == 0 {
		return
	}
	if len(w.pending) > 0 && (w.pendingBytes+c.bytes > h.options.PendingBytes || w.pendingEvents+len(c.events) > h.options.PendingEvents) {
		h.fallBehind(w)
		return
	}
	w.pending = append(w.pending, c)
	h.hold(c)
	w.pendingBytes += c.bytes
	w.pendingEvents += len(c.events)
	w.stream.ready(w)
}

// hold and release keep count of the chunks that watches hold.
func (h *Hub) hold(c chunk) {
	if c.shared.holders++; c.shared.holders == 1 {
		h.held += c.shared.bytes
	}
}

func (h *Hub) release(chunks []chunk) {
	for _, c := range chunks {
		if c.shared.holders--; c.shared.holders == 0 {
			h.held -= c.shared.bytes
		}
	}
}

// fallBehind takes a watch out of step: all that was handed out before it has, the rest it reads from the history.
func (h *Hub) fallBehind(w *watcher) {
	h.leave(w)
	w.next = max(w.next, h.handed+1)
	w.stream.ready(w)
}

// join puts a watch in step that needs nothing of what was handed out.
func (h *Hub) join(w *watcher) {
	g := h.groupOf(w.request.Keys)
	g.watchers[w] = struct{}{}
	w.group = g
}

func (h *Hub) groupOf(r kv.KeyRange) *group {
	if len(r.End) == 0 {
		g := h.keys[string(r.Start)]
		if g == nil {
			g = &group{watchers: map[*watcher]struct{}{}}
			h.keys[string(r.Start)] = g
		}
		return g
	}
	s := spanOf(r)
	g := h.spans[s]
	if g == nil {
		g = &group{watchers: map[*watcher]struct{}{}}
		h.spans[s] = g
		h.ranges.insert(s, g)
	}
	return g
}

// leave takes a watch out of its group.
func (h *Hub) leave(w *watcher) {
	g := w.group
	if g == nil {
		return
	}
	w.group = nil
	delete(g.watchers, w)
	if len(g.watchers) > 0 {
		return
	}
	if r := w.request.Keys; len(r.End) == 0 {
		delete(h.keys, string(r.Start))
	} else {
		s := spanOf(r)
		delete(h.spans, s)
		h.ranges.remove(s)
	}
}

// Progress lets every watch that asked for it, and had no events since the last call, tell how far it is. It is
// called at intervals.
func (h *Hub) Progress() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		for _, w := range s.watchers {
			if !w.request.ProgressNotify {
				continue
			}
			if w.quiet {
				w.progress = true
				s.ready(w)
			}
			w.quiet = true
		}
	}
}

// Stats tells how many streams and watches there are, and how many watches are behind.
type Stats struct{ Streams, Watches, Behind int }

// Stats counts.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := Stats{Streams: len(h.streams), Watches: h.watches, Behind: h.watches}
	h.eachGroup(func(g *group) { out.Behind -= len(g.watchers) })
	return out
}
