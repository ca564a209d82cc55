package rest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// written is the body of the answer to a write.
type written struct {
	Revision    uint64 `json:"revision,string"`
	ModRevision uint64 `json:"modRevision,string,omitempty"`
}

func (x *request) put() error {
	limit := int64(x.h.options.MaxValueBytes)
	if x.r.ContentLength > limit {
		return x.valueTooLarge()
	}
	weight := x.r.ContentLength
	if weight < 0 {
		weight = limit
	}
	if !x.h.bodies.TryAcquire(weight) {
		return backend.ErrBusy
	}
	defer x.h.bodies.Release(weight)
	condition, err := writeCondition(x.r.Header)
	if err != nil {
		return err
	}
	value, err := x.readBody(limit)
	if err != nil {
		return x.bodyError(err)
	}
	result, err := x.propose(condition, kv.PutOp(x.key, value))
	if err != nil {
		return err
	}
	return x.answerWrite(written{Revision: result.Revision, ModRevision: result.Revision})
}

// readBody takes the deadline off again: net/http would take its passing for a client that has gone.
func (x *request) readBody(limit int64) ([]byte, error) {
	setReadDeadline := http.NewResponseController(x.w).SetReadDeadline
	x.h.setDeadline(setReadDeadline, time.Now().Add(x.query.timeout))
	value, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	if err == nil {
		x.h.setDeadline(setReadDeadline, time.Time{})
	}
	return value, err
}

func (x *request) valueTooLarge() error {
	return problemf(http.StatusRequestEntityTooLarge, codeValueTooLarge, "the value is larger than the limit of %d bytes", x.h.options.MaxValueBytes)
}

func (x *request) bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return x.valueTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemf(http.StatusRequestTimeout, codeBodyTimeout, "the value did not arrive within %v; nothing was written", x.query.timeout)
	}
	return problemf(http.StatusBadRequest, codeInvalid, "reading the value failed: %v; nothing was written", err)
}

func (x *request) delete() error {
	condition, err := writeCondition(x.r.Header)
	if err != nil {
		return err
	}
	result, err := x.propose(condition, kv.DeleteOp(kv.One(x.key)))
	if err != nil {
		return err
	}
	if result.Deleted == 0 {
		return x.notFound(result.Revision)
	}
	return x.answerWrite(written{Revision: result.Revision})
}

// propose runs the operation under the condition.
func (x *request) propose(condition *kv.Compare, op kv.Op) (*kv.Result, error) {
	txn := kv.Txn{Success: []kv.Op{op}}
	if condition != nil {
		condition.Keys = kv.One(x.key)
		txn.Compares = []kv.Compare{*condition}
		txn.Failure = []kv.Op{kv.RangeOp(kv.RangeRequest{Keys: kv.One(x.key), KeysOnly: true})}
	}
	result, err := x.store.Propose(x.ctx, kv.Transaction(txn))
	if err != nil {
		return nil, err
	}
	if result.Err != nil {
		return nil, result.Err
	}
	if !result.Succeeded {
		return nil, failedPrecondition(result)
	}
	return result, nil
}

func failedPrecondition(result *kv.Result) error {
	p := problemf(http.StatusPreconditionFailed, codePrecondition, "there is no such key; nothing was changed")
	if result.Current != 0 {
		p.Detail = "the key's mod revision is " + strconv.FormatUint(result.Current, 10) + "; nothing was changed"
	}
	p.ModRevision = &result.Current
	return p
}

// writeCondition turns If-Match and If-None-Match (RFC 9110 §13) into a comparison; nil means unconditional.
func writeCondition(header http.Header) (*kv.Compare, error) {
	match, noneMatch := header.Values("If-Match"), header.Values("If-None-Match")
	switch {
	case len(match)+len(noneMatch) == 0:
		return nil, nil
	case len(match)+len(noneMatch) > 1:
		return nil, badQuery("give If-Match or If-None-Match, once")
	case len(noneMatch) == 1:
		if strings.TrimSpace(noneMatch[0]) != "*" {
			return nil, badQuery("If-None-Match: %s: a write takes only *, which means that the key must not exist", noneMatch[0])
		}
		return &kv.Compare{Target: kv.TargetMod, Relation: kv.Equal, Number: 0}, nil
	}
	if strings.TrimSpace(match[0]) == "*" {
		return &kv.Compare{Target: kv.TargetMod, Relation: kv.Greater, Number: 0}, nil
	}
	revision, ok := parseEntityTag(match[0])
	if !ok {
		return nil, badQuery("If-Match: %s: write one mod revision in quotes, such as \"12\", or *", match[0])
	}
	return &kv.Compare{Target: kv.TargetMod, Relation: kv.Equal, Number: revision}, nil
}

// parseEntityTag takes the quotes off a mod revision; curl users may leave them out.
func parseEntityTag(text string) (uint64, bool) {
	text = strings.TrimSpace(text)
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	v, err := strconv.ParseUint(text, 10, 64)
	return v, err == nil && v != 0
}

func entityTag(modRevision uint64) string { return `"` + strconv.FormatUint(modRevision, 10) + `"` }

func (x *request) answerWrite(answer written) error {
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set(HeaderRevision, strconv.FormatUint(answer.Revision, 10))
	if answer.ModRevision != 0 {
		header.Set(HeaderModRevision, strconv.FormatUint(answer.ModRevision, 10))
		header.Set("ETag", entityTag(answer.ModRevision))
	}
	_ = json.NewEncoder(x.w).Encode(answer) // the client is gone if this fails
	return nil
}
