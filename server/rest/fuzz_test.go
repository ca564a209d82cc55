package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// watched is for how long a watch is looked at.
const watched = 20 * time.Millisecond

// FuzzRequest gives the handler whatever net/http makes a request of. Each gets an answer that is right in form: a problem
// document with a code of ours, or a success with its headers; and no answer is the server's fault.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/kv/a?serializable&revision=3&timeout=1s HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"2\", W/\"3\"\r\n\r\n",
		"GET /v1/kv/?prefix&limit=1&keysOnly HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/kv/k?prefix&continue=" + continueWord(2, []byte("k\x00")) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/kv/%00%ff HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nIf-Match: \"2\"\r\n\r\nvalue",
		"PUT /v1/kv/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nIf-None-Match: *\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"PUT /v1/kv/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /v1/kv/a?end=%00&sort=modRevision&order=descending&count HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/kv/a?lease=7&prev HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv",
		"PUT /v1/kv/a?ignoreValue HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"ttl\":60,\"id\":\"7\"} ",
		"GET /v1/leases HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/leases/7?keys HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/leases/7/keepalive HTTP/1.1\r\nHost: x\r\n\r\n",
		"DELETE /v1/leases/7 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/compact HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"revision\":2}",
		"GET /v1/watch/a?revision=2&prev&noDelete&progress HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 3\r\n\r\n",
		"GET /v1/watch/a?end=b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 201\r\n\r\n{\"compare\":[{\"key\":\"YQ==\",\"target\":\"modRevision\",\"relation\":\">\",\"number\":\"1\"}]," +
			"\"then\":[{\"put\":{\"key\":\"YQ==\",\"value\":\"Yg==\",\"prev\":true}},{\"get\":{\"key\":\"\",\"prefix\":true}}],\"else\":[{\"txn\":{\"then\":[]}}]}",
		"DELETE /v1/kv/a HTTP/1.1\r\nHost: x\r\nIf-Match: *\r\n\r\n",
		"HEAD /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://x/v1/kv/a?a;b HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	known := codes(f)
	store := newStore(f, wholeCluster)
	handler := handler(store)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		// A watch has no end of its own.
		ctx, cancel := context.WithTimeout(r.Context(), watched)
		defer cancel()
		r = r.WithContext(ctx)
		put := httptest.NewRecorder()
		handler.ServeHTTP(put, httptest.NewRequest(http.MethodPut, "/v1/kv/a", strings.NewReader("value")))
		if put.Code != http.StatusOK {
			t.Fatalf("a put: %d", put.Code)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		checkAnswer(t, w, known)
	})
}

func checkAnswer(t *testing.T, w *httptest.ResponseRecorder, known []string) {
	t.Helper()
	body, kind := w.Body.Bytes(), w.Header().Get("Content-Type")
	switch {
	case kind == openAPIType:
		if !bytes.Equal(body, openAPI) {
			t.Fatal("another document")
		}
	case w.Code == http.StatusOK || w.Code == http.StatusNotModified:
		if v, err := strconv.ParseUint(w.Header().Get(HeaderRevision), 10, 64); err != nil || v == 0 {
			t.Fatalf("%d with the revision %q", w.Code, w.Header().Get(HeaderRevision))
		}
		if kind == "application/json" && !json.Valid(body) {
			t.Fatalf("not JSON: %q", body)
		}
		if kind == eventStreamType {
			checkMessages(t, body)
		}
	case w.Code >= http.StatusBadRequest && kind == problemType:
		var p problem
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&p); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		if _, err := decoder.Token(); err != io.EOF {
			t.Fatalf("more than a document: %q", body)
		}
		if p.Status != w.Code || p.Title == "" || p.Detail == "" || !slices.Contains(known, p.Code) {
			t.Fatalf("%d with %+v", w.Code, p)
		}
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("the server takes the blame: %s", p.Detail)
		}
		for _, leak := range []string{"strconv.", "%!", "<nil>", "rest.", "Go "} {
			if strings.Contains(p.Detail, leak) {
				t.Fatalf("%q is in the text %q", leak, p.Detail)
			}
		}
	default:
		t.Fatalf("%d of type %q: %q", w.Code, kind, body)
	}
}

// checkMessages holds what a watch sent against the form of server-sent events.
func checkMessages(t *testing.T, body []byte) {
	t.Helper()
	for _, m := range strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n") {
		for _, line := range strings.Split(m, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "retry", "id":
				if _, err := strconv.ParseUint(value, 10, 64); err != nil {
					t.Fatalf("%q in %q", line, body)
				}
			case "event", "", ":":
			case "data":
				if !json.Valid([]byte(value)) {
					t.Fatalf("not JSON: %q", value)
				}
			default:
				t.Fatalf("%q in %q", line, body)
			}
		}
	}
}

// FuzzBareAnswer looks for answers in what a handler might write: nothing but net/http's own is replaced, and what it is
// replaced by is a whole answer.
func FuzzBareAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 431 Request Header Fields Too Large" + string(bareHeaders) + "431 Request Header Fields Too Large"))
	f.Add([]byte("HTTP/1.1 400 Bad Request: x" + string(bareHeaders)))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"))
	f.Fuzz(func(t *testing.T, written []byte) {
		out := documentOf(written)
		if out == nil {
			return
		}
		if !bytes.Contains(written, bareHeaders) {
			t.Fatalf("%q was replaced", written)
		}
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var p problem
		if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Status != response.StatusCode || p.Status < 400 {
			t.Fatalf("%d with %+v, %v", response.StatusCode, p, err)
		}
	})
}
