package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// Magic is what a client's connection begins with. No HTTP method begins so; a listener that serves several protocols may tell them
// apart by it.
const Magic = "RKV1"

// The versions of the wire format that this package speaks. The greeting itself is frozen: later versions may only change what
// comes after it.
const (
	wireVersionMin = 1
	wireVersionMax = 1
)

const (
	// maxMetadataBytes bounds the body of a greeting: the receiver does not yet know who is there.
	maxMetadataBytes = 64 << 10
	// MaxMetadataEntries bounds the number of keys in a Metadata.
	MaxMetadataEntries = 128
)

// Metadata is what the two sides tell each other about themselves when they connect: identity, token, versions.
type Metadata map[string]string

// MetaKind is the metadata key that picks the acceptor of Server.AcceptKind.
const MetaKind = "kind"

// metaPingInterval is the metadata key under which a client that pings less often than the default asks the same of the server, as a
// duration's text. A server that does not know the key pings as it would anyway.
const metaPingInterval = "ping-interval"

// A greeting on the wire (both directions), integers big-endian:
//
//	 0  4 bytes  magic
//	 4  uint8    newest version that the sender speaks; in a reply: the version chosen
//	 5  uint8    oldest version that the sender speaks
//	 6  uint16   flags (bit 0, reply only: refused)
//	 8  uint32   largest frame that the sender takes, in bytes
//	12  uint32   length of the body
//	16  body     metadata, or the error of a refusal
//	..  uint32   CRC32C of all before
const greetingHeaderBytes = 16

const greetingRefused = 1

type greeting struct {
	versionMax, versionMin uint8
	flags                  uint16
	maxFrameBytes          uint32
	body                   []byte
}

