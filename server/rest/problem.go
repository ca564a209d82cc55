package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
)

// The codes of problems. They are stable; the texts are not.
const (
	codeInvalid       = "invalid_request"
	codeCrossOrigin   = "cross_origin"
	codeNotFound      = "not_found"
	codeKeyNotFound   = "key_not_found"
	codeLeaseNotFound = "lease_not_found"
	codeMethod        = "method_not_allowed"
	codeBodyTimeout   = "request_timeout"
	codeLeaseExists   = "lease_exists"
	codeCompacted     = "revision_compacted"
	codeFuture        = "revision_in_future"
	codePrecondition  = "precondition_failed"
	codeKeyTooLarge   = "key_too_large"
	codeValueTooLarge = "value_too_large"
	codeHeadTooLarge  = "head_too_large"
	codeTooLarge      = "too_large"
	codeInternal      = "internal"
	codeUnsupported   = "unsupported"
	codeUnavailable   = "unavailable"
	codeBusy          = "busy"
	codeUnknown       = "outcome_unknown"
	codeNoSpace       = "no_space"
)

// problemType is the content type of a problem document (RFC 9457 §3).
const problemType = "application/problem+json"

// retryAfterSeconds is what a client should wait before it sends a request again: about an election.
const retryAfterSeconds = 1

// problem is an RFC 9457 document.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// ModRevision is the key's current one after a failed precondition; "0" means that there is no such key.
	ModRevision *uint64 `json:"modRevision,string,omitempty"`
	// CompactRevision is the first revision that can be watched, where an earlier one was asked for.
	CompactRevision uint64 `json:"compactRevision,string,omitempty"`

	// allow is the header of that name.
	allow string
}

func (p *problem) Error() string { return p.Detail }

func problemf(status int, code, format string, args ...any) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// problemOf gives every error its place. A write that ran out of time is of unknown outcome, a read is not.
func problemOf(err error, write bool) *problem {
	var p *problem
	var large *kv.TooLargeError
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large), errors.Is(err, backend.ErrTooLarge):
		return problemf(http.StatusRequestEntityTooLarge, codeTooLarge, "%v", err)
	case errors.Is(err, backend.ErrBusy), errors.Is(err, watch.ErrTooManyWatches), errors.Is(err, kv.ErrTooManyLeases):
		return problemf(http.StatusServiceUnavailable, codeBusy, "%v: the request was not applied; send it again later", err)
	case errors.Is(err, backend.ErrNoSpace):
		return problemf(http.StatusInsufficientStorage, codeNoSpace, "%v", err)
	case errors.Is(err, backend.ErrUnavailable):
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "%v: the request was not applied; send it again", err)
	case errors.Is(err, backend.ErrUnsupported):
		return problemf(http.StatusNotImplemented, codeUnsupported, "%v; the request was not applied", err)
	case timedOut && !write:
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "no answer from the cluster within the timeout; send the request again")
	case timedOut, errors.Is(err, backend.ErrUnknown), errors.Is(err, kv.ErrExpired), errors.Is(err, kv.ErrForgotten):
		return problemf(http.StatusGatewayTimeout, codeUnknown, "%v: the write may or may not have been applied; read to find out", err)
	case errors.Is(err, kv.ErrClosed), errors.Is(err, watch.ErrClosed):
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "this node is stopping; send the request again, to another node")
	}
	return refusalOf(err)
}

// refusalOf is for what the store refuses, whoever asks and whenever.
func refusalOf(err error) *problem {
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return problemf(http.StatusGone, codeCompacted, "%v: its history is gone; ask for a later one, or for none", err)
	case errors.Is(err, kv.ErrFutureRevision):
		return problemf(http.StatusBadRequest, codeFuture, "%v: the store has not come that far", err)
	case errors.Is(err, kv.ErrKeyNotFound):
		return problemf(http.StatusNotFound, codeKeyNotFound, "%v: there is no value or lease to keep", err)
	case errors.Is(err, kv.ErrLeaseNotFound):
		return problemf(http.StatusNotFound, codeLeaseNotFound, "%v: it was revoked, or its time is over; grant another", err)
	case errors.Is(err, kv.ErrLeaseExists):
		return problemf(http.StatusConflict, codeLeaseExists, "%v: choose another ID, or none", err)
	case errors.Is(err, kv.ErrEmptyKey), errors.Is(err, kv.ErrMalformed), errors.Is(err, kv.ErrDuplicateKey), errors.Is(err, kv.ErrLeaseTTL),
		errors.Is(err, watch.ErrEmptyRange):
		return problemf(http.StatusBadRequest, codeInvalid, "%v", err)
	}
	return problemf(http.StatusInternalServerError, codeInternal, "%v", err)
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, p *problem) {
	// An earlier request on the connection may have left a deadline.
	h.setDeadline(http.NewResponseController(w).SetWriteDeadline, time.Now().Add(answerGrace))
	header := w.Header()
	header.Set("Content-Type", problemType)
	header.Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	case http.StatusMethodNotAllowed:
		header.Set("Allow", p.allow)
	case http.StatusInternalServerError:
		h.options.Logger.Error("a request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", p.Detail)
	}
	if p.ModRevision != nil && *p.ModRevision != 0 {
		header.Set(HeaderModRevision, strconv.FormatUint(*p.ModRevision, 10))
		header.Set("ETag", entityTag(*p.ModRevision))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}
