package etcd

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/server/backend"
)

// gatewayOf is what a server of a store serves over plain HTTP.
func gatewayOf(t *testing.T, store backend.Store, o Options) http.Handler {
	t.Helper()
	o.MaxRequestBytes, o.ElectionTimeout = 1<<20, time.Second
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, o)
	handler, err := s.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Stop(ended)
	})
	return handler
}

// slow is a client whose connection has deadlines, and takes its time.
type slow struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (s *slow) SetReadDeadline(at time.Time) error {
	s.read = append(s.read, at)
	return nil
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.write = append(s.write, at)
	return nil
}

func (*slow) EnableFullDuplex() error { return nil }

func post(handler http.Handler, path, body string, headers ...string) *slow {
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	handler.ServeHTTP(w, r)
	return w
}

// A store that is given its time, as when it is defragmented, must not lose whoever waits for that: the deadline by which the request had to come would
// end the call, and that of the answer its answer.
func TestCallsThatTakeLongKeepTheirClients(t *testing.T) {
	handler := gatewayOf(t, newAlone(t), Options{})
	for path, patient := range map[string]bool{"kv/range": false, "kv/compaction": true, "maintenance/defragment": true, "maintenance/hash": true} {
		body := `{}`
		switch path {
		case "kv/range":
			body = `{"key":"aw=="}`
		case "kv/compaction":
			body = `{"revision":"1","physical":true}`
		}
		w := post(handler, GatewayPath+path, body)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
			continue
		}
		if w.read[0].IsZero() || !w.read[len(w.read)-1].IsZero() {
			t.Errorf("%s: the request may come until %v", path, w.read)
		}
		if w.write[0].IsZero() != patient {
			t.Errorf("%s: the answer may come until %v", path, w.write)
		}
	}
}

// A page that somebody has open must not write to a node that a tunnel makes reachable on that person's machine. Programs send no origin.
func TestPagesOfOthersCallNothing(t *testing.T) {
	store := newAlone(t)
	handler := gatewayOf(t, store, Options{})
	put := `{"key":"aw==","value":"dg=="}`
	if w := post(handler, GatewayPath+"kv/put", put, "Origin", "https://elsewhere.example", "Content-Type", "text/plain"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "origin") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if keys := store.keys(t, ""); len(keys) > 0 {
		t.Errorf("it has written %q", keys)
	}
	for _, own := range [][]string{nil, {"Origin", "http://example.com"}, {"Sec-Fetch-Site", "same-origin"}} {
		if w := post(handler, GatewayPath+"kv/put", put, own...); w.Code != http.StatusOK {
			t.Errorf("%v: %d %s", own, w.Code, w.Body)
		}
	}
}

func TestTheGatewayCanBeLeftOut(t *testing.T) {
	handler := gatewayOf(t, newAlone(t), Options{NoGateway: true})
	if w := post(handler, GatewayPath+"kv/range", `{"key":"aw=="}`); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, HealthPath, nil))
	if w.Code != http.StatusOK {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
}

// What is no call is refused, and the node lives on.
func TestOddJSONIsRefused(t *testing.T) {
	handler := gatewayOf(t, newAlone(t), Options{})
	for _, x := range []struct{ path, body string }{
		{"kv/txn", `{"success":[null]}`}, {"kv/txn", `{"success":[{}]}`}, {"kv/txn", `{"success":[{"request_txn":null}]}`}, {"kv/txn", `{"success":[{"request_put":null}]}`},
		{"kv/txn", `{"compare":[null]}`}, {"kv/txn", `{"compare":[{}]}`}, {"kv/txn", `{"success":[{"request_range":{}}]}`}, {"kv/txn", `{"failure":[{"request_delete_range":{}}]}`},
		{"kv/range", `null`}, {"kv/range", `{"key":"!"}`}, {"kv/range", `{"key":"aw==","limit":"9223372036854775808"}`}, {"kv/range", `[`},
		{"lease/revoke", `{"ID":"x"}`}, {"election/proclaim", `{}`}, {"election/resign", `{}`}, {"maintenance/alarm", `{"action":7}`},
	} {
		if w := post(handler, GatewayPath+x.path, x.body); w.Code < 400 || w.Code == http.StatusBadGateway || !strings.Contains(w.Body.String(), `"code"`) {
			t.Errorf("%s %s: %d %s", x.path, x.body, w.Code, w.Body)
		}
	}
	if w := post(handler, GatewayPath+"kv/put", `{"key":"aw==","value":"dg==","lease":"0"}`); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}