func (g *greeting) append(b []byte) []byte {
	start := len(b)
	b = append(b, Magic...)
	b = append(b, g.versionMax, g.versionMin)
	b = binary.BigEndian.AppendUint16(b, g.flags)
	b = binary.BigEndian.AppendUint32(b, g.maxFrameBytes)
	b = binary.BigEndian.AppendUint32(b, uint32(len(g.body)))
	b = append(b, g.body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// errNotRPC means that the other side does not speak this protocol at all, so that answering in it is pointless.
var errNotRPC = errors.New("rpc: the other side does not speak the raftkv protocol")

func readGreeting(r io.Reader) (*greeting, error) {
	h := make([]byte, greetingHeaderBytes)
	if n, err := io.ReadFull(r, h); err != nil {
		if n > 0 && string(h[:min(n, len(Magic))]) != Magic[:min(n, len(Magic))] {
			return nil, fmt.Errorf("%w: it began with %q, not %q", errNotRPC, h[:min(n, len(Magic))], Magic)
		}
		return nil, fmt.Errorf("rpc: reading the greeting: %w", err)
	}
	if string(h[:4]) != Magic {
		return nil, fmt.Errorf("%w: it began with %q, not %q", errNotRPC, h[:4], Magic)
	}
	g := &greeting{
		versionMax: h[4], versionMin: h[5],
		flags:         binary.BigEndian.Uint16(h[6:]),
		maxFrameBytes: binary.BigEndian.Uint32(h[8:]),
	}
	length := binary.BigEndian.Uint32(h[12:])
	if length > maxMetadataBytes {
		return nil, protocolErrorf("greeting of %d bytes is past the limit of %d", length, maxMetadataBytes)
	}
	rest := make([]byte, length+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, fmt.Errorf("rpc: reading the greeting: %w", noEOF(err))
	}
	g.body = rest[:length]
	if frameChecksum(h, g.body) != binary.BigEndian.Uint32(rest[length:]) {
		return nil, protocolErrorf("checksum of the greeting does not match: the bytes were damaged on the way")
	}
	return g, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendMetadata encodes in key order, so that equal metadata are equal bytes.
func appendMetadata(b []byte, md Metadata) ([]byte, error) {
	if len(md) > MaxMetadataEntries {
		return nil, Errorf(CodeTooLarge, "metadata has %d entries, the limit is %d", len(md), MaxMetadataEntries)
	}
	start := len(b)
	b = binary.AppendUvarint(b, uint64(len(md)))
	for _, k := range slices.Sorted(maps.Keys(md)) {
		b = appendString(appendString(b, k), md[k])
	}
	if len(b)-start > maxMetadataBytes {
		return nil, Errorf(CodeTooLarge, "metadata takes %d bytes, the limit is %d", len(b)-start, maxMetadataBytes)
	}
	return b, nil
}

func decodeMetadata(b []byte) (Metadata, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > MaxMetadataEntries {
		return nil, protocolErrorf("malformed metadata")
	}
	b = b[used:]
	md := make(Metadata, n)
	for range n {
		var k, v string
		var err error
		if k, b, err = cutString(b); err == nil {
			v, b, err = cutString(b)
		}
		if err != nil {
			return nil, protocolErrorf("malformed metadata: %v", err)
		}
		md[k] = v
	}
	return md, nil
}

// handshakeResult is what a side knows of the other after the greetings.
type handshakeResult struct {
	remote       Metadata
	maxSendBytes int
}

// clientHandshake greets the server. A refusal comes back as the server's *Error.
func clientHandshake(rw io.ReadWriter, md Metadata, maxFrameBytes int) (*handshakeResult, error) {
	body, err := appendMetadata(nil, md)
	if err != nil {
		return nil, err
	}
	hello := greeting{versionMax: wireVersionMax, versionMin: wireVersionMin, maxFrameBytes: uint32(maxFrameBytes), body: body}
	if _, err := rw.Write(hello.append(nil)); err != nil {
		return nil, fmt.Errorf("rpc: sending the greeting: %w", err)
	}
	reply, err := readGreeting(rw)
	if err != nil {
		return nil, err
	}
	if reply.flags&greetingRefused != 0 {
		refusal, err := decodeError(reply.body)
		if err != nil {
			return nil, protocolErrorf("malformed refusal: %v", err)
		}
		refusal.notSent = true
		return nil, refusal
	}
	if reply.versionMax < wireVersionMin || reply.versionMax > wireVersionMax {
		return nil, protocolErrorf("the server chose wire version %d, this client speaks %d to %d", reply.versionMax, wireVersionMin, wireVersionMax)
	}
	return newHandshakeResult(reply, maxFrameBytes)
}

func newHandshakeResult(g *greeting, ownMaxFrameBytes int) (*handshakeResult, error) {
	md, err := decodeMetadata(g.body)
	if err != nil {
		return nil, err
	}
	if g.maxFrameBytes < minMaxFrameBytes {
		return nil, protocolErrorf("the other side takes frames of only %d bytes, at least %d are needed", g.maxFrameBytes, minMaxFrameBytes)
	}
	return &handshakeResult{remote: md, maxSendBytes: min(int(g.maxFrameBytes), ownMaxFrameBytes)}, nil
}

// serverHandshake answers a client's greeting; accept decides on its metadata.
func serverHandshake(rw io.ReadWriter, maxFrameBytes int, accept func(Metadata) (Metadata, error)) (*handshakeResult, error) {
	hello, err := readGreeting(rw)
	if err != nil {
		return nil, err
	}
	refuse := func(e *Error) error {
		r := greeting{versionMax: wireVersionMax, versionMin: wireVersionMin, flags: greetingRefused, maxFrameBytes: uint32(maxFrameBytes), body: appendError(nil, e)}
		if _, err := rw.Write(r.append(nil)); err != nil {
			return fmt.Errorf("rpc: sending a refusal (%w): %w", e, err)
		}
		return e
	}
	if hello.versionMax < wireVersionMin || hello.versionMin > wireVersionMax {
		return nil, refuse(Refusal(ReasonVersion, "the client speaks wire versions %d to %d, this server %d to %d: upgrade the older side",
			hello.versionMin, hello.versionMax, wireVersionMin, wireVersionMax))
	}
	result, err := newHandshakeResult(hello, maxFrameBytes)
	if err != nil {
		return nil, refuse(Errorf(CodeInvalid, "%v", err))
	}
	md, err := accept(result.remote)
	if err != nil {
		return nil, refuse(toError(err))
	}
	body, err := appendMetadata(nil, md)
	if err != nil {
		return nil, refuse(Errorf(CodeInternal, "server metadata: %v", err))
	}
	reply := greeting{versionMax: min(hello.versionMax, wireVersionMax), versionMin: wireVersionMin, maxFrameBytes: uint32(maxFrameBytes), body: body}
	if _, err := rw.Write(reply.append(nil)); err != nil {
		return nil, fmt.Errorf("rpc: sending the greeting: %w", err)
	}
	return result, nil
}
