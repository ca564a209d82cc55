package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/backend"
)

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
		"DELETE /v1/kv/a HTTP/1.1\r\nHost: x\r\nIf-Match: *\r\n\r\n",
		"HEAD /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://x/v1/kv/a?a;b HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	known := codes(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		store := newFake()
		handler := New(func() backend.Backend { return store }, Options{MaxKeyBytes: 64, MaxValueBytes: 1000, Logger: slog.New(slog.DiscardHandler)})
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
	case w.Code == http.StatusOK || w.Code == http.StatusNotModified:
		if v, err := strconv.ParseUint(w.Header().Get(HeaderRevision), 10, 64); err != nil || v == 0 {
			t.Fatalf("%d with the revision %q", w.Code, w.Header().Get(HeaderRevision))
		}
		if kind == "application/json" && !json.Valid(body) {
			t.Fatalf("not JSON: %q", body)
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
		for _, leak := range []string{"strconv.", "%!", "<nil>"} {
			if strings.Contains(p.Detail, leak) {
				t.Fatalf("%q is in the text %q", leak, p.Detail)
			}
		}
	default:
		t.Fatalf("%d of type %q: %q", w.Code, kind, body)
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
