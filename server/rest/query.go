package rest

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/kv"
)

// query is a request's parameters.
type query struct {
	timeout      time.Duration
	serializable bool
	revision     uint64

	// prefix or end make a range of the path's key.
	prefix bool
	end    string

	// Of a listing. from is the first key of one that goes on; empty for its beginning.
	from                                 string
	limit                                int
	keysOnly, countOnly, count           bool
	order                                kv.SortOrder
	target                               kv.SortTarget
	minModRevision, maxModRevision       uint64
	minCreateRevision, maxCreateRevision uint64

	// Of writes, and prev of watches too.
	lease                          kv.LeaseID
	prev, ignoreValue, ignoreLease bool

	// Of watches.
	noPut, noDelete, progress bool

	// Of a lease.
	keys bool
}

// ranged tells whether the request is about many keys.
func (q *query) ranged() bool { return q.prefix || q.end != "" }

// keyRange is what the path's key stands for.
func (q *query) keyRange(key []byte) kv.KeyRange {
	switch {
	case q.prefix:
		return kv.Prefix(key)
	case q.end != "":
		return kv.Span(key, []byte(q.end))
	}
	return kv.One(key)
}

// The names of parameters, by what they go with.
var (
	parametersOfAll    = []string{"timeout"}
	parametersOfGet    = append([]string{"serializable", "revision", "prefix", "end"}, parametersOfAll...)
	parametersOfList   = append([]string{"limit", "continue", "keysOnly", "countOnly", "count", "sort", "order", "minModRevision", "maxModRevision", "minCreateRevision", "maxCreateRevision"}, parametersOfGet...)
	parametersOfPut    = append([]string{"lease", "prev", "ignoreValue", "ignoreLease"}, parametersOfAll...)
	parametersOfDelete = append([]string{"prev"}, parametersOfAll...)
	parametersOfTxn    = append([]string{"serializable"}, parametersOfAll...)
	parametersOfLease  = append([]string{"keys"}, parametersOfAll...)
	parametersOfWatch  = []string{"revision", "prefix", "end", "prev", "noPut", "noDelete", "progress"}
)

func exactly(names []string) func(url.Values) ([]string, error) {
	return func(url.Values) ([]string, error) { return names, nil }
}

// ofGet tells a listing from a read of one key.
func ofGet(given url.Values) ([]string, error) {
	if given.Has("end") {
		return parametersOfList, nil
	}
	if given.Has("prefix") {
		if prefix, err := flag("prefix", given.Get("prefix")); prefix || err != nil {
			return parametersOfList, err
		}
	}
	return parametersOfGet, nil
}

func badQuery(format string, args ...any) error {
	return problemf(http.StatusBadRequest, codeInvalid, format, args...)
}

// parseQuery refuses an unknown parameter: it might have been meant to change much.
func parseQuery(r *http.Request, e *endpoint) (query, error) {
	q := query{timeout: DefaultTimeout, limit: DefaultLimit}
	if r.URL.RawQuery == "" {
		return q, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, badQuery("the query is malformed: %v", err)
	}
	allowed, err := e.parameters(values)
	if err != nil {
		return q, err
	}
	for name, given := range values {
		if !slices.Contains(allowed, name) {
			return q, badQuery("parameter %q is not known here: %s", name, strings.Join(allowed, ", "))
		}
		if len(given) > 1 {
			return q, badQuery("parameter %q is given %d times", name, len(given))
		}
	}
	return q, q.read(values)
}

// flag is true for "?name", "?name=true" and "?name=1".
func flag(name, text string) (bool, error) {
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, badQuery("%s=%q: write true or false", name, text)
	}
	return v, nil
}

func revisionOf(name, text string) (uint64, error) {
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil || revision == 0 {
		return 0, badQuery("%s=%q: write a revision that an answer of this store named", name, text)
	}
	return revision, nil
}

// read takes the parameters, all of which are known.
func (q *query) read(values url.Values) error {
	by, order := "", ""
	for name, given := range values {
		var err error
		switch text := given[0]; name {
		case "sort":
			by = text
		case "order":
			order = text
		case "end":
			if q.end = text; text == "" {
				err = badQuery("end is empty: write the first key behind the range, or %%00 for all keys from here on")
			}
		default:
			err = q.set(name, text)
		}
		if err != nil {
			return err
		}
	}
	var err error
	q.target, q.order, err = sorting(by, order)
	switch {
	case err != nil:
		return err
	case q.prefix && q.end != "":
		return badQuery("give prefix or end, not both")
	case q.ignoreLease && q.lease != 0:
		return badQuery("give lease or ignoreLease, not both")
	case q.from != "" && values.Has("revision"):
		return badQuery("continue has a revision of its own: leave the parameter revision out")
	case q.from != "" && q.order != kv.SortNone:
		return badQuery("a sorted listing cannot be continued: leave sort and order out, or ask for more at once")
	}
	return nil
}

