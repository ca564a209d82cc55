//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// requestTimeout is what clients ask of the store, answerTimeout how long they wait for the answer.
	requestTimeout = 1500 * time.Millisecond
	answerTimeout  = 2500 * time.Millisecond
)

// outcome is what became of a request, as far as the client knows.
type outcome int

const (
	answered outcome = iota
	// refused: surely not applied (503, or nobody to talk to).
	refused
	// unknown: perhaps applied (504, or a connection that broke).
	unknown
	// wrong: an answer that the store never should give.
	wrong
)

func (o outcome) String() string { return [...]string{"answered", "refused", "unknown", "wrong"}[o] }

// reply is what a client got.
type reply struct {
	outcome outcome
	status  int // of HTTP; 0 without an answer
	value   string
	// revision is the key's mod revision after a successful write or read, the one of the deletion after a
	// successful delete, and the key's present one (or 0) after a precondition that failed.
	revision uint64
	// text is what went wrong.
	text string
}

// client speaks the REST API of one node at a time.
type client struct {
	http *http.Client
}

func newClient(keepAlive bool) *client {
	return &client{&http.Client{Timeout: answerTimeout, Transport: &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 8}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) do(ctx context.Context, n *node, method, key, value string, header http.Header) reply {
	url := "http://" + n.client + "/v1/kv/" + key + "?timeout=" + requestTimeout.String()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(value))
	if err != nil {
		return reply{outcome: wrong, text: err.Error()}
	}
	request.Header = header
	response, err := c.http.Do(request)
	if err != nil {
		return broken(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && response.StatusCode/100 == 2 && method == http.MethodGet {
		return broken(err) // half a value says nothing
	}
	return understand(method, response, body)
}

// broken is for requests without an answer. A connection that was never made carried no request.
func broken(err error) reply {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return reply{outcome: refused, text: err.Error()}
	}
	return reply{outcome: unknown, text: err.Error()}
}

func understand(method string, response *http.Response, body []byte) reply {
	r := reply{status: response.StatusCode, text: strings.TrimSpace(string(body))}
	switch response.StatusCode {
	case http.StatusServiceUnavailable:
		r.outcome = refused
		if response.Header.Get("Retry-After") == "" {
			r.outcome, r.text = wrong, "a 503 without Retry-After: "+r.text
		}
	case http.StatusGatewayTimeout:
		r.outcome = unknown
	case http.StatusNotFound:
		if method == http.MethodPut {
			r.outcome = wrong
		}
	case http.StatusPreconditionFailed:
		var problem struct {
			ModRevision *uint64 `json:"modRevision,string"`
		}
		if err := json.Unmarshal(body, &problem); err != nil || problem.ModRevision == nil {
			r.outcome = wrong
			return r
		}
		r.revision = *problem.ModRevision
	case http.StatusOK:
		name := "X-Raftkv-Mod-Revision"
		if method == http.MethodDelete {
			name = "X-Raftkv-Revision"
		}
		var err error
		if r.revision, err = strconv.ParseUint(response.Header.Get(name), 10, 64); err != nil {
			r.outcome, r.text = wrong, name+": "+err.Error()
		}
		if method == http.MethodGet {
			r.value = string(body)
		}
	default:
		r.outcome = wrong
	}
	return r
}
