package rpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

// echoReq goes as JSON, blob in its own binary encoding.
type echoReq struct {
	Text string
	Fail string
	Grow int // bytes to answer with
}

type echoResp struct {
	Text string
	From string
}

type blob struct{ data []byte }

func (b *blob) AppendBinary(to []byte) ([]byte, error) { return append(to, b.data...), nil }
func (b *blob) UnmarshalBinary(from []byte) error {
	b.data = append(b.data[:0], from...)
	return nil
}

type testService struct {
	Echo  func(context.Context, *echoReq) (*echoResp, error)
	Blob  func(context.Context, *blob) (*blob, error)
	Note  func(context.Context, *blob) error
	Block func(context.Context, *echoReq) (*echoResp, error)
}

// impl implements testService.
type impl struct {
	mu      sync.Mutex
	notes   []uint64
	running atomic.Int64
	gate    chan struct{}         // Block waits for it
	ended   chan error            // how Block ended
	onNote  func(context.Context) // may be nil
}

func newImpl() *impl { return &impl{gate: make(chan struct{}), ended: make(chan error, 1024)} }

func (*impl) Echo(ctx context.Context, req *echoReq) (*echoResp, error) {
	switch req.Fail {
	case "":
	case "plain":
		return nil, errors.New("plain failure")
	case "nil":
		return nil, nil
	default:
		return nil, rpc.Refusal(req.Fail, "refused because %s", req.Fail)
	}
	if req.Grow > 0 {
		return &echoResp{Text: strings.Repeat("x", req.Grow)}, nil
	}
	info, _ := rpc.FromContext(ctx)
	return &echoResp{Text: req.Text, From: info.Metadata["name"] + " " + info.Method}, nil
}

func (*impl) Blob(_ context.Context, b *blob) (*blob, error) { return b, nil }

func (i *impl) Note(ctx context.Context, b *blob) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.onNote != nil {
		i.onNote(ctx)
	}
	i.notes = append(i.notes, binary.BigEndian.Uint64(b.data))
	return nil
}

func (i *impl) noteCount() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.notes)
}

func (i *impl) Block(ctx context.Context, _ *echoReq) (*echoResp, error) {
	i.running.Add(1)
	defer i.running.Add(-1)
	select {
	case <-ctx.Done():
		i.ended <- ctx.Err()
		return nil, ctx.Err()
	case <-i.gate:
		i.ended <- nil
		return &echoResp{}, nil
	}
}

