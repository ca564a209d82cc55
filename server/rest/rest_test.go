package rest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/server/backend"
)

type harness struct {
	t      *testing.T
	store  *alone
	server *httptest.Server
}

// handler serves a store as the product sets it up, with small limits.
func handler(store backend.Store) *Handler {
	return New(func() backend.Store { return store },
		Options{MaxKeyBytes: 64, MaxValueBytes: 1000, MaxRequestBytes: 4000, Logger: slog.New(slog.DiscardHandler)})
}

func serve(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, store: newStore(t, wholeCluster)}
	h.server = startServer(t, h.store)
	return h
}

func startServer(t *testing.T, store backend.Store) *httptest.Server {
	t.Helper()
	handler := handler(store)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(handler.Stop)
	return server
}

type answer struct {
	*http.Response
	body string
}

func (a answer) code() string {
	var p problem
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

// do sends a request whose target goes over the wire as it is written, which http.NewRequest would not promise.
func (h *harness) do(method, target, body string, headers ...string) answer {
	h.t.Helper()
	c, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n", method, target, len(body))
	for _, line := range headers {
		head += line + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"+body); err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{resp, string(text)}
}

func (h *harness) want(a answer, status int, code string) {
	h.t.Helper()
	if a.StatusCode != status || (code != "" && a.code() != code) {
		h.t.Errorf("%d %q, want %d %q", a.StatusCode, a.body, status, code)
	}
	if status >= 400 && code != "" && a.Header.Get("Content-Type") != "application/problem+json" {
		h.t.Errorf("content type %q", a.Header.Get("Content-Type"))
	}
}

func TestPutGetDelete(t *testing.T) {
	h := serve(t)
	a := h.do("PUT", "/v1/kv/greeting", "hello\x00\xff")
	h.want(a, 200, "")
	if a.Header.Get(HeaderRevision) != "2" || a.Header.Get("ETag") != `"2"` || a.Header.Get(HeaderModRevision) != "2" {
		t.Errorf("headers of PUT: %v", a.Header)
	}
	h.do("PUT", "/v1/kv/greeting", "hello again")
	a = h.do("GET", "/v1/kv/greeting", "")
	h.want(a, 200, "")
	got := a.body + " " + a.Header.Get(HeaderRevision) + " " + a.Header.Get(HeaderCreateRevision) + " " + a.Header.Get(HeaderModRevision) + " " + a.Header.Get(HeaderVersion)
	if got != "hello again 3 2 3 2" || a.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %q, %v", got, a.Header)
	}
	for _, had := range []string{`"3"`, `W/"3"`, `"2", "3"`, "*", "\"2\"\r\nIf-None-Match: \"3\""} {
		h.want(h.do("GET", "/v1/kv/greeting", "", "If-None-Match: "+had), 304, "")
	}
	h.want(h.do("GET", "/v1/kv/greeting", "", `If-None-Match: "2"`), 200, "")
	h.want(h.do("GET", "/v1/kv/nobody", "", "If-None-Match: *"), 404, codeKeyNotFound)
	for _, mine := range []string{`"3"`, `"2", "3"`, "*"} {
		h.want(h.do("GET", "/v1/kv/greeting", "", "If-Match: "+mine), 200, "")
	}
	for _, other := range []string{`"2"`, `W/"3"`, `"x"`} {
		h.want(h.do("GET", "/v1/kv/greeting", "", "If-Match: "+other), 412, codePrecondition)
	}
	h.want(h.do("GET", "/v1/kv/nobody", "", "If-Match: *"), 412, codePrecondition)
	if a := h.do("HEAD", "/v1/kv/greeting", ""); a.StatusCode != 200 || a.body != "" || a.Header.Get("ETag") != `"3"` {
		t.Errorf("HEAD: %d %q %v", a.StatusCode, a.body, a.Header)
	}
	h.want(h.do("DELETE", "/v1/kv/greeting", ""), 200, "")
	a = h.do("GET", "/v1/kv/greeting", "")
	h.want(a, 404, codeKeyNotFound)
	if a.Header.Get(HeaderRevision) != "4" {
		t.Errorf("revision of a 404: %v", a.Header)
	}
	h.want(h.do("DELETE", "/v1/kv/greeting", ""), 404, codeKeyNotFound)
	h.want(h.do("PUT", "/v1/kv/empty", ""), 200, "")
	if a := h.do("GET", "/v1/kv/empty", ""); a.StatusCode != 200 || a.body != "" {
		t.Errorf("an empty value: %d %q", a.StatusCode, a.body)
	}
}

func TestKeysAreAnyBytes(t *testing.T) {
	h := serve(t)
	for path, key := range map[string]string{
		"a/b": "a/b", "a%2Fb%2F": "a/b/", "a//b": "a//b", "/": "/", "//": "//", "../x": "../x", "./": "./", "%00%ff": "\x00\xff",
		"a%20b+c": "a b+c", "%25": "%", "%2e%2e": "..", "gr%C3%BC%C3%9F": "grüß", "a;b=c&d": "a;b=c&d", "a%3Fprefix": "a?prefix",
	} {
		h.want(h.do("PUT", "/v1/kv/"+path, "v"), 200, "")
		if _, ok := h.store.value(t, key); !ok {
			t.Errorf("%q did not write key %q", path, key)
		}
		h.want(h.do("DELETE", "/v1/kv/"+path, ""), 200, "")
	}
	h.want(h.do("PUT", "/v1/kv/", "v"), 400, codeInvalid)
	h.want(h.do("GET", "/v1/other", ""), 404, codeNotFound)
	h.want(h.do("GET", "/", ""), 404, codeNotFound)
}

func TestCompareAndSwap(t *testing.T) {
	h := serve(t)
	h.want(h.do("PUT", "/v1/kv/k", "1", "If-None-Match: *"), 200, "")
	a := h.do("PUT", "/v1/kv/k", "2", "If-None-Match: *")
	h.want(a, 412, codePrecondition)
	if !strings.Contains(a.body, `"modRevision":"2"`) || a.Header.Get("ETag") != `"2"` {
		t.Errorf("412 without the current mod revision: %s %v", a.body, a.Header)
	}
	h.want(h.do("PUT", "/v1/kv/k", "2", `If-Match: "2"`), 200, "")
	h.want(h.do("PUT", "/v1/kv/k", "3", `If-Match: 2`), 412, codePrecondition)
	h.want(h.do("PUT", "/v1/kv/k", "3", `If-Match: *`), 200, "")
	a = h.do("PUT", "/v1/kv/absent", "3", `If-Match: *`)
	h.want(a, 412, codePrecondition)
	if !strings.Contains(a.body, `"modRevision":"0"`) {
		t.Errorf("412 for a missing key: %s", a.body)
	}
	h.want(h.do("DELETE", "/v1/kv/k", "", `If-Match: "3"`), 412, codePrecondition)
	h.want(h.do("DELETE", "/v1/kv/k", "", `If-Match: "4"`), 200, "")
	for _, bad := range []string{`If-Match: W/"1"`, `If-Match: "a"`, `If-Match: "1", "2"`, `If-Match: ""`, `If-None-Match: "1"`, "If-Match: \"1\"\r\nIf-None-Match: *"} {
		h.want(h.do("PUT", "/v1/kv/k", "3", bad), 400, codeInvalid)
	}
}

func decode(t *testing.T, a answer) listing {
	t.Helper()
	var l listing
	if err := json.Unmarshal([]byte(a.body), &l); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	return l
}

func TestListing(t *testing.T) {
	h := serve(t)
	for _, k := range []string{"a/1", "a/2", "a/3", "b", "a"} {
		h.do("PUT", "/v1/kv/"+k, "value of "+k)
	}
	l := decode(t, h.do("GET", "/v1/kv/a/?prefix", ""))
	if len(l.Items) != 3 || l.More || l.Revision != 6 || string(l.Items[0].Value) != "value of a/1" {
		t.Errorf("got %+v", l)
	}
	if l := decode(t, h.do("GET", "/v1/kv/?prefix=true&keysOnly", "")); len(l.Items) != 5 || l.Items[0].Value != nil {
		t.Errorf("all keys: %+v", l)
	}
	var keys []string
	target := "/v1/kv/a?prefix&limit=2"
	for more := ""; ; {
		l = decode(t, h.do("GET", target+more, ""))
		for _, i := range l.Items {
			keys = append(keys, string(i.Key))
		}
		if !l.More {
			break
		}
		h.do("PUT", "/v1/kv/unrelated", "moves the revision on")
		more = "&continue=" + l.Continue
	}
	if strings.Join(keys, " ") != "a a/1 a/2 a/3" {
		t.Errorf("page by page: %v", keys)
	}
	if l.Revision != 6 {
		t.Errorf("the last page was read at revision %d, the first at 6", l.Revision)
	}
	h.want(h.do("GET", "/v1/kv/b?prefix&continue="+continueWord(6, []byte("a/1")), ""), 400, codeInvalid)
	if a := h.do("GET", "/v1/kv/none?prefix", ""); !strings.Contains(a.body, `"items":[]`) {
		t.Errorf("nothing found: %s", a.body)
	}
	h.do("PUT", "/v1/kv/void", "")
	if a := h.do("GET", "/v1/kv/void?prefix", ""); !strings.Contains(a.body, `"value":""`) {
		t.Errorf("an empty value must be there: %s", a.body)
	}
}

func TestOnlySerializableReadsSkipTheBarrier(t *testing.T) {
	h := serve(t)
	h.do("PUT", "/v1/kv/k", "v")
	h.do("POST", "/v1/compact", `{"revision":"2"}`)
	h.store.set(func(a *alone) { a.barrierErr = fmt.Errorf("no leader: %w", backend.ErrUnavailable) })
	a := h.do("GET", "/v1/kv/k", "")
	h.want(a, 503, codeUnavailable)
	if a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	h.want(h.do("GET", "/v1/kv/k?prefix", ""), 503, codeUnavailable)
	h.want(h.do("GET", "/v1/kv/k?serializable=true", ""), 200, "")
	if h.store.barriers != 2 {
		t.Errorf("%d barriers, want 2", h.store.barriers)
	}
	h.want(h.do("GET", "/v1/kv/k?revision=99&serializable", ""), 503, codeUnavailable) // it waits for what another node may have told
	h.store.set(func(a *alone) { a.barrierErr = nil })
	h.want(h.do("GET", "/v1/kv/k?revision=99&serializable", ""), 400, codeFuture)
	h.want(h.do("GET", "/v1/kv/k?revision=1&serializable", ""), 410, codeCompacted)
}

func TestLimitsAreNamed(t *testing.T) {
	h := serve(t)
	a := h.do("PUT", "/v1/kv/"+strings.Repeat("k", 65), "v")
	h.want(a, 413, codeKeyTooLarge)
	if !strings.Contains(a.body, "64 bytes") {
		t.Errorf("413 without the limit: %s", a.body)
	}
	h.want(h.do("PUT", "/v1/kv/"+strings.Repeat("k", 64), strings.Repeat("v", 1000)), 200, "")
	a = h.do("PUT", "/v1/kv/k", strings.Repeat("v", 1001))
	h.want(a, 413, codeValueTooLarge)
	if !strings.Contains(a.body, "1000 bytes") {
		t.Errorf("413 without the limit: %s", a.body)
	}
	req, err := http.NewRequest(http.MethodPut, h.server.URL+"/v1/kv/chunked", io.LimitReader(zeros{}, 5000))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_, chunkedWritten := h.store.value(t, "chunked")
	if resp.StatusCode != 413 || chunkedWritten {
		t.Errorf("a body of unknown length: %d", resp.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestFailuresOfTheStore(t *testing.T) {
	h := serve(t)
	for _, x := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{fmt.Errorf("no leader: %w", backend.ErrUnavailable), 503, codeUnavailable, true},
		{backend.ErrBusy, 503, codeBusy, true},
		{fmt.Errorf("lost the leader: %w", backend.ErrUnknown), 504, codeUnknown, false},
		{backend.ErrTooLarge, 413, codeTooLarge, false},
		{fmt.Errorf("%w: 5 of 4 bytes", backend.ErrNoSpace), 507, codeNoSpace, false},
		{errors.New("bug"), 500, codeInternal, false},
	} {
		h.store.set(func(a *alone) { a.proposeErr = x.err })
		a := h.do("PUT", "/v1/kv/k", "v")
		h.want(a, x.status, x.code)
		if (a.Header.Get("Retry-After") != "") != x.retry {
			t.Errorf("%v: Retry-After %q", x.err, a.Header.Get("Retry-After"))
		}
	}
}

func TestTimeIsBounded(t *testing.T) {
	h := serve(t)
	h.store.set(func(a *alone) { a.hang = true })
	// Enough for the store to be asked on a busy machine: it is its answer that does not come.
	h.want(h.do("PUT", "/v1/kv/k?timeout=500ms", "v"), 504, codeUnknown)
	h.want(h.do("GET", "/v1/kv/k?timeout=500ms", ""), 503, codeUnavailable)
	h.store.set(func(a *alone) { a.hang = false })
	c, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "PUT /v1/kv/slow?timeout=50ms HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nha"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 408 {
		t.Errorf("a body that does not come: %d", resp.StatusCode)
	}
}

func TestBadParametersAreRefused(t *testing.T) {
	h := serve(t)
	for _, q := range []string{"timeout=5", "timeout=-1s", "timeout=2h", "limit=2", "prefix&limit=0", "prefix&limit=x", "prefix&limit=99999",
		"revision=0", "revision=x", "serializable=maybe", "serialisable=true", "prefix&continue=!", "prefix&continue=AA", "timeout=1s&timeout=2s", "a=%zz"} {
		h.want(h.do("GET", "/v1/kv/k?"+q, ""), 400, codeInvalid)
	}
	h.want(h.do("DELETE", "/v1/kv/k?prefix", ""), 400, codeInvalid)
	h.want(h.do("PUT", "/v1/kv/k?serializable", "v"), 400, codeInvalid)
	a := h.do("POST", "/v1/kv/k", "v")
	h.want(a, 405, codeMethod)
	if a.Header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
}

func TestANodeThatIsNoMemberYet(t *testing.T) {
	s := httptest.NewServer(New(func() backend.Store { return nil }, Options{MaxKeyBytes: 64, MaxValueBytes: 64, Logger: slog.New(slog.DiscardHandler)}))
	defer s.Close()
	resp, err := http.Get(s.URL + "/v1/kv/k")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d, %v", resp.StatusCode, resp.Header)
	}
}

// TestAPageOfAnotherOriginCannotWrite through the browser of whoever can reach a node.
func TestAPageOfAnotherOriginCannotWrite(t *testing.T) {
	h := serve(t)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: http://elsewhere.example"} {
		h.want(h.do("POST", "/v1/txn", `{"then":[{"put":{"key":"aw=="}}]}`, header), 403, codeCrossOrigin)
	}
	h.want(h.do("POST", "/v1/txn", `{"then":[{"get":{"key":"aw=="}}]}`, "Sec-Fetch-Site: same-origin"), 200, "")
	h.want(h.do("GET", "/v1/kv/?prefix", "", "Sec-Fetch-Site: cross-site"), 200, "")
	if _, found := h.store.value(t, "k"); found {
		t.Error("it was written")
	}
}

// kept is a connection that is used again, with the deadlines that an earlier request has left.
type kept struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (k *kept) SetWriteDeadline(at time.Time) error {
	k.write = at
	return nil
}

func (*kept) SetReadDeadline(time.Time) error { return nil }

// A problem is told in time of its own, or it would not come at all over a connection whose last answer is a while ago.
func TestNoProblemMeetsTheDeadlineOfAnEarlierAnswer(t *testing.T) {
	front := handler(newStore(t, wholeCluster))
	for _, bad := range []string{"/v2", "/v1/kv/k?what", "/v1/txn", "/v1/kv/", "/v1/kv/none"} {
		w := &kept{ResponseRecorder: httptest.NewRecorder(), write: time.Now()}
		front.ServeHTTP(w, httptest.NewRequest(http.MethodGet, bad, nil))
		if w.Code < 400 || time.Until(w.write) < answerGrace/2 {
			t.Errorf("%s: %d, to be sent until %v from now", bad, w.Code, time.Until(w.write))
		}
	}
}
