package watch

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/raftkv/raftkv/kv"
)

// maxTold is how many responses about watches that were made and cancelled may wait before no more watches are made.
const maxTold = 4096

// stream is a Stream. The hub's mutex guards its fields.
type stream struct {
	hub      *Hub
	watchers map[int64]*watcher
	nextID   int64
	// told are responses that only have to be delivered: watches that were made and cancelled.
	told []Response
	// queue holds the watches that Next has something to do for, each at most once.
	queue []*watcher
	// parted is the watch of which a fragment was delivered that others follow. Nothing else may come in between, of whatever watch: etcd's client
	// gathers fragments only as long as it hears of nothing that was made or cancelled.
	parted *watcher
	// progressAt is the revision that must be reached before the stream's progress is told; zero when nobody asked.
	progressAt uint64
	closed     bool
	wake       chan struct{}
}

// watcher is one watch.
type watcher struct {
	stream  *stream
	id      int64
	request Request
	// next is the first revision that the watch has not been given, except that one in step has all that was handed out.
	next  uint64
	group *group // nil while it is behind
	// pending is what it was given and the consumer has not pulled.
	pending                     []chunk
	pendingBytes, pendingEvents int
	// rest is what is left of a response that is delivered in fragments, without the versions before.
	rest *Response
	// quiet says that nothing was delivered since the last interval, progress that this is to be told.
	quiet, progress bool
	queued, done    bool
}

// chunk is a part of the events of a range, of whole revisions. It is shared by many watches, of which some may have only the end of it.
type chunk struct {
	events []kv.Event
	bytes  int
	shared *shared // nil if it is the watch's own
}

// shared is what all that share a chunk have in common: how much it is as a whole, and how many watches hold it.
type shared struct{ bytes, holders int }

// from leaves out what is before a revision.
func (c chunk) from(revision uint64) chunk {
	if len(c.events) == 0 || c.events[0].KV.ModRevision >= revision {
		return c
	}
	i := sort.Search(len(c.events), func(i int) bool { return c.events[i].KV.ModRevision >= revision })
	c.events = c.events[i:]
	c.bytes = sizeOf(c.events)
	return c
}

// NewStream opens a stream.
func (h *Hub) NewStream() (Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.store == nil {
		return nil, ErrClosed
	}
	s := &stream{hub: h, watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1)}
	h.streams[s] = struct{}{}
	return s, nil
}

// ready queues a watch for Next.
func (s *stream) ready(w *watcher) {
	if !w.queued {
		w.queued = true
		s.queue = append(s.queue, w)
	}
	poke(s.wake)
}

func (s *stream) Watch(r Request) (int64, error) {
	if len(r.Keys.End) > 0 && string(r.Keys.End) != "\x00" && string(r.Keys.End) <= string(r.Keys.Start) {
		return 0, ErrEmptyRange
	}
	if len(r.Keys.End) == 0 && len(r.Keys.Start) == 0 {
		return 0, ErrEmptyRange
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	if h.watches >= h.options.MaxWatches || h.rangeBytes+rangeSize(r.Keys) > h.options.RangeBytes || len(s.told) >= maxTold {
		return 0, ErrTooManyWatches
	}
	if r.ID == AutoID {
		for s.watchers[s.nextID] != nil {
			s.nextID++
		}
		r.ID = s.nextID
		s.nextID++
	}
	if s.watchers[r.ID] != nil {
		return 0, ErrDuplicateID
	}
	revision, _ := h.store.Revision()
	w := &watcher{stream: s, id: r.ID, request: r, next: r.StartRevision}
	if w.next == 0 {
		w.next = revision + 1
	}
	s.watchers[w.id] = w
	h.watches++
	h.rangeBytes += rangeSize(r.Keys)
	s.told = append(s.told, Response{ID: w.id, Created: true, Revision: revision})
	if w.next > h.handed {
		h.join(w)
	} else {
		s.ready(w)
	}
	poke(s.wake)
	return w.id, nil
}

func rangeSize(r kv.KeyRange) int { return len(r.Start) + len(r.End) }

func (s *stream) Cancel(id int64) bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	w := s.watchers[id]
	if w == nil {
		return false
	}
	s.cancel(w, Response{})
	return true
}

