package mux

import "bytes"

// http2Preface begins with what looks like a method of HTTP/1 (RFC 9113 §3.4).
var http2Preface = []byte("PRI * HTTP/2.0")

// longestMethod is more than the longest registered HTTP method has bytes.
const longestMethod = 24

// HTTP1 matches a request line: a method of capital letters and hyphens, then a space, and not HTTP/2's preface.
func HTTP1(prefix []byte) Verdict {
	for i, c := range prefix {
		switch {
		case c == ' ' && i > 0:
			return notHTTP2(prefix)
		case i >= longestMethod, (c < 'A' || c > 'Z') && (c != '-' || i == 0):
			return No
		}
	}
	return More
}

// HTTP2 matches a client that speaks HTTP/2 with prior knowledge (RFC 9113 §3.3), as gRPC's do.
func HTTP2(prefix []byte) Verdict {
	n := min(len(prefix), len(http2Preface))
	switch {
	case !bytes.Equal(prefix[:n], http2Preface[:n]):
		return No
	case n < len(http2Preface):
		return More
	}
	return Yes
}

func notHTTP2(prefix []byte) Verdict {
	n := min(len(prefix), len(http2Preface))
	switch {
	case !bytes.Equal(prefix[:n], http2Preface[:n]):
		return Yes
	case n < len(http2Preface):
		return More
	}
	return No
}
