package rest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/kv"
)

// listing is the body of the answer to ?prefix. Keys and values are base64.
type listing struct {
	// Revision is the one that was read at.
	Revision uint64 `json:"revision,string"`
	Items    []item `json:"items"`
	// More says that there are keys behind these; Continue is the parameter that gets them.
	More     bool   `json:"more"`
	Continue string `json:"continue,omitempty"`
}

type item struct {
	Key            []byte `json:"key"`
	Value          []byte `json:"value,omitzero"`
	CreateRevision uint64 `json:"createRevision,string"`
	ModRevision    uint64 `json:"modRevision,string"`
	Version        uint64 `json:"version,string"`
}

// barrier makes the read that follows linearizable unless the request asks for less.
func (x *request) barrier() error {
	if x.query.serializable {
		return nil
	}
	return x.store.ReadBarrier(x.ctx)
}

func (x *request) get() error {
	if err := x.barrier(); err != nil {
		return err
	}
	found, err := x.store.Get(x.ctx, x.key, x.query.revision)
	if err != nil {
		return err
	}
	if !found.Found {
		return x.notFound(found.Revision)
	}
	header := x.w.Header()
	header.Set(HeaderRevision, strconv.FormatUint(found.Revision, 10))
	header.Set(HeaderModRevision, strconv.FormatUint(found.ModRevision, 10))
	header.Set(HeaderCreateRevision, strconv.FormatUint(found.CreateRevision, 10))
	header.Set(HeaderVersion, strconv.FormatUint(found.Version, 10))
	header.Set("ETag", entityTag(found.ModRevision))
	header.Set("Cache-Control", "no-cache")
	if x.unchanged(found.ModRevision) {
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(found.Value)))
	_, _ = x.w.Write(found.Value) // the client is gone if this fails
	return nil
}

// unchanged tells whether the client has this version already (RFC 9110 §13.1.2).
func (x *request) unchanged(modRevision uint64) bool {
	for _, part := range strings.Split(x.r.Header.Get("If-None-Match"), ",") {
		if v, ok := parseEntityTag(strings.TrimPrefix(strings.TrimSpace(part), "W/")); ok && v == modRevision {
			return true
		}
	}
	return false
}

func (x *request) notFound(revision uint64) error {
	x.w.Header().Set(HeaderRevision, strconv.FormatUint(revision, 10))
	return problemf(http.StatusNotFound, codeKeyNotFound, "there is no key %q", x.key)
}

func (x *request) list() error {
	keys := kv.Prefix(x.key)
	if x.query.from != "" {
		if !strings.HasPrefix(x.query.from, string(x.key)) {
			return badQuery("continue is of a listing of another prefix")
		}
		keys.Start = []byte(x.query.from)
	}
	if err := x.barrier(); err != nil {
		return err
	}
	result, err := x.store.Range(x.ctx, kv.RangeRequest{Keys: keys, Revision: x.query.revision, Limit: x.query.limit, KeysOnly: x.query.keysOnly})
	if err != nil {
		return err
	}
	out := listing{Revision: result.Revision, Items: make([]item, 0, len(result.Items)), More: result.More}
	if x.query.revision != 0 {
		out.Revision = x.query.revision
	}
	for _, f := range result.Items {
		if f.Value == nil && !x.query.keysOnly {
			f.Value = []byte{} // an empty value is told from one that was not asked for
		}
		out.Items = append(out.Items, item{Key: f.Key, Value: f.Value, CreateRevision: f.CreateRevision, ModRevision: f.ModRevision, Version: f.Version})
	}
	if n := len(out.Items); out.More && n > 0 {
		out.Continue = continueWord(out.Revision, append(append([]byte(nil), out.Items[n-1].Key...), 0))
	}
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-cache")
	header.Set(HeaderRevision, strconv.FormatUint(result.Revision, 10))
	_ = json.NewEncoder(x.w).Encode(out) // the client is gone if this fails
	return nil
}
