package rpc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// A frame on the wire, all integers big-endian:
//
//	 0  uint32  length of the payload in bytes
//	 4  uint8   type
//	 5  uint8   flags
//	 6  uint16  low half of the CRC32C of bytes 0-5 and 8-15: a damaged length is found before it is waited for
//	 8  uint64  call id
//	16  uint32  CRC32C of bytes 0-15 and the payload
//	20  payload
const frameHeaderBytes = 20

type frameType uint8

const (
	frameRequest  frameType = 1 // payload: uvarint method id, uvarint remaining time in microseconds (0: none), body
	frameOneWay   frameType = 2 // payload as of a request; no answer
	frameResponse frameType = 3 // payload: body
	frameError    frameType = 4 // payload: code, reason, message
	frameCancel   frameType = 5 // the caller of this call id gave up; no payload
	framePing     frameType = 6 // payload: 8 opaque bytes that the pong repeats
	framePong     frameType = 7
	frameBind     frameType = 8 // payload: JSON bindRequest; answered by frameResponse (JSON bindResponse) or frameError
	frameGoAway   frameType = 9 // the sender takes no new calls; payload: an error that says why

	frameTypeLast = frameGoAway
)

// flagNotRun on a frameError: the handler never ran.
const flagNotRun = 1

const (
	// DefaultMaxFrameBytes bounds header and payload of one frame.
	DefaultMaxFrameBytes = 16 << 20
	// minMaxFrameBytes is the smallest limit that a side may declare: control frames and errors must fit.
	minMaxFrameBytes = 64 << 10
	// pooledBufferBytes is the largest buffer that goes back to the pool, so that one big frame does not pin memory. Frames that are filled up
	// to a round megabyte fit with what surrounds them.
	pooledBufferBytes = 5 << 18
	// readStepBytes is how far a payload's buffer may run ahead of what has arrived, so that a header alone cannot make the
	// receiver allocate a full frame.
	readStepBytes = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// buffer is a pooled byte slice. On the sending side it holds a whole frame, on the receiving side a payload.
type buffer struct {
	b  []byte
	id uint64 // call id of an outgoing request, so that it can be taken back while it is queued; 0 otherwise
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 1024)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() {
	if b == nil || cap(b.b) > pooledBufferBytes {
		return
	}
	b.b, b.id = b.b[:0], 0
	buffers.Put(b)
}

// newFrame starts a frame: the header's place is reserved, seal fills it in.
func newFrame() *buffer {
	f := getBuffer()
	f.b = append(f.b, make([]byte, frameHeaderBytes)...)
	return f
}

func (b *buffer) seal(t frameType, flags uint8, callID uint64) {
	h := b.b
	binary.BigEndian.PutUint32(h, uint32(len(h)-frameHeaderBytes))
	h[4], h[5], h[6], h[7] = byte(t), flags, 0, 0
	binary.BigEndian.PutUint64(h[8:], callID)
	binary.BigEndian.PutUint16(h[6:], headerChecksum(h))
	binary.BigEndian.PutUint32(h[16:], frameChecksum(h[:16], h[frameHeaderBytes:]))
}

// headerChecksum is over the first 16 bytes of a header without its own place.
func headerChecksum(h []byte) uint16 { return uint16(frameChecksum(h[:6], h[8:16])) }

func frameChecksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, header), castagnoli, payload)
}

// frame is one received frame; payload belongs to whoever holds the frame.
type frame struct {
	typ     frameType
	flags   uint8
	callID  uint64
	payload *buffer
}

// frameReader reads frames. Any error leaves the stream unusable: the connection must be closed.
type frameReader struct {
	r        *bufio.Reader
	maxBytes int // of header and payload
}

// protocolError is a breach of the protocol by the other side.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return "rpc: protocol error: " + e.text }

func protocolErrorf(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

func (fr *frameReader) read() (frame, error) {
	h, err := fr.r.Peek(frameHeaderBytes)
	if err != nil {
		if err == io.EOF && len(h) > 0 { //nolint:errorlint // bufio gives io.EOF itself
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	if headerChecksum(h) != binary.BigEndian.Uint16(h[6:]) {
		return frame{}, protocolErrorf("checksum of a frame's header does not match: the bytes were damaged on the way")
	}
	length := binary.BigEndian.Uint32(h)
	f := frame{typ: frameType(h[4]), flags: h[5], callID: binary.BigEndian.Uint64(h[8:])}
	want := binary.BigEndian.Uint32(h[16:])
	sum := crc32.Update(0, castagnoli, h[:16])
	if uint64(length)+frameHeaderBytes > uint64(fr.maxBytes) {
		return frame{}, protocolErrorf("frame of %d bytes is past the limit of %d that was agreed", uint64(length)+frameHeaderBytes, fr.maxBytes)
	}
	if f.typ == 0 || f.typ > frameTypeLast {
		return frame{}, protocolErrorf("frame of unknown type %d", f.typ)
	}
	if _, err := fr.r.Discard(frameHeaderBytes); err != nil {
		return frame{}, err
	}
	f.payload = getBuffer()
	if err := readFull(fr.r, f.payload, int(length)); err != nil {
		f.payload.release()
		return frame{}, err
	}
	if crc32.Update(sum, castagnoli, f.payload.b) != want {
		f.payload.release()
		return frame{}, protocolErrorf("checksum of a frame does not match: the bytes were damaged on the way")
	}
	return f, nil
}

// readFull reads n bytes into an empty buffer, growing it no faster than bytes arrive.
func readFull(r io.Reader, b *buffer, n int) error {
	for len(b.b) < n {
		step := min(n-len(b.b), max(readStepBytes, len(b.b)))
		start := len(b.b)
		if cap(b.b) < start+step {
			grown := make([]byte, start, start+step)
			copy(grown, b.b)
			b.b = grown
		}
		b.b = b.b[:start+step]
		if _, err := io.ReadFull(r, b.b[start:]); err != nil {
			if err == io.EOF { //nolint:errorlint // io.ReadFull gives io.EOF itself
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