// cancel ends a watch and says why.
func (s *stream) cancel(w *watcher, r Response) {
	s.drop(w)
	r.ID, r.Canceled = w.id, true
	r.Revision, _ = s.hub.store.Revision()
	s.told = append(s.told, r)
	poke(s.wake)
}

// drop forgets a watch.
func (s *stream) drop(w *watcher) {
	s.hub.leave(w)
	s.hub.watches--
	s.hub.rangeBytes -= rangeSize(w.request.Keys)
	w.forget()
	w.done, w.rest = true, nil
	if s.parted == w {
		s.parted = nil
	}
	delete(s.watchers, w.id)
}

// forget throws away what a watch holds.
func (w *watcher) forget() {
	w.stream.hub.release(w.pending)
	w.pending, w.pendingBytes, w.pendingEvents = nil, 0, 0
}

func (s *stream) RequestProgress() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.progressAt, _ = s.hub.store.Revision()
	poke(s.wake)
}

func (s *stream) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.closeLocked()
}

func (s *stream) closeLocked() {
	if s.closed {
		return
	}
	s.closed = true
	for _, w := range s.watchers {
		s.drop(w)
	}
	s.told, s.queue = nil, nil
	delete(s.hub.streams, s)
	poke(s.wake)
}

// Next does the work of its stream: it reads the history for watches that are behind, and the versions before events.
func (s *stream) Next(ctx context.Context) (Response, error) {
	for {
		r, again, err := s.step(ctx)
		if err == nil && r == nil && again {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return Response{}, err
		case r != nil:
			return *r, nil
		case again:
			continue
		}
		select {
		case <-ctx.Done():
			return Response{}, ctx.Err()
		case <-s.wake:
		}
	}
}

// step returns a response, or whether to come again at once.
func (s *stream) step(ctx context.Context) (r *Response, again bool, err error) {
	h := s.hub
	h.mu.Lock()
	if s.closed {
		h.mu.Unlock()
		return nil, false, ErrClosed
	}
	if w := s.parted; w != nil {
		rest := w.rest
		w.rest, s.parted = nil, nil
		h.mu.Unlock()
		return s.part(ctx, w, rest, chunk{}), true, nil
	}
	if len(s.told) > 0 {
		r := s.told[0]
		s.told = s.told[1:]
		h.mu.Unlock()
		return &r, false, nil
	}
	if len(s.queue) == 0 {
		r := s.ownProgress()
		h.mu.Unlock()
		return r, false, nil
	}
	w := s.queue[0]
	s.queue = s.queue[1:]
	w.queued = false
	if w.done {
		h.mu.Unlock()
		return nil, true, nil
	}
	if len(w.pending) > 0 {
		c := w.pull(h.options.ResponseBytes)
		revision := h.handed
		if len(w.pending) > 0 || w.group == nil || w.progress {
			s.ready(w)
		}
		h.mu.Unlock()
		return s.respond(ctx, w, c, revision), true, nil
	}
	if w.group == nil {
		from := w.next
		h.mu.Unlock()
		r, err := s.catchUp(ctx, w, from)
		return r, true, err
	}
	if w.progress {
		w.progress = false
		r = w.reached()
	}
	h.mu.Unlock()
	return r, true, nil
}

// reached tells how far a watch is that is in step and has nothing left. Who watches takes that for where to go on after a lost connection, so it is
// never before an event that was delivered, which may have been read from the history before it was handed out, nor before where the watch begins: nil
// if that is still to come.
func (w *watcher) reached() *Response {
	h := w.stream.hub
	at := max(h.handed, w.next-1)
	if revision, _ := h.store.Revision(); at > revision {
		return nil
	}
	return &Response{ID: w.id, Revision: at}
}

