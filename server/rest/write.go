package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// written is the body of the answer to a write.
type written struct {
	Revision    number `json:"revision"`
	ModRevision number `json:"modRevision,omitzero"`
	// Prev is the version that was replaced or deleted, if it was asked for.
	Prev *item `json:"prev,omitempty"`
}

func (x *request) put() error {
	key, err := x.key()
	if err != nil {
		return err
	}
	condition, err := writeCondition(x.r.Header)
	if err != nil {
		return err
	}
	limit := int64(x.h.options.MaxValueBytes)
	value, release, err := x.body(limit, 1, func() error {
		return problemf(http.StatusRequestEntityTooLarge, codeValueTooLarge, "the value is larger than the limit of %d bytes", limit)
	})
	if err != nil {
		return err
	}
	defer release()
	if x.query.ignoreValue && len(value) > 0 {
		return badQuery("a value is given and ignoreValue is set: leave one of them out")
	}
	r := backend.PutRequest{
		Key: key, Value: value, Lease: x.query.lease, PrevKV: x.query.prev, IgnoreValue: x.query.ignoreValue, IgnoreLease: x.query.ignoreLease,
	}
	if condition == nil {
		result, err := x.store.Put(x.ctx, r)
		if err != nil {
			return err
		}
		return x.answerWrite(written{Revision: number(result.Revision), ModRevision: number(result.Revision), Prev: previous(result.Prev)})
	}
	result, prev, err := x.conditional(key, condition, kv.Op{
		Kind: kv.OpPut, Keys: kv.One(key), Value: value, Lease: r.Lease, PrevKV: r.PrevKV, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	})
	if err != nil {
		return err
	}
	return x.answerWrite(written{Revision: number(result.Revision), ModRevision: number(result.Revision), Prev: prev})
}

func (x *request) delete() error {
	key, err := x.key()
	if err != nil {
		return err
	}
	condition, err := writeCondition(x.r.Header)
	if err != nil {
		return err
	}
	var out written
	var deleted uint64
	if condition == nil {
		result, err := x.store.DeleteRange(x.ctx, backend.DeleteRequest{Keys: kv.One(key), PrevKV: x.query.prev})
		if err != nil {
			return err
		}
		out.Revision, deleted = number(result.Revision), result.Deleted
		if len(result.Prev) > 0 {
			out.Prev = previous(&result.Prev[0])
		}
	} else {
		op := kv.DeleteOp(kv.One(key))
		op.PrevKV = x.query.prev
		result, prev, err := x.conditional(key, condition, op)
		if err != nil {
			return err
		}
		out.Revision, out.Prev, deleted = number(result.Revision), prev, result.Deleted
	}
	if deleted == 0 {
		return x.notFound(key, uint64(out.Revision))
	}
	return x.answerWrite(out)
}

func previous(x *kv.KeyValue) *item {
	if x == nil {
		return nil
	}
	out := itemOf(x, true)
	return &out
}

// conditional runs the operation under the condition, and returns also the version that it replaced, if it asks for that.
func (x *request) conditional(key []byte, condition *kv.Compare, op kv.Op) (backend.TxnResult, *item, error) {
	condition.Keys = kv.One(key)
	result, err := x.store.Txn(x.ctx, backend.TxnRequest{OutcomeOnly: !op.PrevKV, Txn: kv.Txn{
		Compares: []kv.Compare{*condition},
		Success:  []kv.Op{op},
		Failure:  []kv.Op{kv.RangeOp(kv.RangeRequest{Keys: kv.One(key), KeysOnly: true})},
	}})
	if err != nil {
		return result, nil, err
	}
	if !result.Succeeded {
		return result, nil, failedPrecondition(result.Current)
	}
	if op.PrevKV && len(result.Ops[0].Prev) > 0 {
		return result, previous(&result.Ops[0].Prev[0]), nil
	}
	return result, nil, nil
}

func failedPrecondition(current uint64) error {
	p := problemf(http.StatusPreconditionFailed, codePrecondition, "there is no such key; nothing was changed")
	if current != 0 {
		p.Detail = "the key's mod revision is " + strconv.FormatUint(current, 10) + "; nothing was changed"
	}
	p.ModRevision = &current
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
	if answer.Prev != nil {
		release, err := x.hold(documentWeight*len(answer.Prev.Value), true)
		if err != nil {
			return err
		}
		defer release()
	}
	if answer.ModRevision != 0 {
		header := x.w.Header()
		header.Set(HeaderModRevision, strconv.FormatUint(uint64(answer.ModRevision), 10))
		header.Set("ETag", entityTag(uint64(answer.ModRevision)))
	}
	return x.answer(uint64(answer.Revision), answer)
}
