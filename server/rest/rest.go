package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/raftkv/raftkv/server/backend"
)

const (
	// DefaultTimeout bounds a request that names no timeout.
	DefaultTimeout = 5 * time.Second
	// MaxTimeout is the longest that a request may ask for.
	MaxTimeout = time.Minute
	// answerGrace is the time that the answer's bytes may take after the request's timeout.
	answerGrace = 30 * time.Second

	// maxRequests bounds the requests that are worked on at one time, maxBodyBytes the bytes of their values.
	maxRequests  = 8192
	maxBodyBytes = 256 << 20

	// DefaultLimit and MaxLimit bound the keys of one listing.
	DefaultLimit = 1000
	MaxLimit     = 10_000
)

const keyPath = "/v1/kv/"

// Header names.
const (
	HeaderRevision       = "X-Raftkv-Revision"
	HeaderCreateRevision = "X-Raftkv-Create-Revision"
	HeaderModRevision    = "X-Raftkv-Mod-Revision"
	HeaderVersion        = "X-Raftkv-Version"
)

// Options tune a Handler.
type Options struct {
	// MaxKeyBytes and MaxValueBytes are the limits past which a request gets 413.
	MaxKeyBytes, MaxValueBytes int
	Logger                     *slog.Logger
}

// Handler serves the REST front end. Its backend may change while it runs.
type Handler struct {
	store    func() backend.Backend
	options  Options
	requests *semaphore.Weighted
	bodies   *semaphore.Weighted
}

// New serves what store returns at the time of each request; nil means that this node is no member yet.
func New(store func() backend.Backend, options Options) *Handler {
	return &Handler{
		store: store, options: options,
		requests: semaphore.NewWeighted(maxRequests),
		bodies:   semaphore.NewWeighted(max(maxBodyBytes, int64(options.MaxValueBytes))),
	}
}

// request is one request on its way through the handler.
type request struct {
	w     http.ResponseWriter
	r     *http.Request
	h     *Handler
	ctx   context.Context
	store backend.Backend
	key   []byte
	query query
}

// ServeHTTP dispatches on the escaped path itself: a ServeMux would clean it, and clean paths are not what keys are made of.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	escaped, found := strings.CutPrefix(r.URL.EscapedPath(), keyPath)
	if !found {
		return problemf(http.StatusNotFound, codeNotFound, "there is nothing at %s: keys are at %sKEY", r.URL.Path, keyPath)
	}
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return problemf(http.StatusBadRequest, codeInvalid, "the key is not percent-encoded: %v", err)
	}
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	if err := h.checkKey(key, q.prefix); err != nil {
		return err
	}
	if !h.requests.TryAcquire(1) {
		return backend.ErrBusy
	}
	defer h.requests.Release(1)
	store := h.store()
	if store == nil {
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "this node is not a member of a cluster yet")
	}
	ctx, cancel := context.WithTimeout(r.Context(), q.timeout)
	defer cancel()
	h.setDeadline(http.NewResponseController(w).SetWriteDeadline, time.Now().Add(q.timeout+answerGrace))
	x := &request{w: w, r: r, h: h, ctx: ctx, store: store, key: []byte(key), query: q}
	switch {
	case q.prefix:
		return x.list()
	case r.Method == http.MethodPut:
		return x.put()
	case r.Method == http.MethodDelete:
		return x.delete()
	}
	return x.get()
}

func (h *Handler) checkKey(key string, prefix bool) error {
	if key == "" && !prefix {
		return problemf(http.StatusBadRequest, codeInvalid, "the key is empty: write it behind %s, or ask for %s?prefix to list all keys", keyPath, keyPath)
	}
	if len(key) > h.options.MaxKeyBytes {
		return problemf(http.StatusRequestEntityTooLarge, codeKeyTooLarge, "the key has %d bytes, the limit is %d bytes", len(key), h.options.MaxKeyBytes)
	}
	return nil
}

// setDeadline bounds how long a client may take to send or to receive, so that one that stalls does not hold its request for
// ever. Only a recorder in a test cannot.
func (h *Handler) setDeadline(set func(time.Time) error, at time.Time) {
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.options.Logger.Debug("cannot bound the time of a connection", "error", err)
	}
}
