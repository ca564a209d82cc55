package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/leaderless"
)

const (
	// eventStreamType is the content type of server-sent events (WHATWG HTML §9.2).
	eventStreamType = "text/event-stream"
	// reconnectMillis is what a browser waits before it connects again.
	reconnectMillis = 1000
	// silence is after what time a line without meaning is sent, so that what is in between does not take the stream for dead.
	silence = 15 * time.Second
	// sendTimeout bounds how long a client may take to receive mostBuffered bytes; one that does not is cut off, and may resume. A message may be far larger, and who
	// is cut off in the middle of one gets it from its beginning again.
	sendTimeout = 30 * time.Second
)

// The kinds of messages, as EventSource tells them apart.
const (
	messageCreated  = "created"
	messageChange   = "change"
	messageProgress = "progress"
	messageCanceled = "canceled"
)

// Streams tells whether a request goes on for as long as its client likes.
func Streams(r *http.Request) bool {
	prefix, _, _ := strings.Cut(watchPath, "{")
	return strings.HasPrefix(r.URL.Path, prefix)
}

// revisionDocument is the data of what tells a revision only.
type revisionDocument struct {
	Revision number `json:"revision"`
}

// changeDocument is the data of a change: all events of one revision, or a part of them if More is set, which the next message goes
// on with.
type changeDocument struct {
	Revision number          `json:"revision"`
	Events   []eventDocument `json:"events"`
	More     bool            `json:"more,omitempty"`
}

// eventDocument is one write. Of a deletion it has the key and modRevision only.
type eventDocument struct {
	Type string `json:"type"`
	item
	Prev *item `json:"prev,omitempty"`
}

func eventDocuments(events []kv.Event) []eventDocument {
	out := make([]eventDocument, len(events))
	for i := range events {
		e := &events[i]
		out[i] = eventDocument{Type: "put", item: itemOf(&e.KV, e.Type == kv.EventPut), Prev: previous(e.Prev)}
		if e.Type == kv.EventDelete {
			out[i].Type = "delete"
		}
	}
	return out
}

// changes makes messages of whole revisions, so that the ID of one says that all before it is known. A revision that comes in
// several responses, since it is large, is told in parts of which only the last has an ID.
type changes struct {
	// held is the last revision of a response that another one may go on with.
	held []kv.Event
}

// change is the events of one revision, or a part of them.
type change struct {
	events []kv.Event
	more   bool
}

func (c *change) revision() uint64 { return c.events[0].KV.ModRevision }

// take returns what can be told after one more response.
func (c *changes) take(events []kv.Event, fragment bool) []change {
	var out []change
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].KV.ModRevision == events[0].KV.ModRevision {
			n++
		}
		next := change{events: events[:n:n]}
		events = events[n:]
		if len(c.held) > 0 {
			held := change{events: c.held}
			held.more = held.revision() == next.revision()
			out = append(out, held)
			c.held = nil
		}
		if fragment && len(events) == 0 {
			c.held = next.events
			return out
		}
		out = append(out, next)
	}
	return out
}

// watch serves one watch as server-sent events until the client goes, falls silent, or the watch is cancelled.
func (x *request) watch() error {
	key, err := x.key()
	if err != nil {
		return err
	}
	start, err := x.startRevision()
	if err != nil {
		return err
	}
	if x.h.leaders.Lost() {
		return errLeaderless
	}
	if err := x.refuseCompacted(start); err != nil {
		return err
	}
	if !x.h.watches.TryAcquire(1) {
		return backend.ErrBusy
	}
	defer x.h.watches.Release(1)
	stream, err := x.store.Watch()
	if err != nil {
		return err
	}
	defer stream.Close()
	q := &x.query
	if _, err := stream.Watch(watch.Request{
		ID: watch.AutoID, Keys: q.keyRange(key), StartRevision: start, PrevKV: q.prev, NoPut: q.noPut, NoDelete: q.noDelete,
		Fragment: true, ProgressNotify: q.progress,
	}); err != nil {
		return err
	}
	x.release() // it is a watch now
	defer x.h.options.Watching()()
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	if leave, ok := x.h.leaders.Enter(cancel, true); ok {
		defer leave()
	} else {
		cancel(leaderless.ErrStopped)
	}
	header := x.w.Header()
	header.Set("Content-Type", eventStreamType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // some proxies would gather what they pass on
	header.Set(HeaderRevision, strconv.FormatUint(x.store.Revision(), 10))
	x.w.WriteHeader(http.StatusOK)
	s := &eventStream{w: x.w, control: http.NewResponseController(x.w), silence: silence}
	if x.r.Method == http.MethodHead {
		return nil
	}
	s.run(ctx, stream, start)
	return nil
}

// startRevision is where to begin: behind what the client says that it has, or where the query says; zero means from now on.
func (x *request) startRevision() (uint64, error) {
	last := x.r.Header.Get("Last-Event-ID")
	if last == "" {
		return x.query.revision, nil
	}
	revision, err := strconv.ParseUint(last, 10, 63)
	if err != nil {
		return 0, badQuery("Last-Event-ID %q is no revision: send the id of the last message, or none", last)
	}
	return revision + 1, nil
}

// refuseCompacted refuses before the stream begins what it would end with: a browser then does not try again.
func (x *request) refuseCompacted(start uint64) error {
	if start == 0 {
		return nil
	}
	status, err := x.store.Status(x.ctx)
	if err != nil {
		return err
	}
	if start < status.CompactedRevision {
		return compactedProblem(status.CompactedRevision)
	}
	return nil
}

// errLeaderless is for a watch at a node that may hear of nothing.
var errLeaderless = problemf(http.StatusServiceUnavailable, codeUnavailable, "%v; resume at another node, or later", leaderless.ErrLost)

func compactedProblem(compacted uint64) *problem {
	p := problemf(http.StatusGone, codeCompacted, "history before revision %d was given up: list the keys, and watch from the revision behind that of the list", compacted)
	p.CompactRevision = compacted
	return p
}

// eventStream writes messages.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
	// silence is after what time something is sent though nothing happens.
	silence time.Duration
}

