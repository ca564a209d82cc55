package rest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
)

// patience is how long a test waits for what must happen.
const patience = 3 * time.Minute

// message is one server-sent event.
type message struct{ id, event, data string }

// source reads messages as EventSource does.
type source struct {
	t      *testing.T
	body   io.Closer
	lines  *bufio.Scanner
	lastID string
}

func (h *harness) watch(query string, headers ...string) *source {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.server.URL+"/v1/watch/"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := h.server.Client().Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != eventStreamType {
		text, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	s := &source{t: h.t, body: resp.Body, lines: bufio.NewScanner(resp.Body)}
	s.lines.Buffer(nil, 16<<20)
	return s
}

// next returns the next message; its ID is empty if it has none of its own.
func (s *source) next() message {
	s.t.Helper()
	var m message
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			m.id, s.lastID = value, value
		case "event":
			m.event = value
		case "data":
			m.data = value
		case "":
			if m.event != "" {
				return m
			}
			m = message{} // an ID alone, after a while of silence, is not the next message's
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return m
}

func (s *source) want(id, event, data string) {
	s.t.Helper()
	if got := s.next(); got != (message{id, event, data}) {
		s.t.Fatalf("%+v, it should be %s %s %s", got, id, event, data)
	}
}

func TestWatches(t *testing.T) {
	h := serve(t)
	h.do("PUT", "/v1/kv/a", "1")
	s := h.watch("a?prefix&prev")
	s.want("2", "created", `{"revision":"2"}`)
	h.do("PUT", "/v1/kv/b", "not watched")
	h.do("PUT", "/v1/kv/a", "2")
	s.want("4", "change", `{"revision":"4","events":[{"type":"put","key":"YQ==","value":"Mg==","createRevision":"2","modRevision":"4","version":"2",`+
		`"prev":{"key":"YQ==","value":"MQ==","createRevision":"2","modRevision":"2","version":"1"}}]}`)
	// All of a transaction comes in one message.
	h.do("POST", "/v1/txn", `{"then":[{"delete":{"key":"YQ=="}},{"put":{"key":"YWE="}}]}`)
	s.want("5", "change", `{"revision":"5","events":[{"type":"delete","key":"YQ==","modRevision":"5",`+
		`"prev":{"key":"YQ==","value":"Mg==","createRevision":"2","modRevision":"4","version":"2"}},`+
		`{"type":"put","key":"YWE=","value":"","createRevision":"5","modRevision":"5","version":"1"}]}`)
	// History, with filters.
	s = h.watch("?end=%00&revision=3&noDelete")
	s.want("2", "created", `{"revision":"2"}`)
	for _, revision := range []string{"3", "4", "5"} {
		if m := s.next(); m.id != revision || strings.Contains(m.data, "delete") {
			t.Fatalf("%+v at revision %s", m, revision)
		}
	}
	s = h.watch("a?revision=2&noPut")
	s.want("1", "created", `{"revision":"1"}`)
	s.want("5", "change", `{"revision":"5","events":[{"type":"delete","key":"YQ==","modRevision":"5"}]}`)
}

// TestAWatchResumesExactly: wherever the connection breaks, what comes after the last ID is what was not told before.
func TestAWatchResumesExactly(t *testing.T) {
	h := serve(t)
	s := h.watch("k?prefix&prev&revision=9&noDelete")
	s.want("8", "created", `{"revision":"8"}`) // it waits for revision 9, and would if it broke now
	s = h.watch("k?prefix")
	s.want("1", "created", `{"revision":"1"}`)
	h.do("PUT", "/v1/kv/k", "told nobody")
	// Broken before the first event, and resumed as EventSource does, with the URL of the beginning.
	s = h.watch("k?prefix", "Last-Event-ID: "+s.lastID)
	s.want("1", "created", `{"revision":"1"}`)
	if m := s.next(); m.id != "2" {
		t.Fatalf("%+v", m)
	}
	told := []string{"2"}
	for range 20 {
		h.do("PUT", "/v1/kv/k", "v")
		h.do("PUT", "/v1/kv/k", "w")
		told = append(told, s.next().id)
		_ = s.body.Close()
		s = h.watch("k?prefix&revision=2", "Last-Event-ID: "+s.lastID)
		s.want(told[len(told)-1], "created", `{"revision":"`+told[len(told)-1]+`"}`)
		told = append(told, s.next().id)
	}
	for i, id := range told {
		if id != strconv.Itoa(i+2) {
			t.Fatalf("told %v", told)
		}
	}
	for _, bad := range []string{"x", "-1", "18446744073709551615"} {
		h.want(h.do("GET", "/v1/watch/k", "", "Last-Event-ID: "+bad), 400, codeInvalid)
	}
}

func TestAWatchOfWhatIsCompacted(t *testing.T) {
	h := serve(t)
	for range 5 {
		h.do("PUT", "/v1/kv/k", "v")
	}
	h.do("POST", "/v1/compact", `{"revision":"4"}`)
	for _, headers := range [][]string{nil, {"Last-Event-ID: 2"}} {
		a := h.do("GET", "/v1/watch/k?revision=2", "", headers...)
		h.want(a, 410, codeCompacted)
		if !strings.Contains(a.body, `"compactRevision":"4"`) {
			t.Error(a.body)
		}
	}
	if m := h.watch("k?revision=4").next(); m.event != "created" {
		t.Errorf("%+v", m)
	}
	h.handedOut()
	// What is compacted behind the back of who asks is told in the stream, without an ID.
	w := httptest.NewRecorder()
	x := &request{w: w, r: httptest.NewRequest(http.MethodGet, "/", nil), h: handler(h.store), ctx: context.Background(), release: func() {}, part: "k"}
	x.store, x.query.revision = blind{h.store}, 2
	if err := x.watch(); err != nil {
		t.Fatal(err)
	}
	last := w.Body.String()[strings.LastIndex(strings.TrimSpace(w.Body.String()), "\n\n")+2:]
	if !strings.HasPrefix(last, "event: canceled\ndata: {") || !strings.Contains(last, `"code":"revision_compacted"`) || !strings.Contains(last, `"compactRevision":"4"`) {
		t.Errorf("%q", last)
	}
}

// handedOut waits until no watch can be given anything but from the history.
func (h *harness) handedOut() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := h.store.Watch()
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	s.RequestProgress()
	if _, err := s.Next(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// blind is a store that has not heard of its compaction.
type blind struct{ *alone }

func (blind) Status(context.Context) (backend.Status, error) { return backend.Status{}, nil }

func TestBadWatchesAreRefused(t *testing.T) {
	h := serve(t)
	for _, bad := range []string{"", "?prefix&end=a", "k?limit=1", "k?timeout=1s", "b?end=a", "k?revision=0", "k?progress=maybe"} {
		h.want(h.do("GET", "/v1/watch/"+bad, ""), 400, codeInvalid)
	}
	h.want(h.do("POST", "/v1/watch/k", ""), 405, codeMethod)
	if a := h.do("HEAD", "/v1/watch/k", ""); a.StatusCode != 200 || a.Header.Get("Content-Type") != eventStreamType {
		t.Errorf("HEAD: %d %v", a.StatusCode, a.Header)
	}
}

// TestAStopEndsWatches and says so, whether they were there before or come after.
func TestAStopEndsWatches(t *testing.T) {
	store := newStore(t, wholeCluster)
	front := handler(store)
	watching := make(chan int, 4)
	front.options.Watching = func() func() { watching <- 1; return func() { watching <- -1 } }
	h := &harness{t: t, store: store, server: httptest.NewServer(front)}
	t.Cleanup(h.server.Close)
	s := h.watch("k")
	s.want("1", "created", `{"revision":"1"}`)
	if !front.requests.TryAcquire(maxRequests) {
		t.Error("a watch keeps the place of a request")
	}
	front.requests.Release(maxRequests)
	front.Stop()
	if m := s.next(); m.event != "canceled" || m.id != "" || !strings.Contains(m.data, `"code":"unavailable"`) {
		t.Errorf("%+v", m)
	}
	begunAndEnded := func() {
		t.Helper()
		for _, want := range []int{1, -1} {
			if got := <-watching; got != want {
				t.Fatalf("%d watches, not %d", got, want)
			}
		}
	}
	begunAndEnded() // its last words come before its end is counted, which the late one must not overtake
	late := h.watch("k")
	if created, canceled := late.next(), late.next(); created.event != "created" || canceled.event != "canceled" {
		t.Errorf("%+v, %+v", created, canceled)
	}
	begunAndEnded()
}

// TestAWatchEndsAtANodeWithoutALeader, which may be cut off: its silence would be taken for that of the writers. It resumes where it was.
func TestAWatchEndsAtANodeWithoutALeader(t *testing.T) {
	store := newStore(t, wholeCluster)
	front := New(func() backend.Store { return store }, Options{
		MaxKeyBytes: 64, MaxValueBytes: 1000, ElectionTimeout: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	h := &harness{t: t, store: store, server: httptest.NewServer(front)}
	t.Cleanup(h.server.Close)
	t.Cleanup(front.Stop)
	s := h.watch("k")
	s.want("1", "created", `{"revision":"1"}`)
	h.do("PUT", "/v1/kv/k", "v")
	if m := s.next(); m.id != "2" {
		t.Fatalf("%+v", m)
	}
	store.leaderless.Store(true)
	if m := s.next(); m.event != "canceled" || m.id != "" || !strings.Contains(m.data, `"code":"unavailable"`) || !strings.Contains(m.data, "leader") {
		t.Errorf("%+v", m)
	}
	h.want(h.do("GET", "/v1/watch/k", "", "Last-Event-ID: 2"), 503, codeUnavailable)
	store.leaderless.Store(false)
	h.do("PUT", "/v1/kv/k", "w")
	s = h.watch("k", "Last-Event-ID: "+s.lastID)
	s.want("2", "created", `{"revision":"2"}`)
	if m := s.next(); m.id != "3" {
		t.Fatalf("%+v", m)
	}
}

// TestASilentWatchTellsHowFarItIs in an ID without an event, so that it can resume though history was compacted meanwhile.
func TestASilentWatchTellsHowFarItIs(t *testing.T) {
	store := newStore(t, wholeCluster)
	stream, err := store.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := stream.Watch(watch.Request{ID: watch.AutoID, Keys: kv.One([]byte("k"))}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := store.Put(t.Context(), backend.PutRequest{Key: []byte("other")}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &silentClient{ResponseRecorder: httptest.NewRecorder(), flushed: make(chan string, 16)}
	s, ended := &eventStream{w: w, control: http.NewResponseController(w), silence: time.Millisecond}, make(chan struct{})
	go func() { defer close(ended); s.run(ctx, stream, 0) }()
	for text := ""; text != "id: 6\n\n"; {
		if text = <-w.flushed; strings.HasPrefix(text, "event") {
			t.Errorf("it tells %q", text)
		}
	}
	cancel()
	for {
		select {
		case <-w.flushed:
		case <-ended:
			return
		}
	}
}

// silentClient takes what is flushed.
type silentClient struct {
	*httptest.ResponseRecorder
	flushed chan string
}

func (c *silentClient) FlushError() error {
	c.flushed <- c.Body.String()
	c.Body.Reset()
	return nil
}

func (*silentClient) SetWriteDeadline(time.Time) error { return nil }

// TestASlowReaderHoldsNobodyUp: writes go on, its memory is bounded by the hub, and it has missed nothing when it reads on.
func TestASlowReaderHoldsNobodyUp(t *testing.T) {
	h := serve(t)
	c, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /v1/watch/k HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Close() // first: closing the body would read it to its end
		_ = resp.Body.Close()
	}()
	s := &source{t: t, lines: bufio.NewScanner(resp.Body)}
	s.want("1", "created", `{"revision":"1"}`)
	const writes = 12_000 // more bytes than sockets hold
	value := []byte(strings.Repeat("v", 900))
	for range writes {
		if _, err := h.store.Put(context.Background(), backend.PutRequest{Key: []byte("k"), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	for revision := 2; revision < writes+2; revision++ {
		if m := s.next(); m.id != strconv.Itoa(revision) {
			t.Fatalf("revision %d came as %s", revision, m.id)
		}
	}
}

func TestChangesAreOfWholeRevisions(t *testing.T) {
	event := func(revision uint64, key string) kv.Event {
		return kv.Event{KV: kv.KeyValue{Key: []byte(key), ModRevision: revision}}
	}
	type response struct {
		events   []kv.Event
		fragment bool
	}
	for name, x := range map[string]struct {
		in   []response
		want string
	}{
		"one revision":                     {[]response{{[]kv.Event{event(2, "a"), event(2, "b")}, false}}, "2ab"},
		"several in one response":          {[]response{{[]kv.Event{event(2, "a"), event(3, "b"), event(3, "c"), event(5, "d")}, false}}, "2a 3bc 5d"},
		"a revision in two responses":      {[]response{{[]kv.Event{event(2, "a"), event(3, "b")}, true}, {[]kv.Event{event(3, "c"), event(4, "d")}, false}}, "2a 3b+ 3c 4d"},
		"a cut between revisions":          {[]response{{[]kv.Event{event(2, "a")}, true}, {[]kv.Event{event(3, "b")}, false}}, "2a 3b"},
		"a revision in three":              {[]response{{[]kv.Event{event(2, "a")}, true}, {[]kv.Event{event(2, "b")}, true}, {[]kv.Event{event(2, "c")}, false}}, "2a+ 2b+ 2c"},
		"the last is held until it is cut": {[]response{{[]kv.Event{event(2, "a")}, true}}, ""},
		"nothing":                          {[]response{{nil, false}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var told changes
			var got []string
			for _, r := range x.in {
				for _, c := range told.take(r.events, r.fragment) {
					text := fmt.Sprint(c.revision())
					for _, e := range c.events {
						text += string(e.KV.Key)
					}
					if c.more {
						text += "+"
					}
					got = append(got, text)
				}
			}
			if !reflect.DeepEqual(got, strings.Fields(x.want)) && len(got)+len(x.want) > 0 {
				t.Errorf("%v, it should be %s", got, x.want)
			}
		})
	}
}

// TestALargeRevisionComesInParts, of which only the last has an ID to resume from.
func TestALargeRevisionComesInParts(t *testing.T) {
	h := serve(t)
	const keys = 8000 // whose deletions are more than one response holds
	for i := range keys {
		if _, err := h.store.Put(context.Background(), backend.PutRequest{Key: fmt.Appendf(nil, "%064d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	s := h.watch("?prefix&prev")
	s.next()
	if _, err := h.store.DeleteRange(context.Background(), backend.DeleteRequest{Keys: kv.All()}); err != nil {
		t.Fatal(err)
	}
	events, parts := 0, 0
	for m := (message{}); m.id == ""; parts++ {
		m = s.next()
		events += strings.Count(m.data, `"type":"delete"`)
		if (m.id == "") != strings.HasSuffix(m.data, `"more":true}`) {
			t.Fatalf("part %d: id %q, ...%s", parts, m.id, m.data[len(m.data)-20:])
		}
	}
	if events != keys || parts < 2 || s.lastID != strconv.Itoa(keys+2) {
		t.Errorf("%d events in %d parts, last ID %s", events, parts, s.lastID)
	}
}

// slowLine is a client that takes so many bytes in a second, and none after a deadline.
type slowLine struct {
	http.ResponseWriter
	bytesPerSecond, taken int
	deadline              time.Time
}

func (l *slowLine) SetWriteDeadline(at time.Time) error {
	l.deadline = at
	return nil
}

func (l *slowLine) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(l.bytesPerSecond))
	if time.Now().After(l.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	l.taken += len(b)
	return len(b), nil
}

func (l *slowLine) FlushError() error { return nil }

// Who is cut off in the middle of a message gets it from its beginning again, and so never gets on: however large it is, only a client that takes next to nothing is.
func TestALargeMessageOverASlowLine(t *testing.T) {
	const large = 3 << 20
	for bytesPerSecond, want := range map[int]int{4 << 10: large, 1 << 10: 0} {
		synctest.Test(t, func(t *testing.T) {
			line := &slowLine{bytesPerSecond: bytesPerSecond}
			s := &eventStream{w: line, control: http.NewResponseController(line)}
			s.buffer.Write(make([]byte, large))
			if err := s.flush(); (err == nil) != (want > 0) || line.taken != want {
				t.Errorf("%d bytes in a second: %d came, %v", bytesPerSecond, line.taken, err)
			}
		})
	}
}

func TestWatchesAreBounded(t *testing.T) {
	store := newStore(t, wholeCluster)
	front := New(func() backend.Store { return store }, Options{MaxKeyBytes: 64, MaxValueBytes: 64, Logger: slog.New(slog.DiscardHandler)})
	if !front.watches.TryAcquire(maxWatches) {
		t.Fatal("some are taken")
	}
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/watch/k", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), codeBusy) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	front.watches.Release(maxWatches)
	if !front.requests.TryAcquire(maxRequests) {
		t.Error("a refused watch has kept a place")
	}
}
