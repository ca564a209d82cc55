package etcd

import (
	"io"
	"net/http"
	"sync"

	"google.golang.org/grpc/mem"
)

// What comes by ServeHTTP is read by gRPC as fast as it comes, into memory, whether the call takes it or not. On a connection of its own gRPC
// lets no stream run ahead of its call by more than a window.

const (
	// prefixBytes is what is before each message of a call.
	prefixBytes = 5
	// aheadSlackBytes is how far a client may be ahead beside one message of the largest size.
	aheadSlackBytes = 64 << 10
)

// intake is the body of a call, which is not read further than so much ahead of what the call has taken.
type intake struct {
	body io.ReadCloser
	most int64

	mu     sync.Mutex
	moved  sync.Cond // ahead or closed
	ahead  int64
	closed bool
}

// take has a call's body read through an intake. A whole message always fits.
func take(r *http.Request, maxMessageBytes int) *intake {
	x := &intake{body: r.Body, most: int64(maxMessageBytes + prefixBytes + aheadSlackBytes)}
	x.moved.L = &x.mu
	r.Body = x
	return x
}

// Read is that of http.Request.Body.
func (x *intake) Read(p []byte) (int, error) {
	x.mu.Lock()
	for x.ahead >= x.most && !x.closed {
		x.moved.Wait()
	}
	closed := x.closed
	x.mu.Unlock()
	if closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := x.body.Read(p)
	x.mu.Lock()
	x.ahead += int64(n)
	x.mu.Unlock()
	return n, err
}

// Close is that of http.Request.Body.
func (x *intake) Close() error {
	x.mu.Lock()
	x.closed = true
	x.moved.Broadcast()
	x.mu.Unlock()
	return x.body.Close()
}

// taken says that the call has taken a message of so many bytes.
func (x *intake) taken(bytes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ahead -= int64(bytes + prefixBytes)
	x.moved.Broadcast()
}

// measured is a message that is to be received, with its size on the wire.
type measured struct {
	message any
	bytes   int
}

// Unmarshal is that of encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*measured)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	m.bytes = data.Len()
	return c.CodecV2.Unmarshal(data, m.message)
}

// RecvMsg is that of grpc.ServerStream.
func (s *boundStream) RecvMsg(message any) error {
	if s.intake == nil {
		return s.ServerStream.RecvMsg(message)
	}
	m := &measured{message: message}
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.intake.taken(m.bytes)
	}
	return err
}