// run tells what the watch tells until one of them ends.
func (s *eventStream) run(ctx context.Context, stream watch.Stream, start uint64) {
	var told changes
	for {
		waiting, cancel := context.WithTimeout(ctx, s.silence)
		r, err := stream.Next(waiting)
		cancel()
		switch {
		case err == nil:
			if s.tell(&told, &r, start) != nil || r.Canceled {
				return
			}
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			s.buffer.WriteString(":\n\n")
			if s.flush() != nil {
				return
			}
			stream.RequestProgress()
		default:
			// The client has gone, and this is in vain; or the node ends it, and the client should know that it may resume.
			last := problemf(http.StatusServiceUnavailable, codeUnavailable, "this node is stopping; resume at another node, or later")
			if errors.Is(context.Cause(ctx), leaderless.ErrLost) {
				last = errLeaderless
			}
			s.message(messageCanceled, "", last)
			_ = s.flush()
			return
		}
	}
}

// tell writes the messages of one response.
func (s *eventStream) tell(told *changes, r *watch.Response, start uint64) error {
	if r.ID == watch.NoID {
		// Nobody is told of an event without data (WHATWG HTML §9.2.6), and all take its ID down: who resumes needs no history from its last event on, which
		// may be compacted.
		s.buffer.WriteString("id: " + strconv.FormatUint(r.Revision, 10) + "\n\n")
		return s.flush()
	}
	for _, c := range told.take(r.Events, r.Fragment) {
		id := ""
		if !c.more {
			id = strconv.FormatUint(c.revision(), 10)
		}
		s.message(messageChange, id, changeDocument{Revision: number(c.revision()), Events: eventDocuments(c.events), More: c.more})
		if s.buffer.Len() < mostBuffered {
			continue
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	switch {
	case r.Created:
		// What the client has before the first event: if the connection breaks until then, it resumes from here.
		known := r.Revision
		if start != 0 {
			known = start - 1
		}
		s.buffer.WriteString("retry: " + strconv.Itoa(reconnectMillis) + "\n")
		s.message(messageCreated, strconv.FormatUint(known, 10), revisionDocument{number(known)})
	case r.Canceled:
		p := problemOf(r.Err, false)
		if r.CompactRevision != 0 {
			p = compactedProblem(r.CompactRevision)
		}
		s.message(messageCanceled, "", p)
	case len(r.Events) == 0:
		s.message(messageProgress, strconv.FormatUint(r.Revision, 10), revisionDocument{number(r.Revision)})
	}
	if s.buffer.Len() == 0 {
		return nil
	}
	return s.flush()
}

// message puts one message into the buffer. One without an ID leaves the client's last ID as it is.
func (s *eventStream) message(kind, id string, data any) {
	if id != "" {
		s.buffer.WriteString("id: " + id + "\n")
	}
	s.buffer.WriteString("event: " + kind + "\ndata: ")
	_ = json.NewEncoder(&s.buffer).Encode(data) // ends the line; what is encoded are plain values
	s.buffer.WriteByte('\n')
}

const (
	// mostBuffered is after how many bytes messages are sent while more are there.
	mostBuffered = 32 << 10
	// maxKeptBuffer is the largest buffer that a stream keeps for its next messages.
	maxKeptBuffer = 2 * mostBuffered
)

// flush sends what is in the buffer.
func (s *eventStream) flush() error {
	for left := s.buffer.Bytes(); len(left) > 0; {
		if err := s.control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		n, err := s.w.Write(left[:min(len(left), mostBuffered)])
		if err != nil {
			return err
		}
		left = left[n:]
	}
	if s.buffer.Reset(); s.buffer.Cap() > maxKeptBuffer {
		s.buffer = bytes.Buffer{}
	}
	return s.control.Flush()
}