// ownProgress answers RequestProgress when every watch is in step and has nothing left, and none has or begins later than what was handed out: the
// answer is for all of them.
func (s *stream) ownProgress() *Response {
	if s.progressAt == 0 || s.hub.handed < s.progressAt {
		return nil
	}
	for _, w := range s.watchers {
		if w.group == nil || len(w.pending) > 0 || w.next > s.hub.handed+1 {
			return nil
		}
	}
	s.progressAt = 0
	return &Response{ID: NoID, Revision: s.hub.handed}
}

// pull takes as many whole chunks as make a response.
func (w *watcher) pull(mostBytes int) chunk {
	c := w.pending[0]
	n := 1
	for n < len(w.pending) && c.bytes+w.pending[n].bytes <= mostBytes {
		c.bytes += w.pending[n].bytes
		n++
	}
	if n > 1 {
		events := make([]kv.Event, 0, w.pendingEvents)
		for _, p := range w.pending[:n] {
			events = append(events, p.events...)
		}
		c.events, c.shared = events, nil
	}
	w.pendingBytes -= c.bytes
	w.pendingEvents -= len(c.events)
	w.stream.hub.release(w.pending[:n])
	left := copy(w.pending, w.pending[n:])
	clear(w.pending[left:])
	w.pending = w.pending[:left]
	w.next = max(w.next, c.events[len(c.events)-1].KV.ModRevision+1)
	return c
}

// putBack gives a watch back the rest of what was pulled, which did not fit into a response: whole revisions, before all that it holds.
func (h *Hub) putBack(w *watcher, rest []kv.Event, pulled chunk) {
	c := chunk{events: rest, bytes: sizeOf(rest), shared: pulled.shared}
	if c.shared == nil {
		c.shared = &shared{bytes: pulled.bytes}
	}
	w.pending = slices.Insert(w.pending, 0, c)
	h.hold(c)
	w.pendingBytes += c.bytes
	w.pendingEvents += len(c.events)
	w.stream.ready(w)
	if h.held > h.options.HeldBytes {
		h.shed()
	}
}

// catchUp reads a part of the history for a watch that is behind, and puts it in step when there is no more.
func (s *stream) catchUp(ctx context.Context, w *watcher, from uint64) (*Response, error) {
	h := s.hub
	select {
	case h.scans <- struct{}{}:
	case <-ctx.Done():
		// The watch is still to be seen to.
		h.mu.Lock()
		s.ready(w)
		h.mu.Unlock()
		return nil, ctx.Err()
	}
	events, next, err := h.store.Events(ctx, kv.EventsRequest{
		From: from, Match: w.request.Keys.Contains, MostEvents: historyEvents, MostBytes: h.options.ResponseBytes,
	})
	<-h.scans
	revision, compacted := h.store.Revision()
	h.mu.Lock()
	switch {
	case w.done || s.closed:
		h.mu.Unlock()
		return nil, nil
	case err != nil && ctx.Err() != nil:
		s.ready(w)
		h.mu.Unlock()
		return nil, ctx.Err()
	case errors.Is(err, kv.ErrCompacted):
		s.cancel(w, Response{Err: err, CompactRevision: compacted})
		h.mu.Unlock()
		return nil, nil
	case err != nil:
		// The machine is closed or has failed: whoever watches goes on at another node. That a watch was cancelled, clients take for its end for good.
		s.closeLocked()
		h.mu.Unlock()
		return nil, nil
	}
	w.next = next
	if next > h.handed {
		h.join(w)
	}
	if w.group == nil || w.progress {
		s.ready(w)
	}
	h.mu.Unlock()
	return s.respond(ctx, w, chunk{events: events, bytes: sizeOf(events)}, revision), nil
}