// serve starts a server on a loopback listener.
func serve(t testing.TB, opts rpc.ServerOptions, i any, register ...rpc.Option) (*rpc.Server, string) {
	t.Helper()
	s := rpc.NewServer(opts)
	if err := rpc.Register(s, "test", i, register...); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, rpc.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, addr string, opts rpc.ClientOptions) *rpc.Client {
	t.Helper()
	c, err := rpc.Dial(t.Context(), addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func bind(t testing.TB, c rpc.Caller) *testService {
	t.Helper()
	var svc testService
	if err := rpc.Bind(c, "test", &svc); err != nil {
		t.Fatal(err)
	}
	return &svc
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func number(n uint64) *blob { return &blob{binary.BigEndian.AppendUint64(nil, n)} }

func TestCallsCarryValuesErrorsAndCaller(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl(), rpc.Contract(testService{}))
	svc := bind(t, dial(t, addr, rpc.ClientOptions{Metadata: rpc.Metadata{"name": "ann"}}))
	ctx := t.Context()

	got, err := svc.Echo(ctx, &echoReq{Text: "hé<llo"})
	if err != nil || got.Text != "hé<llo" || got.From != "ann test.Echo" {
		t.Fatalf("Echo: %+v, %v", got, err)
	}
	big := &blob{make([]byte, 3<<20)}
	big.data[77] = 7
	if got, err := svc.Blob(ctx, big); err != nil || len(got.data) != len(big.data) || got.data[77] != 7 {
		t.Fatalf("Blob: %v", err)
	}

	_, err = svc.Echo(ctx, &echoReq{Fail: "moved"})
	var e *rpc.Error
	if !errors.As(err, &e) || e.Code != rpc.CodeRefused || e.Reason != "moved" || e.Message != "refused because moved" {
		t.Fatalf("refusal: %v", err)
	}
	if rpc.NotSent(err) {
		t.Fatal("the handler ran, yet NotSent")
	}
	if _, err = svc.Echo(ctx, &echoReq{Fail: "plain"}); !errors.Is(err, rpc.CodeInternal) || !strings.Contains(err.Error(), "plain failure") {
		t.Fatalf("plain error: %v", err)
	}
	if _, err = svc.Echo(ctx, &echoReq{Fail: "nil"}); !errors.Is(err, rpc.CodeInternal) {
		t.Fatalf("nil answer: %v", err)
	}
	if _, err = svc.Echo(ctx, nil); !errors.Is(err, rpc.CodeInvalid) || !rpc.NotSent(err) {
		t.Fatalf("nil request: %v", err)
	}
}

func TestOneWayKeepsOrder(t *testing.T) {
	for _, inline := range []bool{false, true} {
		i := newImpl()
		var opts []rpc.Option
		if inline {
			opts = append(opts, rpc.Inline())
		}
		_, addr := serve(t, rpc.ServerOptions{}, i, opts...)
		svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
		const n = 5000
		for k := range uint64(n) {
			if err := svc.Note(t.Context(), number(k)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all notes", func() bool { return i.noteCount() == n })
		for k, got := range i.notes {
			if got != uint64(k) {
				t.Fatalf("inline %v: note %d came at %d", inline, got, k)
			}
		}
	}
}

func TestNotesSentJustBeforeCloseArrive(t *testing.T) {
	i := newImpl()
	_, addr := serve(t, rpc.ServerOptions{}, i)
	c := dial(t, addr, rpc.ClientOptions{})
	svc := bind(t, c)
	var canceled atomic.Bool
	i.onNote = func(ctx context.Context) { canceled.Store(canceled.Load() || ctx.Err() != nil) }
	for k := range uint64(100) {
		if err := svc.Note(t.Context(), number(k)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil { // all notes are in the server's hands now
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "all notes", func() bool { return i.noteCount() == 100 })
	if canceled.Load() {
		t.Fatal("a note ran under a canceled context")
	}
}

func TestCancelAndDeadlineReachTheHandler(t *testing.T) {
	i := newImpl()
	_, addr := serve(t, rpc.ServerOptions{}, i)
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for i.running.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := svc.Block(ctx, &echoReq{})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, rpc.CodeCanceled) || rpc.NotSent(err) {
		t.Fatalf("caller: %v", err)
	}
	if err := <-i.ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("handler: %v", err)
	}

	for timeout := 30 * time.Millisecond; ; timeout *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err := svc.Block(ctx, &echoReq{})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("caller: %v", err)
		}
		if !rpc.NotSent(err) { // or the machine was too busy to send it in time
			break
		}
	}
	if err := <-i.ended; err == nil {
		t.Fatal("the handler was not ended")
	}
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	i := newImpl()
	_, addr := serve(t, rpc.ServerOptions{}, i)
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
	blocked := make(chan error, 1)
	go func() {
		_, err := svc.Block(t.Context(), &echoReq{})
		blocked <- err
	}()
	eventually(t, "handler runs", func() bool { return i.running.Load() == 1 })
	for range 10 {
		if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
			t.Fatal(err)
		}
	}
	close(i.gate)
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
}

func TestConnectionLostMeansUnknownOutcome(t *testing.T) {
	i := newImpl()
	s, addr := serve(t, rpc.ServerOptions{}, i)
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
	failed := make(chan error, 1)
	go func() {
		_, err := svc.Block(t.Context(), &echoReq{})
		failed <- err
	}()
	eventually(t, "handler runs", func() bool { return i.running.Load() == 1 })
	_ = s.Close()
	if err := <-failed; !errors.Is(err, rpc.CodeUnavailable) || rpc.NotSent(err) {
		t.Fatalf("call in flight: %v, not sent %v", err, rpc.NotSent(err))
	}
	if _, err := svc.Echo(t.Context(), &echoReq{}); !errors.Is(err, rpc.CodeUnavailable) || !rpc.NotSent(err) {
		t.Fatalf("call after the end: %v, not sent %v", err, rpc.NotSent(err))
	}
}

func TestTooLargeIsRefusedBySenderAndConnectionLives(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{MaxFrameBytes: 128 << 10}, newImpl())
	svc := bind(t, dial(t, addr, rpc.ClientOptions{}))
	_, err := svc.Blob(t.Context(), &blob{make([]byte, 200<<10)})
	if !errors.Is(err, rpc.CodeTooLarge) || !rpc.NotSent(err) || !strings.Contains(err.Error(), "131072") {
		t.Fatalf("request: %v", err)
	}
	if _, err := svc.Echo(t.Context(), &echoReq{Grow: 200 << 10}); !errors.Is(err, rpc.CodeTooLarge) || rpc.NotSent(err) {
		t.Fatalf("answer: %v", err)
	}
	if _, err := svc.Echo(t.Context(), &echoReq{}); err != nil {
		t.Fatalf("after that: %v", err)
	}
}

func TestGarbageIsNotServed(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl())
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(conn); len(got) != 0 {
		t.Fatalf("the server answered %q", got)
	}
}
