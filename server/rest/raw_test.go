package rest

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// raw sends bytes to a server as the product sets it up, and reads the first answer.
func raw(t *testing.T, request string) answer {
	t.Helper()
	server := httptest.NewUnstartedServer(handler(newStore(t, wholeCluster)))
	server.Config.MaxHeaderBytes = 64 << 10
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Listener = Problems(server.Listener)
	server.Start()
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, request) // whether all of it goes out does not matter
	}()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-sent
	return answer{response, string(body)}
}

func TestRequestsThatNoHandlerSeesGetProblemsToo(t *testing.T) {
	for name, x := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"a key that is not percent-encoded": {"GET /v1/kv/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, codeInvalid},
		"a key of 100 kB":                   {"GET /v1/kv/" + strings.Repeat("k", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, codeHeadTooLarge},
		"a header of 100 kB":                {"GET /v1/kv/k HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n", 431, codeHeadTooLarge},
		"no host":                           {"GET /v1/kv/k HTTP/1.1\r\n\r\n", 400, codeInvalid},
		"a transfer encoding":               {"PUT /v1/kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, codeInvalid},
		"another version of HTTP":           {"GET /v1/kv/k HTTP/3.7\r\nHost: x\r\n\r\n", 505, codeInvalid},
		"a key that is too long":            {"GET /v1/kv/" + strings.Repeat("k", 65) + " HTTP/1.1\r\nHost: x\r\n\r\n", 413, codeKeyTooLarge},
		"a key that is not there":           {"GET /v1/kv/k HTTP/1.1\r\nHost: x\r\n\r\n", 404, codeKeyNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			a := raw(t, x.request)
			if a.StatusCode != x.status || a.code() != x.code || a.Header.Get("Content-Type") != problemType {
				t.Errorf("%d %v %q, it should be a problem with %d %s", a.StatusCode, a.Header, a.body, x.status, x.code)
			}
		})
	}
}

func TestOnlyBareAnswersAreReplaced(t *testing.T) {
	bare := "HTTP/1.1 400 Bad Request" + string(bareHeaders) + "400 Bad Request"
	if documentOf([]byte(bare)) == nil {
		t.Error("a bare answer is not known")
	}
	for _, other := range []string{
		"", "HTTP/1.1 ", "HTTP/1.1 400", "HTTP/1.1 4\r\n", "HTTP/1.1 xyz" + string(bareHeaders), "HTTP/1.1 200 OK" + string(bareHeaders),
		"HTTP/1.1 400 Bad Request\r\nDate: x" + string(bareHeaders), " " + bare, "a value\r\n" + bare, strings.Repeat("x", 5000),
		fmt.Sprintf("HTTP/1.1 400 %s%s", strings.Repeat("x", maxStatusLineBytes), bareHeaders),
	} {
		if got := documentOf([]byte(other)); got != nil {
			t.Errorf("%.60q became %q", other, got)
		}
	}
}