// respond makes a response of events that are the watch's own or shared; nil if none are left.
func (s *stream) respond(ctx context.Context, w *watcher, c chunk, revision uint64) *Response {
	events := w.wanted(c.events)
	if len(events) == 0 {
		return nil
	}
	// What was handed out meanwhile may be later than what the revision was taken of.
	revision = max(revision, events[len(events)-1].KV.ModRevision)
	return s.part(ctx, w, &Response{ID: w.id, Revision: revision, Events: events}, c)
}

// part gives the next part of a response, which is mostly the whole; nil if the watch has ended. What is left of it is the next fragment, or goes back to what
// the watch holds, as a part of what was pulled.
func (s *stream) part(ctx context.Context, w *watcher, left *Response, pulled chunk) *Response {
	// What was pulled is pulled: a context that ends now must not lose it.
	events, rest, err := w.dress(context.WithoutCancel(ctx), s.hub, left.Events)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	switch {
	case w.done || s.closed:
		return nil
	case errors.Is(err, ErrRevisionTooLarge):
		s.cancel(w, Response{Err: err})
		return nil
	case err != nil:
		s.closeLocked() // as catchUp does
		return nil
	}
	w.quiet = false
	if len(rest) == 0 {
		left.Events = events
		if len(w.pending) > 0 || w.group == nil || w.progress {
			s.ready(w)
		}
		return left
	}
	r := *left
	r.Events, r.Fragment = events, w.request.Fragment
	if r.Fragment {
		left.Events = rest
		w.rest, s.parted = left, w
	} else {
		s.hub.putBack(w, rest, pulled)
	}
	return &r
}

func responseSize(e *kv.Event) int {
	n := eventSize(e)
	if e.Prev != nil {
		n += len(e.Prev.Key) + len(e.Prev.Value)
	}
	return n
}

// wanted leaves out what the watch does not want. The slice that it is given is not changed.
func (w *watcher) wanted(events []kv.Event) []kv.Event {
	r := &w.request
	if !r.NoPut && !r.NoDelete {
		return events
	}
	out := make([]kv.Event, 0, len(events))
	for _, e := range events {
		if e.Type == kv.EventPut && r.NoPut || e.Type == kv.EventDelete && r.NoDelete {
			continue
		}
		out = append(out, e)
	}
	return out
}

// dress adds the versions before, which may be far larger than the events: those of a deletion are its keys alone. So it stops where there is enough for
// one response, and returns what is left: behind any event if the watch allows fragments, and behind whole revisions if not. Of these the first has to
// come as a whole: ErrRevisionTooLarge if it is past the bound. The slice that it is given is not changed.
func (w *watcher) dress(ctx context.Context, h *Hub, events []kv.Event) (dressed, rest []kv.Event, err error) {
	r, most := &w.request, h.options.ResponseBytes
	if !r.PrevKV && (!r.Fragment || sizeOf(events) <= most) {
		return events, nil, nil
	}
	bytes, began := 0, 0 // began is where the revision begins
	for i, e := range events {
		if i > 0 && e.KV.ModRevision > events[i-1].KV.ModRevision {
			began = i
		}
		mayEnd := i > 0 && (r.Fragment || began == i)
		if mayEnd && bytes >= most {
			return dressed, events[i:], nil
		}
		if created := e.Type == kv.EventPut && e.KV.CreateRevision == e.KV.ModRevision; r.PrevKV && !created {
			before, err := h.store.Get(ctx, e.KV.Key, e.KV.ModRevision-1)
			switch {
			case errors.Is(err, kv.ErrCompacted):
			case err != nil:
				return nil, nil, err
			case before.Found:
				e.Prev = &before.KeyValue
			}
		}
		size := responseSize(&e)
		if mayEnd && bytes+size > most {
			return dressed, events[i:], nil
		}
		if bytes += size; bytes > h.options.RevisionBytes && !r.Fragment {
			if began == 0 {
				return nil, nil, ErrRevisionTooLarge
			}
			return dressed[:began], events[began:], nil
		}
		dressed = append(dressed, e)
	}
	return dressed, nil, nil
}
