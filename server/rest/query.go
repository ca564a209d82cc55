package rest

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query is a request's parameters.
type query struct {
	timeout      time.Duration
	prefix       bool
	serializable bool
	keysOnly     bool
	limit        int
	revision     uint64
	// from is the first key of a listing that goes on; empty for its beginning.
	from string
}

var (
	parametersOfAll  = []string{"timeout"}
	parametersOfGet  = append([]string{"serializable", "revision", "prefix"}, parametersOfAll...)
	parametersOfList = append([]string{"limit", "keysOnly", "continue"}, parametersOfGet...)
)

func badQuery(format string, args ...any) error {
	return problemf(http.StatusBadRequest, codeInvalid, format, args...)
}

// parseQuery also refuses methods that no resource has. An unknown parameter is refused: it might have been meant to change much.
func parseQuery(r *http.Request) (query, error) {
	q := query{timeout: DefaultTimeout, limit: DefaultLimit}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, badQuery("the query is malformed: %v", err)
	}
	allowed := parametersOfAll
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if q.prefix, err = flag(values, "prefix"); err != nil {
			return q, err
		}
		allowed = parametersOfGet
		if q.prefix {
			allowed = parametersOfList
		}
	case http.MethodPut, http.MethodDelete:
	default:
		return q, problemf(http.StatusMethodNotAllowed, codeMethod, "a key takes GET, PUT and DELETE, not %s", r.Method)
	}
	for name, given := range values {
		if !slices.Contains(allowed, name) {
			return q, badQuery("parameter %q is not known here: %s", name, strings.Join(allowed, ", "))
		}
		if len(given) > 1 {
			return q, badQuery("parameter %q is given %d times", name, len(given))
		}
	}
	if err := q.read(values); err != nil {
		return q, err
	}
	return q, nil
}

// flag is true for "?name", "?name=true" and "?name=1".
func flag(values url.Values, name string) (bool, error) {
	if !values.Has(name) {
		return false, nil
	}
	text := values.Get(name)
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, badQuery("%s=%q: write true or false", name, text)
	}
	return v, nil
}

func (q *query) read(values url.Values) (err error) {
	if q.serializable, err = flag(values, "serializable"); err != nil {
		return err
	}
	if q.keysOnly, err = flag(values, "keysOnly"); err != nil {
		return err
	}
	if text := values.Get("timeout"); text != "" {
		q.timeout, err = time.ParseDuration(text)
		if err != nil || q.timeout <= 0 || q.timeout > MaxTimeout {
			return badQuery("timeout=%q: write a duration such as 500ms or 5s, at most %v", text, MaxTimeout)
		}
	}
	if text := values.Get("limit"); text != "" {
		q.limit, err = strconv.Atoi(text)
		if err != nil || q.limit < 1 || q.limit > MaxLimit {
			return badQuery("limit=%q: write a number from 1 to %d", text, MaxLimit)
		}
	}
	if text := values.Get("revision"); text != "" {
		q.revision, err = strconv.ParseUint(text, 10, 64)
		if err != nil || q.revision == 0 {
			return badQuery("revision=%q: write a revision that an answer of this store named", text)
		}
	}
	if text := values.Get("continue"); text != "" {
		if q.revision != 0 {
			return badQuery("continue has a revision of its own: leave the parameter revision out")
		}
		return q.readContinue(text)
	}
	return nil
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
