package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// The codes of problems. They are stable; the texts are not.
const (
	codeInvalid       = "invalid_request"
	codeNotFound      = "not_found"
	codeKeyNotFound   = "key_not_found"
	codeMethod        = "method_not_allowed"
	codeBodyTimeout   = "request_timeout"
	codeCompacted     = "revision_compacted"
	codeFuture        = "revision_in_future"
	codePrecondition  = "precondition_failed"
	codeKeyTooLarge   = "key_too_large"
	codeValueTooLarge = "value_too_large"
	codeHeadTooLarge  = "head_too_large"
	codeTooLarge      = "too_large"
	codeInternal      = "internal"
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
	case errors.Is(err, backend.ErrBusy):
		return problemf(http.StatusServiceUnavailable, codeBusy, "%v: the request was not applied; send it again later", err)
	case errors.Is(err, backend.ErrNoSpace):
		return problemf(http.StatusInsufficientStorage, codeNoSpace, "%v", err)
	case errors.Is(err, backend.ErrUnavailable):
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "%v: the request was not applied; send it again", err)
	case timedOut && !write:
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "no answer from the cluster within the timeout; send the request again")
	case timedOut, errors.Is(err, backend.ErrUnknown), errors.Is(err, kv.ErrExpired), errors.Is(err, kv.ErrForgotten):
		return problemf(http.StatusGatewayTimeout, codeUnknown, "%v: the write may or may not have been applied; read the key to find out", err)
	case errors.Is(err, kv.ErrCompacted):
		return problemf(http.StatusGone, codeCompacted, "%v: its history is gone; read without a revision", err)
	case errors.Is(err, kv.ErrFutureRevision):
		return problemf(http.StatusBadRequest, codeFuture, "%v: this node has not come that far", err)
	case errors.Is(err, kv.ErrEmptyKey), errors.Is(err, kv.ErrMalformed), errors.Is(err, kv.ErrDuplicateKey):
		return problemf(http.StatusBadRequest, codeInvalid, "%v", err)
	case errors.Is(err, kv.ErrClosed):
		return problemf(http.StatusServiceUnavailable, codeUnavailable, "this node is stopping; send the request again, to another node")
	}
	return problemf(http.StatusInternalServerError, codeInternal, "%v", err)
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err, r.Method == http.MethodPut || r.Method == http.MethodDelete)
	header := w.Header()
	header.Set("Content-Type", problemType)
	header.Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	case http.StatusMethodNotAllowed:
		header.Set("Allow", "GET, HEAD, PUT, DELETE")
	case http.StatusInternalServerError:
		h.options.Logger.Error("a request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
	}
	if p.ModRevision != nil && *p.ModRevision != 0 {
		header.Set(HeaderModRevision, strconv.FormatUint(*p.ModRevision, 10))
		header.Set("ETag", entityTag(*p.ModRevision))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}
