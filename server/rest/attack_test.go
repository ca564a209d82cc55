package rest

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// attacked is a server as the product sets it up.
func attacked(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler(newStore(t, wholeCluster)))
	server.Config.MaxHeaderBytes = 64 << 10
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Listener = Problems(server.Listener)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestBadInputGetsOneProblemAndBoundedTime sends what is cut off, too much, without an end or without sense. Each is answered by one problem, though
// the client goes on or stalls, and the server answers the next one.
func TestBadInputGetsOneProblemAndBoundedTime(t *testing.T) {
	address := attacked(t)
	post := func(path, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	nested := strings.Repeat(`{"then":[{"txn":`, 200) + "{}" + strings.Repeat("}]}", 200)
	endless := func(c net.Conn) {
		for piece := "1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n"; ; {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
	for name, x := range map[string]struct {
		request string
		then    func(net.Conn)
		status  int
		code    string
	}{
		"a body that is cut off": {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nabc", func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }, 400, codeInvalid},
		"a document that is cut off": {"POST /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"then\"", func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }, 400,
			codeInvalid},
		"a body that stalls":             {"PUT /v1/kv/k?timeout=200ms HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nabc", nil, 408, codeBodyTimeout},
		"chunks without an end":          {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", endless, 413, codeValueTooLarge},
		"a document without an end":      {"POST /v1/txn HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", endless, 413, codeTooLarge},
		"a length of a terabyte":         {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n", nil, 413, codeValueTooLarge},
		"a length that is no number":     {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n", nil, 400, codeInvalid},
		"a length below zero":            {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", nil, 400, codeInvalid},
		"two lengths":                    {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", nil, 400, codeInvalid},
		"a chunk's length that is none":  {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", nil, 400, codeInvalid},
		"a chunk longer than memory":     {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", nil, 400, codeInvalid},
		"a field that is unknown":        {post("/v1/txn", `{"then":[],"otherwise":[]}`), nil, 400, codeInvalid},
		"two documents":                  {post("/v1/txn", `{"then":[]} {}`), nil, 400, codeInvalid},
		"a document nested 200 deep":     {post("/v1/txn", nested), nil, 400, codeInvalid},
		"arrays nested without an end":   {post("/v1/txn", strings.Repeat("[", 900)), nil, 400, codeInvalid},
		"no document":                    {post("/v1/txn", ""), nil, 400, codeInvalid},
		"a document that is no UTF-8":    {post("/v1/txn", "{\"\xff\":1}"), nil, 400, codeInvalid},
		"a key that is no base64":        {post("/v1/txn", `{"then":[{"put":{"key":"\u0000","value":""}}]}`), nil, 400, codeInvalid},
		"a limit past all numbers":       {"GET /v1/kv/?prefix&limit=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n", nil, 400, codeInvalid},
		"a limit past ours":              {"GET /v1/kv/?prefix&limit=4294967296 HTTP/1.1\r\nHost: x\r\n\r\n", nil, 400, codeInvalid},
		"a limit below zero":             {"GET /v1/kv/?prefix&limit=-1 HTTP/1.1\r\nHost: x\r\n\r\n", nil, 400, codeInvalid},
		"a limit in a document":          {post("/v1/txn", `{"then":[{"get":{"key":"","prefix":true,"limit":"18446744073709551615"}}]}`), nil, 400, codeInvalid},
		"a parameter that is unknown":    {"GET /v1/kv/k?limits=1 HTTP/1.1\r\nHost: x\r\n\r\n", nil, 400, codeInvalid},
		"a timeout of a thousand years":  {"GET /v1/kv/k?timeout=8760000h HTTP/1.1\r\nHost: x\r\n\r\n", nil, 400, codeInvalid},
		"a header of 100 kB in pieces":   {"GET /v1/kv/k HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", nil, 431, codeHeadTooLarge},
		"NUL in a header":                {"GET /v1/kv/k HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", nil, 400, codeInvalid},
		"an If-Match past all revisions": {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nIf-Match: \"99999999999999999999\"\r\nContent-Length: 1\r\n\r\nv", nil, 400, codeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				if _, err := io.WriteString(c, x.request); err == nil && x.then != nil {
					x.then(c)
				}
			}()
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			var p problem
			decoder := json.NewDecoder(response.Body)
			err = decoder.Decode(&p)
			_ = response.Body.Close()
			_ = c.Close()
			<-sent
			if err != nil || response.StatusCode != x.status || p.Code != x.code || p.Status != x.status || p.Detail == "" || response.Header.Get("Content-Type") != problemType {
				t.Errorf("%d %+v, %v; it should be a problem with %d %s", response.StatusCode, p, err, x.status, x.code)
			}
		})
	}
}

// TestKeysOfAnyBytesAreKeys: NUL, what is no UTF-8 and what looks like a path are parts of keys, and none is taken for another.
func TestKeysOfAnyBytesAreKeys(t *testing.T) {
	address := attacked(t)
	keys := []string{"%00", "%ff%fe", "%2e%2e/%2e%2e/x", "a//b/", "%0d%0aX:%20y", "%25", "a%2fb%00", "."}
	do := func(method, key, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/v1/kv/"+key, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(b)
	}
	for _, k := range keys {
		if status, said := do(http.MethodPut, k, "of "+k); status != http.StatusOK {
			t.Errorf("put %s: %d %s", k, status, said)
		}
	}
	for _, k := range keys {
		if status, said := do(http.MethodGet, k, ""); status != http.StatusOK || said != "of "+k {
			t.Errorf("get %s: %d %s", k, status, said)
		}
	}
}
