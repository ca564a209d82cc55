package etcd

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/raftkv/raftkv/server/answers"
)

// A call's handler returns long before its client has taken the answer: gRPC keeps the whole message until the client's windows let the last of it out. So what is counted for an
// answer is given back when gRPC frees the message. It does not free what a connection still owed at its end, so that it is given back at that end at the latest; nor the answer to a call that is given up after
// its headers were sent and before the message is queued, so that it is given back when the message has been collected as garbage.

// keyValueBytes is about what a key and its value take beside themselves in a message.
const keyValueBytes = 32

// weigh tells about how many bytes an answer has. What most calls are answered with is weighed without looking at it twice.
func weigh(response any) int {
	switch r := response.(type) {
	case *pb.RangeResponse:
		size := 0
		for _, x := range r.Kvs {
			size += len(x.Key) + len(x.Value) + keyValueBytes
		}
		return size
	case *pb.PutResponse:
		return len(r.PrevKv.GetKey()) + len(r.PrevKv.GetValue())
	case proto.Message:
		return proto.Size(r)
	}
	return 0
}

// mayHaveWritten tells of an answer whether the call may have changed something.
func mayHaveWritten(response any) bool {
	switch r := response.(type) {
	case *pb.PutResponse, *pb.DeleteRangeResponse:
		return true
	case *pb.TxnResponse:
		for _, x := range r.Responses {
			if x.GetResponsePut() != nil || x.GetResponseDeleteRange() != nil || x.GetResponseTxn() != nil && mayHaveWritten(x.GetResponseTxn()) {
				return true
			}
		}
	}
	return false
}

// counted is an answer that is counted until its client has it.
type counted struct {
	message any
	taken   func()
}

// count counts an answer. Without room for it the call is refused, or, if it may have written, its outcome is not told.
func (s *Server) count(ctx context.Context, response any) (any, error) {
	size := weigh(response)
	if size < answers.SmallBytes {
		return response, nil
	}
	var end func()
	l := lineOf(ctx)
	if l != nil {
		end = l.cut
	}
	release, ok := s.options.Answers.Hold(size, end)
	switch {
	case ok && l != nil:
		return &counted{response, l.owe(release)}, nil
	case ok:
		return &counted{response, release}, nil
	case mayHaveWritten(response):
		return nil, rpctypes.ErrGRPCTimeout
	}
	return nil, rpctypes.ErrGRPCRequestTooManyRequests
}

// codec is gRPC's for protocol buffers, which also tells when an answer that is counted has gone.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// Marshal is that of encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, ok := v.(*counted)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data, err := c.CodecV2.Marshal(a.message)
	if err != nil {
		a.taken()
		return nil, err
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	data.Free()
	content := whole.ReadOnlyData()
	if mem.IsBelowBufferPoolingThreshold(cap(content)) { // such are not freed, and need not be counted
		a.taken()
	}
	l := &leaving{whole, a.taken}
	runtime.AddCleanup(l, func(taken func()) { taken() }, a.taken)
	return mem.BufferSlice{mem.NewBuffer(&content, l)}, nil
}

// leaving is where gRPC gives back the memory of a message that it needs no more.
type leaving struct {
	message mem.Buffer
	taken   func()
}

// Get is that of mem.BufferPool.
func (*leaving) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// Put is that of mem.BufferPool.
func (l *leaving) Put(*[]byte) {
	l.message.Free()
	l.taken()
}

// line is what a client takes its answers over: a connection, or one call of a connection that carries JSON as well.
type line struct {
	// end ends it in the middle, so that its Close or its handler comes.
	end func()
	// intake is that of a call; nil of a connection.
	intake *intake

	mu   sync.Mutex
	over bool
	owed map[*func()]struct{} // release what its client has not taken
}

func newLine(end func()) *line { return &line{end: end, owed: map[*func()]struct{}{}} }

// owe notes what is to be released when the client has taken it, or the line is over.
func (l *line) owe(release func()) (taken func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		release()
		return release
	}
	key := &release
	l.owed[key] = struct{}{}
	return func() {
		l.mu.Lock()
		delete(l.owed, key)
		l.mu.Unlock()
		release()
	}
}

// cut ends a line whose client does not take what it has asked for.
func (l *line) cut() {
	l.mu.Lock()
	if !l.over {
		l.end()
	}
	l.mu.Unlock()
	l.settle()
}

// settle is called when the line is over.
func (l *line) settle() {
	l.mu.Lock()
	l.over = true
	owed := l.owed
	l.owed = nil
	l.mu.Unlock()
	for release := range owed {
		(*release)()
	}
}

// lineKey is of the line in the context of a call that came by ServeHTTP.
type lineKey struct{}

// lineOf is the line of a call; nil if it has none.
func lineOf(ctx context.Context) *line {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(*connection); ok {
			return c.line
		}
	}
	l, _ := ctx.Value(lineKey{}).(*line)
	return l
}

// withLine gives a call that came by ServeHTTP its line, which is over when settle is called.
func (s *Server) withLine(w http.ResponseWriter, r *http.Request) (_ *http.Request, settle func()) {
	control := http.NewResponseController(w)
	l := newLine(func() { _ = control.SetWriteDeadline(time.Unix(1, 0)) }) // the client has gone if it fails
	r = r.WithContext(context.WithValue(r.Context(), lineKey{}, l))
	l.intake = take(r, s.options.MaxRequestBytes+messageOverheadBytes)
	s.lines.add(l)
	return r, func() {
		s.lines.remove(l)
		l.settle()
	}
}

// lines are those of ServeHTTP: gRPC waits for their calls when it stops, and cannot end one whose client does not take its answer.
type lines struct {
	mu   sync.Mutex
	over bool
	all  map[*line]struct{}
}

func (x *lines) add(l *line) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		l.cut()
		return
	}
	if x.all == nil {
		x.all = map[*line]struct{}{}
	}
	x.all[l] = struct{}{}
}

func (x *lines) remove(l *line) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, l)
}

// cut ends all of them, and those to come.
func (x *lines) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	for l := range x.all {
		l.cut()
	}
}

// connection is a connection of Serve, which its calls know as what has proven who the client is: gRPC tells them nothing else of it.
type connection struct {
	net.Conn
	credentials.CommonAuthInfo

	line *line
}

// AuthType is that of credentials.AuthInfo.
func (*connection) AuthType() string { return "none" }

// Close is that of net.Conn.
func (c *connection) Close() error {
	err := c.Conn.Close()
	c.line.settle()
	return err
}

// entrance makes a connection of each that is accepted. TLS, where there is any, has ended before.
type entrance struct{}

// ServerHandshake is that of credentials.TransportCredentials.
func (entrance) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := &connection{Conn: raw, line: newLine(func() { _ = raw.Close() })} // it has gone already if that fails
	return c, c, nil
}

// ClientHandshake is that of credentials.TransportCredentials.
func (entrance) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("for servers only")
}

// Info is that of credentials.TransportCredentials.
func (entrance) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

// Clone is that of credentials.TransportCredentials.
func (e entrance) Clone() credentials.TransportCredentials { return e }

// OverrideServerName is that of credentials.TransportCredentials.
func (entrance) OverrideServerName(string) error { return nil }
