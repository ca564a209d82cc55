package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/leaderless"
)

const (
	// DefaultTimeout bounds a request that names no timeout.
	DefaultTimeout = 5 * time.Second
	// MaxTimeout is the longest that a request may ask for.
	MaxTimeout = time.Minute
	// answerGrace is the time that the answer's bytes may take after the request's timeout.
	answerGrace = 30 * time.Second

	// maxRequests bounds the requests that are worked on at one time, maxBodyBytes the bytes of their bodies, maxWatches the
	// watches, which are not counted as requests once they have begun.
	maxRequests  = 8192
	maxBodyBytes = 256 << 20
	maxWatches   = 16 << 10

	// DefaultLimit and MaxLimit bound the keys of one listing, maxListBytes the bytes of its keys and values.
	DefaultLimit = 1000
	MaxLimit     = 10_000
	maxListBytes = 8 << 20
)

// Header names.
const (
	HeaderRevision       = "X-Raftkv-Revision"
	HeaderCreateRevision = "X-Raftkv-Create-Revision"
	HeaderModRevision    = "X-Raftkv-Mod-Revision"
	HeaderVersion        = "X-Raftkv-Version"
	HeaderLease          = "X-Raftkv-Lease"
)

// Options tune a Handler.
type Options struct {
	// MaxKeyBytes and MaxValueBytes are the limits past which a request gets 413.
	MaxKeyBytes, MaxValueBytes int
	// MaxRequestBytes bounds all keys and values of a transaction together; zero means those of one value.
	MaxRequestBytes int
	// Answers bounds the answers that clients have not taken yet, in this and other front ends together; nil means a bound of its own.
	Answers *answers.Bound
	// ElectionTimeout is the cluster's: a watch ends when no leader is known for three of them. Zero: it goes on.
	ElectionTimeout time.Duration
	// Watching, if not nil, is told of each watch that begins; what it returns is called when the watch ends.
	Watching func() (ended func())
	Logger   *slog.Logger
}

// Handler serves the REST front end. Its store may change while it runs.
type Handler struct {
	store    func() backend.Store
	options  Options
	requests *semaphore.Weighted
	bodies   *semaphore.Weighted
	watches  *semaphore.Weighted
	answers  *answers.Bound
	// leaders ends watches.
	leaders *leaderless.Watch
}

// New serves what store returns at the time of each request; nil means that this node is no member yet.
func New(store func() backend.Store, options Options) *Handler {
	options.MaxRequestBytes = max(options.MaxRequestBytes, options.MaxValueBytes)
	if options.Watching == nil {
		options.Watching = func() func() { return func() {} }
	}
	if options.Answers == nil {
		options.Answers = answers.New(answers.DefaultMaxBytes, answers.DefaultPatience)
	}
	h := &Handler{store: store, options: options, requests: semaphore.NewWeighted(maxRequests), watches: semaphore.NewWeighted(maxWatches), answers: options.Answers}
	h.bodies = semaphore.NewWeighted(max(maxBodyBytes, h.maxDocumentBytes()*documentWeight))
	h.leaders = leaderless.New(h.knowsLeader, options.ElectionTimeout)
	return h
}

// Stop ends the watches, which have no end of their own. Other requests go on.
func (h *Handler) Stop() { h.leaders.Close() }

// knowsLeader tells whether this node knows a leader.
func (h *Handler) knowsLeader() bool {
	store := h.store()
	if store == nil {
		return false
	}
	status, err := store.Status(context.Background()) // it never waits
	return err == nil && status.Leader != 0
}

// request is one request on its way through the handler.
type request struct {
	w     http.ResponseWriter
	r     *http.Request
	h     *Handler
	ctx   context.Context
	store backend.Store
	// part is what the path has in braces, unescaped: a key or an ID.
	part  string
	query query
	// release gives the request's slot back; it may be called twice.
	release func()
}

// origins refuses what a page of another origin makes a browser write here (RFC 6454): a node is often reached through a port on the
// machine of the one who browses.
var origins = http.NewCrossOriginProtection()

// ServeHTTP dispatches on the escaped path itself: a ServeMux would clean it, and clean paths are not what keys are made of.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint, part, err := route(r.Method, r.URL.EscapedPath())
	if err == nil {
		err = h.serve(w, r, endpoint, part)
	}
	if err != nil {
		h.fail(w, r, problemOf(err, endpoint != nil && endpoint.writes))
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, e *endpoint, part string) error {
	if err := origins.Check(r); err != nil {
		return problemf(http.StatusForbidden, codeCrossOrigin, "a page of another origin may not write here: send the request from a program")
	}
	q, err := parseQuery(r, e)
	if err != nil {
		return err
	}
	if !h.requests.TryAcquire(1) {
		return backend.ErrBusy
	}
	held := true
	release := func() {
		if held {
			held = false
			h.requests.Release(1)
		}
	}
	defer release()
	x := &request{w: w, r: r, h: h, part: part, query: q, release: release}
	if x.store = h.store(); x.store == nil && !e.bare {
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "this node is not a member of a cluster yet")
	}
	ctx, cancel := context.WithTimeout(r.Context(), q.timeout)
	defer cancel()
	x.ctx = ctx
	h.setDeadline(http.NewResponseController(w).SetWriteDeadline, time.Now().Add(q.timeout+answerGrace))
	return e.serve(x)
}

// key is the path's key, or the prefix or beginning of a range.
func (x *request) key() ([]byte, error) {
	switch {
	case x.part == "" && !x.query.ranged():
		prefix, _, _ := strings.Cut(keyPath, "{")
		return nil, problemf(http.StatusBadRequest, codeInvalid, "the key is empty: write it behind %s, or ask with ?prefix for all keys", prefix)
	case len(x.part) > x.h.options.MaxKeyBytes:
		return nil, problemf(http.StatusRequestEntityTooLarge, codeKeyTooLarge, "the key has %d bytes, the limit is %d bytes", len(x.part), x.h.options.MaxKeyBytes)
	case len(x.query.end) > x.h.options.MaxKeyBytes+1:
		return nil, problemf(http.StatusRequestEntityTooLarge, codeKeyTooLarge, "the end has %d bytes, the limit is %d bytes", len(x.query.end), x.h.options.MaxKeyBytes)
	}
	return []byte(x.part), nil
}

// setDeadline bounds how long a client may take to send or to receive, so that one that stalls does not hold its request for
// ever. Only a recorder in a test cannot.
func (h *Handler) setDeadline(set func(time.Time) error, at time.Time) {
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.options.Logger.Debug("cannot bound the time of a connection", "error", err)
	}
}
