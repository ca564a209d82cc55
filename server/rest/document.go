package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// documentGrowth is how much longer keys and values are in JSON, rounded up; documentSlackBytes is what it may have beside them.
	documentGrowth     = 2
	documentSlackBytes = 64 << 10
	// documentWeight is how many times its own size a document takes in memory while it is worked on.
	documentWeight = 3
	// maxDocumentDepth bounds how deep objects and lists are in each other, maxDocumentParts how many there are of them and their
	// members: both are more than the largest transaction needs, and keep a small document from becoming a large structure.
	maxDocumentDepth = 6 * kv.MaxTxnDepth
	maxDocumentParts = 16 * kv.MaxCommandOps
)

func (h *Handler) maxDocumentBytes() int64 {
	return documentGrowth*int64(h.options.MaxRequestBytes) + documentSlackBytes
}

// number is a whole number that JSON carries as a string, since many readers of JSON round large ones. A plain one is taken too.
type number uint64

// MarshalJSON writes a string.
func (n number) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatUint(uint64(n), 10)), nil
}

// UnmarshalJSON takes a string or a plain number.
func (n *number) UnmarshalJSON(text []byte) error {
	digits := bytes.Trim(text, `"`)
	v, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(text)-len(digits) == 1 {
		return badQuery("%s is no whole number from 0 to %d; write it in quotes", text, uint64(math.MaxUint64))
	}
	*n = number(v)
	return nil
}

// item is one version of a key. Keys and values are base64.
type item struct {
	Key            []byte `json:"key"`
	Value          []byte `json:"value,omitzero"`
	CreateRevision number `json:"createRevision,omitzero"`
	ModRevision    number `json:"modRevision"`
	Version        number `json:"version,omitzero"`
	Lease          number `json:"lease,omitzero"`
}

func itemOf(x *kv.KeyValue, withValue bool) item {
	out := item{
		Key: x.Key, Value: x.Value, CreateRevision: number(x.CreateRevision), ModRevision: number(x.ModRevision),
		Version: number(x.Version), Lease: number(x.Lease),
	}
	if out.Value == nil && withValue {
		out.Value = []byte{} // an empty value is told from one that was not asked for
	}
	return out
}

func itemsOf(in []kv.KeyValue, withValue bool) []item {
	out := make([]item, len(in))
	for i := range in {
		out[i] = itemOf(&in[i], withValue)
	}
	return out
}

// body reads the request's body, of at most so many bytes. The bytes count for the handler until release is called, weight times
// over. nil is what tells that there are more.
func (x *request) body(limit, weight int64, tooLarge func() error) (data []byte, release func(), err error) {
	size := x.r.ContentLength
	switch {
	case size > limit:
		return nil, nil, tooLarge()
	case size < 0:
		size = limit
	}
	size *= weight
	if !x.h.bodies.TryAcquire(size) {
		return nil, nil, backend.ErrBusy
	}
	release = func() { x.h.bodies.Release(size) }
	setReadDeadline := http.NewResponseController(x.w).SetReadDeadline
	x.h.setDeadline(setReadDeadline, time.Now().Add(x.query.timeout))
	data, err = io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	if err == nil {
		// net/http would take the passing of the deadline for a client that has gone.
		x.h.setDeadline(setReadDeadline, time.Time{})
		return data, release, nil
	}
	release()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, nil, tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil, problemf(http.StatusRequestTimeout, codeBodyTimeout, "the body did not arrive within %v; nothing was done", x.query.timeout)
	}
	return nil, nil, problemf(http.StatusBadRequest, codeInvalid, "reading the body failed: %v; nothing was done", err)
}

// readDocument reads the body as one JSON document into what to points at. Call release when to is not used any more.
func (x *request) readDocument(to any) (release func(), err error) {
	limit := x.h.maxDocumentBytes()
	data, release, err := x.body(limit, documentWeight, func() error {
		return problemf(http.StatusRequestEntityTooLarge, codeTooLarge, "the document is larger than the limit of %d bytes", limit)
	})
	if err != nil {
		return nil, err
	}
	if err := parseDocument(data, to); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// parseDocument is strict: what it does not know might have been meant to change much.
func parseDocument(data []byte, to any) error {
	if err := checkShape(data); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(to)
	if err == nil {
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return badQuery("the body has more than one JSON document")
		}
		return nil
	}
	var p *problem
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &wrongType):
		return badQuery("the document's %s at byte %d is of the wrong kind: a JSON %s", wrongType.Field, wrongType.Offset, wrongType.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badQuery("the JSON document in the body is not complete")
	}
	return badQuery("the body is no JSON document of the right form: %v", err)
}

// checkShape refuses a document of too many parts before anything is made of it. What is no JSON passes.
func checkShape(data []byte) error {
	depth, parts, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			parts++
		case c == '}', c == ']':
			depth--
		case c == ',':
			parts++
		}
		if depth > maxDocumentDepth {
			return badQuery("the document is nested deeper than %d: a transaction has at most %d in each other", maxDocumentDepth, kv.MaxTxnDepth)
		}
		if parts > maxDocumentParts {
			return problemf(http.StatusRequestEntityTooLarge, codeTooLarge, "the document has more than %d parts: send less in one request", maxDocumentParts)
		}
	}
	return nil
}

// hold counts what was read for an answer until that is sent. Without room for it the request is refused, or, if it has written, its caller is told that its answer is lost.
func (x *request) hold(size int, written bool) (release func(), err error) {
	release, ok := x.h.answers.Hold(size, nil)
	switch {
	case ok:
		return release, nil
	case written:
		return nil, fmt.Errorf("%w: it was carried out, but this node has no room for what it returns, since other answers are not taken yet", backend.ErrUnknown)
	}
	return nil, fmt.Errorf("%w: this node holds as many answers as it may that their clients have not taken yet", backend.ErrBusy)
}

// itemBytes is about what an item takes beside its key and value.
const itemBytes = 256

func sizeOf(items []kv.KeyValue) int {
	size := 0
	for i := range items {
		size += len(items[i].Key) + len(items[i].Value) + itemBytes
	}
	return size
}

// answer sends a document.
func (x *request) answer(revision uint64, document any) error {
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set(HeaderRevision, strconv.FormatUint(revision, 10))
	_ = json.NewEncoder(x.w).Encode(document) // the client is gone if this fails
	return nil
}