func (q *query) set(name, text string) (err error) {
	switch name {
	case "timeout":
		q.timeout, err = time.ParseDuration(text)
		if err != nil || q.timeout <= 0 || q.timeout > MaxTimeout {
			return badQuery("timeout=%q: write a duration such as 500ms or 5s, at most %v", text, MaxTimeout)
		}
	case "limit":
		q.limit, err = strconv.Atoi(text)
		if err != nil || q.limit < 1 || q.limit > MaxLimit {
			return badQuery("limit=%q: write a number from 1 to %d", text, MaxLimit)
		}
	case "lease":
		q.lease, err = leaseID(text)
	case "continue":
		err = q.readContinue(text)
	case "revision":
		var revision uint64
		if revision, err = revisionOf(name, text); q.from == "" { // or the word continue has been read, and there will be an error
			q.revision = revision
		}
	case "minModRevision":
		q.minModRevision, err = revisionOf(name, text)
	case "maxModRevision":
		q.maxModRevision, err = revisionOf(name, text)
	case "minCreateRevision":
		q.minCreateRevision, err = revisionOf(name, text)
	case "maxCreateRevision":
		q.maxCreateRevision, err = revisionOf(name, text)
	default:
		*q.flag(name), err = flag(name, text)
	}
	return err
}

// flag is the parameter of that name, one that is true or false.
func (q *query) flag(name string) *bool {
	switch name {
	case "serializable":
		return &q.serializable
	case "prefix":
		return &q.prefix
	case "keysOnly":
		return &q.keysOnly
	case "countOnly":
		return &q.countOnly
	case "count":
		return &q.count
	case "prev":
		return &q.prev
	case "ignoreValue":
		return &q.ignoreValue
	case "ignoreLease":
		return &q.ignoreLease
	case "noPut":
		return &q.noPut
	case "noDelete":
		return &q.noDelete
	case "progress":
		return &q.progress
	case "keys":
		return &q.keys
	}
	panic("rest: no parameter " + name + " is declared") // parseQuery has let a name pass that set does not know
}

// leaseID reads what names a lease: a number from 1 on.
func leaseID(text string) (kv.LeaseID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, badQuery("%q names no lease: write the ID that the grant returned, a number from 1 to %d", text, int64(math.MaxInt64))
	}
	return id, nil
}

var sortTargets = map[string]kv.SortTarget{
	"key": kv.SortByKey, "version": kv.SortByVersion, "createRevision": kv.SortByCreate, "modRevision": kv.SortByMod, "value": kv.SortByValue,
}

var sortOrders = map[string]kv.SortOrder{"ascending": kv.SortAscending, "descending": kv.SortDescending}

// sorting reads by what and in which order a range is sorted; the empty words mean by key, ascending.
func sorting(by, order string) (target kv.SortTarget, out kv.SortOrder, err error) {
	target, ok := sortTargets[by]
	if !ok && by != "" {
		return 0, 0, badQuery("sort=%q: write key, version, createRevision, modRevision or value", by)
	}
	out, ok = sortOrders[order]
	switch {
	case !ok && order != "":
		return 0, 0, badQuery("order=%q: write ascending or descending", order)
	case target == kv.SortByKey && out != kv.SortDescending:
		return target, kv.SortNone, nil // they are in that order anyway
	case order == "":
		return target, kv.SortAscending, nil
	}
	return target, out, nil
}

// continueWord tells where a listing goes on, and at which revision, so that all its parts are of one moment.
func continueWord(revision uint64, next []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.AppendUvarint(nil, revision), next...))
}

func (q *query) readContinue(text string) error {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	revision, n := binary.Uvarint(raw)
	if err != nil || n <= 0 || revision == 0 || n == len(raw) {
		return badQuery("continue=%q: write the word that the answer before gave", text)
	}
	q.revision, q.from = revision, string(raw[n:])
	return nil
}
