package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

const testCluster = raft.ClusterID(0xc1)

// book resolves names, as DNS does.
type book struct {
	mu    sync.Mutex
	names map[string]string
}

func (b *book) set(name, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names[name] = address
}

func (b *book) dial(ctx context.Context, network, name string) (net.Conn, error) {
	b.mu.Lock()
	address := b.names[name]
	b.mu.Unlock()
	if address == "" {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// node is one member on a loopback socket.
type node struct {
	t         testing.TB
	id        raft.NodeID
	local     Local
	book      *book
	server    *rpc.Server
	transport *Transport
	served    chan error
	sink      *memorySink

	mu          sync.Mutex
	got         []raft.Message
	refused     []Reason
	refusedText string
	connected   map[raft.NodeID]uint64
	lost        int
	portClosed  int
	unreachable int
	blockAppend chan struct{} // when set, Receive waits for it on append messages
}

func memberOf(id raft.NodeID) raft.Member {
	return raft.Member{ID: id, Incarnation: raft.Incarnation(id) << 8, PeerAddress: fmt.Sprintf("member-%d:2380", id)}
}

func membership(ids ...raft.NodeID) raft.Membership {
	m := raft.Membership{}
	for _, id := range ids {
		m.Members = append(m.Members, memberOf(id))
		m.LastID = max(m.LastID, id)
	}
	return m
}

type nodeOption func(*node, *Config)

// start runs a member with the identity of memberOf(id) that knows the given members.
func start(t testing.TB, b *book, id raft.NodeID, members raft.Membership, opts ...nodeOption) *node {
	t.Helper()
	n := &node{t: t, id: id, book: b, served: make(chan error, 1), sink: &memorySink{}, connected: map[raft.NodeID]uint64{}}
	n.local = Local{Identity: Identity{Cluster: testCluster, ID: id, Incarnation: memberOf(id).Incarnation}, FeatureMin: 1, FeatureMax: 2, Committed: members}
	cfg := Config{
		Identity: n.local.Identity, FeatureMin: 1, FeatureMax: 2, Gate: n, Receive: n.receive, Sink: n.sink, Dial: b.dial,
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Events: Events{
			Unreachable: func(raft.NodeID) { n.count(&n.unreachable) },
			Connected: func(id raft.NodeID, r HelloReply) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.connected[id] = r.Nonce
			},
			Lost: func(raft.NodeID, error) { n.count(&n.lost) },
			DialFailed: func(_ raft.NodeID, closed bool, _ error) {
				if closed {
					n.count(&n.portClosed)
				}
			},
			Refused: func(_ raft.NodeID, reason Reason, text string) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.refused, n.refusedText = append(n.refused, reason), text
			},
		},
	}
	for _, o := range opts {
		o(n, &cfg)
	}
	n.server = rpc.NewServer(rpc.ServerOptions{})
	tr, err := New(n.server, cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.transport = tr
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.set(memberOf(id).PeerAddress, l.Addr().String())
	go func() { n.served <- n.server.Serve(l) }()
	t.Cleanup(n.stop)
	tr.SetPeers(members.Members)
	return n
}

// stop ends the member; it may be called twice.
func (n *node) stop() {
	_ = n.transport.Close()
	_ = n.server.Close()
	if err := <-n.served; !errors.Is(err, rpc.ErrServerClosed) {
		n.t.Errorf("Serve: %v", err)
	}
	n.served <- rpc.ErrServerClosed
}

func (n *node) count(c *int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*c++
}

func (n *node) Accept(h Hello) (HelloReply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return HelloReply{}, Decide(n.local, h)
}

func (n *node) receive(messages []raft.Message) {
	n.mu.Lock()
	block := n.blockAppend
	n.mu.Unlock()
	if block != nil && messages[0].Type == raft.MsgAppend {
		<-block
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, messages...)
}

// with runs a check under the node's lock.
func (n *node) with(f func() bool) func() bool {
	return func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return f()
	}
}

func (n *node) received(typ raft.MessageType) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := 0
	for i := range n.got {
		if n.got[i].Type == typ {
			k++
		}
	}
	return k
}

// waitConnected waits for both connections.
func (n *node) waitConnected(to raft.NodeID) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("%v is connected to %v", n.id, to), func() bool {
		n.transport.mu.RLock()
		defer n.transport.mu.RUnlock()
		p := n.transport.peers[to]
		if p == nil {
			return false
		}
		control, _ := p.control.peer.State()
		bulk, _ := p.bulk.peer.State()
		return control == rpc.PeerConnected && bulk == rpc.PeerConnected
	})
}

func (n *node) heartbeat(to raft.NodeID, k uint64) {
	n.transport.Send([]raft.Message{{Type: raft.MsgHeartbeat, From: n.id, To: to, Term: 1, Context: k}})
}

func (n *node) appendBytes(to raft.NodeID, k uint64, size int) {
	n.transport.Send([]raft.Message{{Type: raft.MsgAppend, From: n.id, To: to, Term: 1, Index: raft.Index(k),
		Entries: []raft.Entry{{Term: 1, Index: raft.Index(k) + 1, Type: raft.EntryNormal, Data: bytes.Repeat([]byte{byte(k)}, size)}}}})
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func newBook() *book { return &book{names: map[string]string{}} }

// memorySink keeps snapshots in memory.
type memorySink struct {
	mu        sync.Mutex
	committed [][]byte
	messages  []raft.Message
	aborted   int
	open      int
	maxOpen   int
	partial   int // bytes of the one that arrives
	failAfter int // bytes after which Write fails; 0: never
	onCommit  func()
}

type memoryWriter struct {
	sink *memorySink
	m    raft.Message
	data []byte
}

func (s *memorySink) Begin(m raft.Message) (SnapshotWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.maxOpen = max(s.maxOpen, s.open)
	return &memoryWriter{sink: s, m: m}, nil
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if w.sink.failAfter > 0 && len(w.data)+len(p) > w.sink.failAfter {
		return 0, errors.New("disk full")
	}
	w.data = append(w.data, p...)
	w.sink.partial = len(w.data)
	return len(p), nil
}

func (w *memoryWriter) Commit() error {
	w.sink.mu.Lock()
	onCommit := w.sink.onCommit
	w.sink.mu.Unlock()
	if onCommit != nil {
		onCommit()
	}
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.open--
	w.sink.committed = append(w.sink.committed, w.data)
	w.sink.messages = append(w.sink.messages, w.m)
	return nil
}

func (w *memoryWriter) Abort() error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.open--
	w.sink.aborted++
	return nil
}

func (s *memorySink) count(f func(*memorySink) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(s)
}

func (n *node) hasRefusal(r Reason) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.refused, r)
}
