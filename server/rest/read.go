package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// listing is the body of the answer about a range of keys.
type listing struct {
	// Revision is the one that was read at.
	Revision number `json:"revision"`
	Items    []item `json:"items"`
	// More says that there are keys behind these; Continue is the parameter that gets them.
	More     bool    `json:"more"`
	Continue string  `json:"continue,omitempty"`
	Count    *number `json:"count,omitempty"`
}

func (x *request) read() error {
	key, err := x.key()
	if err != nil {
		return err
	}
	if x.query.ranged() {
		return x.list(key)
	}
	return x.get(key)
}

func (x *request) get(key []byte) error {
	result, err := x.store.Range(x.ctx, backend.RangeRequest{
		RangeRequest: kv.RangeRequest{Keys: kv.One(key), Revision: x.query.revision}, Serializable: x.query.serializable,
	})
	if err != nil {
		return err
	}
	release, err := x.hold(sizeOf(result.Items), false)
	if err != nil {
		return err
	}
	defer release()
	match, noneMatch := x.r.Header.Values("If-Match"), x.r.Header.Values("If-None-Match")
	if len(result.Items) == 0 {
		if len(match) > 0 {
			return failedPrecondition(0)
		}
		return x.notFound(key, result.Revision)
	}
	found := &result.Items[0]
	if len(match) > 0 && !names(match, found.ModRevision, false) {
		return failedPrecondition(found.ModRevision)
	}
	header := x.w.Header()
	header.Set(HeaderRevision, strconv.FormatUint(result.Revision, 10))
	header.Set(HeaderModRevision, strconv.FormatUint(found.ModRevision, 10))
	header.Set(HeaderCreateRevision, strconv.FormatUint(found.CreateRevision, 10))
	header.Set(HeaderVersion, strconv.FormatUint(found.Version, 10))
	if found.Lease != 0 {
		header.Set(HeaderLease, strconv.FormatInt(found.Lease, 10))
	}
	header.Set("ETag", entityTag(found.ModRevision))
	header.Set("Cache-Control", "no-cache")
	if len(noneMatch) > 0 && names(noneMatch, found.ModRevision, true) {
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(found.Value)))
	_, _ = x.w.Write(found.Value) // the client is gone if this fails
	return nil
}

// names tells whether a condition of a request names a mod revision, zero if there is no such key (RFC 9110 §13.1). Weak ones are as good as others where
// weak says so.
func names(conditions []string, modRevision uint64, weak bool) bool {
	for _, part := range strings.Split(strings.Join(conditions, ","), ",") {
		part = strings.TrimSpace(part)
		if weak {
			part = strings.TrimPrefix(part, "W/")
		}
		if v, ok := parseEntityTag(part); modRevision != 0 && (part == "*" || ok && v == modRevision) {
			return true
		}
	}
	return false
}

func (x *request) notFound(key []byte, revision uint64) error {
	x.w.Header().Set(HeaderRevision, strconv.FormatUint(revision, 10))
	return problemf(http.StatusNotFound, codeKeyNotFound, "there is no key %q", key)
}

func (x *request) list(key []byte) error {
	q := &x.query
	keys := q.keyRange(key)
	if q.from != "" {
		if !keys.Contains([]byte(q.from)) {
			return badQuery("continue is of a listing of another range")
		}
		keys.Start = []byte(q.from)
	}
	result, err := x.store.Range(x.ctx, backend.RangeRequest{Serializable: q.serializable, RangeRequest: kv.RangeRequest{
		Keys: keys, Revision: q.revision, Limit: q.limit, KeysOnly: q.keysOnly, CountOnly: q.countOnly, WithCount: q.count || q.countOnly,
		Sort: q.order, Target: q.target, MinModRevision: q.minModRevision, MaxModRevision: q.maxModRevision,
		MinCreateRevision: q.minCreateRevision, MaxCreateRevision: q.maxCreateRevision, MaxBytes: maxListBytes,
	}})
	if err != nil {
		return err
	}
	release, err := x.hold(documentWeight*sizeOf(result.Items), false)
	if err != nil {
		return err
	}
	defer release()
	out := listing{Revision: number(result.Revision), Items: itemsOf(result.Items, !q.keysOnly), More: result.More}
	if q.revision != 0 {
		out.Revision = number(q.revision)
	}
	if q.count || q.countOnly {
		count := number(result.Count)
		out.Count = &count
	}
	if n := len(result.Items); out.More && n > 0 && q.order == kv.SortNone {
		out.Continue = continueWord(uint64(out.Revision), append(append([]byte(nil), result.Items[n-1].Key...), 0))
	}
	x.w.Header().Set("Cache-Control", "no-cache")
	return x.answer(result.Revision, out)
}
