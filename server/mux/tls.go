package mux

// handshakeRecord is the type of the record that a TLS connection begins with (RFC 8446 §5.1). No method of HTTP begins with it, nor does the native greeting.
const handshakeRecord = 0x16

// TLS matches a client's first record of TLS.
func TLS(prefix []byte) Verdict {
	if len(prefix) == 0 {
		return More
	}
	if prefix[0] != handshakeRecord {
		return No
	}
	return Yes
}
