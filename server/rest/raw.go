package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// net/http answers by itself, without asking any handler, when it cannot make a request of what a client sends: a key
// that is not percent-encoded, a head that is too long. It writes such an answer at once and in plain text, and knows no
// hook for it. Its form is one that no handler's answer has: these two headers and no Date.
var bareHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

const (
	statusLineStart = "HTTP/1.1 "
	// maxStatusLineBytes bounds the search for the end of a status line.
	maxStatusLineBytes = 512
	statusDigits       = 3
)

// Problems lets the connections of a listener carry problem documents in place of what net/http answers by itself.
func Problems(l net.Listener) net.Listener { return problemListener{l} }

type problemListener struct{ net.Listener }

func (l problemListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &problemConn{c}, nil
}

type problemConn struct{ net.Conn }

// Write takes a whole bare answer in one call, as net/http gives it.
func (c *problemConn) Write(p []byte) (int, error) {
	answer := documentOf(p)
	if answer == nil {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(answer); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite lets the client read the answer before the connection is reset for what it had not yet sent.
func (c *problemConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// documentOf is the answer to be sent in place of a bare one; nil if it is not one.
func documentOf(answer []byte) []byte {
	head := answer[:min(len(answer), maxStatusLineBytes)]
	if !bytes.HasPrefix(head, []byte(statusLineStart)) {
		return nil
	}
	end := bytes.Index(head, []byte("\r\n"))
	if end < len(statusLineStart)+statusDigits || !bytes.HasPrefix(answer[end:], bareHeaders) {
		return nil
	}
	status, err := strconv.Atoi(string(head[len(statusLineStart):][:statusDigits]))
	if err != nil || status < http.StatusBadRequest {
		return nil
	}
	text := string(answer[end+len(bareHeaders):])
	p := problemf(status, codeInvalid, "this is no request that can be understood (%s): write the key percent-encoded, a %% as %%25", text)
	if status == http.StatusRequestHeaderFieldsTooLarge {
		p = problemf(status, codeHeadTooLarge, "the request's line and headers are too long: the key is in the first, a value belongs into the body")
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	out := fmt.Appendf(nil, "%s%d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		statusLineStart, status, http.StatusText(status), problemType, len(body))
	return append(out, body...)
}
