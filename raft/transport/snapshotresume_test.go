package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

// mortal connections do something to what is written when so many bytes were.
type mortal struct {
	net.Conn
	left int
	act  func(c *mortal, p []byte) (int, error)
}

func (m *mortal) Write(p []byte) (int, error) {
	if len(p) < m.left {
		m.left -= len(p)
		return m.Conn.Write(p)
	}
	return m.act(m, p)
}

func breakOff(m *mortal, p []byte) (int, error) {
	n, _ := m.Conn.Write(p[:m.left])
	_ = m.Conn.Close()
	return n, net.ErrClosed
}

// onSnapshots wraps connections that are opened for snapshots only, once told to.
type onSnapshots struct {
	mu   sync.Mutex
	wrap func(net.Conn) net.Conn // nil: nothing
	dial rpc.DialFunc
	fail bool
}

func (o *onSnapshots) set(wrap func(net.Conn) net.Conn, fail bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrap, o.fail = wrap, fail
}

func (o *onSnapshots) open(ctx context.Context, network, address string) (net.Conn, error) {
	o.mu.Lock()
	wrap, fail := o.wrap, o.fail
	o.mu.Unlock()
	if fail {
		return nil, errors.New("no route")
	}
	c, err := o.dial(ctx, network, address)
	if err == nil && wrap != nil {
		c = wrap(c)
	}
	return c, err
}

func dialedBy(o *onSnapshots) nodeOption {
	return func(n *node, cfg *Config) {
		o.dial = cfg.Dial
		cfg.Dial = o.open
	}
}

func arrived(t *testing.T, n *node, which int, want []byte) {
	t.Helper()
	n.sink.mu.Lock()
	defer n.sink.mu.Unlock()
	if len(n.sink.committed) != which+1 || !bytes.Equal(n.sink.committed[which], want) || n.sink.maxOpen != 1 {
		t.Fatalf("%d snapshots were committed, at most %d were open, or the last differs", len(n.sink.committed), n.sink.maxOpen)
	}
}

func TestSnapshotGoesOnWhenItsConnectionBreaksAtEveryChunk(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	breaking := &onSnapshots{}
	one, two := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all)
	one.waitConnected(2)
	// Each connection takes one chunk and half of another.
	breaking.set(func(c net.Conn) net.Conn {
		return &mortal{Conn: c, left: SnapshotChunkBytes + SnapshotChunkBytes/2, act: breakOff}
	}, false)
	data := randomBytes(10*SnapshotChunkBytes + 17)
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	arrived(t, two, 0, data)
	if s := one.transport.Stats().Peers[0]; s.SnapshotsResumed < 5 || s.Snapshots != 1 {
		t.Fatalf("sender: %+v", s)
	}
	if s := two.transport.Stats(); s.SnapshotsResumed < 5 || s.SnapshotBytesReceived != uint64(len(data)) || s.SnapshotsGivenUp != 0 {
		t.Fatalf("receiver: %+v", s)
	}
}

// A damaged chunk is not written: the stream goes on before it.
func TestDamagedChunkIsSentAgain(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	damaging := &onSnapshots{}
	one, two := start(t, b, 1, all, dialedBy(damaging)), start(t, b, 2, all)
	one.waitConnected(2)
	left := 3
	damaging.set(func(c net.Conn) net.Conn {
		return &mortal{Conn: c, left: 3*SnapshotChunkBytes + 4567, act: func(m *mortal, p []byte) (int, error) {
			bad := bytes.Clone(p)
			if left--; left >= 0 {
				bad[min(m.left, len(bad)-1)] ^= 4
			}
			m.left = 1 << 60
			return m.Conn.Write(bad)
		}}
	}, false)
	data := randomBytes(12 * SnapshotChunkBytes)
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	arrived(t, two, 0, data)
	if n := one.transport.Stats().Peers[0].SnapshotsResumed; n == 0 {
		t.Fatal("nothing was damaged")
	}
}

// byHand speaks the service as a sender does.
func byHand(t *testing.T, from *node, to raft.NodeID) *snapshotService {
	t.Helper()
	from.transport.mu.RLock()
	p := from.transport.peers[to]
	from.transport.mu.RUnlock()
	client, err := rpc.Dial(t.Context(), p.address, p.clientOptions(purposeSnapshot))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := new(snapshotService)
	if err := rpc.Bind(client, serviceSnapshot, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChunksInWrongOrderAreDropped(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	s, ctx := byHand(t, one, 2), t.Context()
	begun, err := s.Begin(ctx, &snapshotBegin{stream: 5, message: snapshotMessage(1, 2, 3)})
	if err != nil {
		t.Fatal(err)
	}
	send := func(handle, offset uint64, data string) uint64 {
		if err := s.Chunk(ctx, &chunk{handle: handle, offset: offset, data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
		synced, err := s.Sync(ctx, &snapshotSync{Handle: begun.Handle})
		if err != nil {
			t.Fatal(err)
		}
		return synced.Bytes
	}
	for i, step := range []struct {
		handle, offset uint64
		data           string
		have           uint64
	}{
		{0, 0, "abc", 3}, {0, 6, "ghi", 3}, {0, 0, "abc", 3}, {0, 2, "cde", 3}, {1, 3, "xyz", 3}, {0, 3, "def", 6}, {0, 1 << 63, "", 6}, {0, 6, "ghi", 9},
	} {
		if got := send(begun.Handle+step.handle, step.offset, step.data); got != step.have {
			t.Fatalf("step %d: %d bytes, want %d", i, got, step.have)
		}
	}
	if _, err := s.Commit(ctx, &snapshotCommit{Handle: begun.Handle, Bytes: 8}); rpc.CodeOf(err) != rpc.CodeInvalid {
		t.Fatalf("a wrong length: %v", err)
	}
	if two.sink.count(committed) != 0 || two.sink.count(aborted) != 1 {
		t.Fatal("a stream of the wrong length was committed or is kept")
	}
}

// What was staged goes to the process that sent it, and to nobody else.
func TestOnlyItsOwnSenderGoesOnWithASnapshot(t *testing.T) {
	b := newBook()
	all := membership(1, 2, 3)
	one, two, three := start(t, b, 1, all), start(t, b, 2, all), start(t, b, 3, all)
	s, ctx := byHand(t, one, 2), t.Context()
	first, err := s.Begin(ctx, &snapshotBegin{stream: 5, message: snapshotMessage(1, 2, 3)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Chunk(ctx, &chunk{handle: first.Handle, data: []byte("abc")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, &snapshotSync{Handle: first.Handle}); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]struct {
		by     *snapshotService
		stream uint64
		from   raft.NodeID
	}{"another stream": {s, 6, 1}, "another member": {byHand(t, three, 2), 5, 3}} {
		_, err := other.by.Begin(ctx, &snapshotBegin{stream: other.stream, acked: 3, message: snapshotMessage(other.from, 2, 3)})
		if rpc.CodeOf(err) != rpc.CodeAborted || !strings.Contains(err.Error(), "are gone") {
			t.Fatalf("%s: %v", name, err)
		}
	}
	again, err := byHand(t, one, 2).Begin(ctx, &snapshotBegin{stream: 5, acked: 3, message: snapshotMessage(1, 2, 3)})
	if err != nil || again.Bytes != 3 || again.Handle == first.Handle {
		t.Fatalf("%+v, %v", again, err)
	}
	// The old connection is dead, even if it still speaks.
	if _, err := s.Sync(ctx, &snapshotSync{Handle: first.Handle}); rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("the old connection: %v", err)
	}
	if two.sink.count(aborted) != 0 {
		t.Fatal("what was staged is gone")
	}
}

// halfway has member 1 send member 2 a snapshot up to the point at which most of it has arrived; it goes on when word is closed.
func halfway(t *testing.T, one, two *node, data []byte) (word chan struct{}, result chan error) {
	t.Helper()
	word, result = make(chan struct{}), make(chan error, 1)
	go func() {
		result <- one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), &gated{data: data, after: 6 << 20, word: word})
	}()
	eventually(t, "most is there", func() bool { return two.sink.count(partial) >= 6<<20 })
	return word, result
}

func TestSnapshotAfterABreakEndsWithTheTime(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	breaking := &onSnapshots{}
	leaky := rpctest.NewNetwork(3)
	one, two := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all)
	one.waitConnected(2)
	one.transport.resumeTimeout, two.transport.keepTimeout = 200*time.Millisecond, 400*time.Millisecond
	breaking.set(func(c net.Conn) net.Conn { return leaky.Wrap(c) }, false)
	word, result := halfway(t, one, two, randomBytes(8<<20))
	breaking.set(nil, true)
	leaky.Cut()
	close(word)
	if err := <-result; err == nil || !strings.Contains(err.Error(), "no route") {
		t.Fatalf("no way to go on: %v", err)
	}
	eventually(t, "it is dropped", func() bool { return two.sink.count(aborted) == 1 })
}

func TestSnapshotAfterABreakEndsWithANewerOne(t *testing.T) {
	b := newBook()
	all := membership(1, 2, 3)
	breaking := &onSnapshots{}
	leaky := rpctest.NewNetwork(3)
	one, two, three := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all), start(t, b, 3, all)
	one.waitConnected(2)
	breaking.set(func(c net.Conn) net.Conn { return leaky.Wrap(c) }, false)
	word, result := halfway(t, one, two, randomBytes(8<<20))
	leaky.Cut()
	if err := three.transport.SendSnapshot(t.Context(), snapshotMessage(3, 2, 4), strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	close(word)
	if err := <-result; rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("overtaken: %v", err)
	}
	arrived(t, two, 0, []byte("new"))
}

func TestSnapshotBeginsAnewWhenTheReceiverWasRestarted(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	word, result := make(chan struct{}), make(chan error, 1)
	data := randomBytes(8 << 20)
	go func() {
		result <- one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), &gated{data: data, after: 6 << 20, word: word})
	}()
	eventually(t, "most is there", func() bool { return two.sink.count(partial) >= 6<<20 })
	two.stop()
	two = start(t, b, 2, all)
	one.transport.SetPeers(all.Members)
	close(word)
	if err := <-result; rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("restarted: %v", err)
	}
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	arrived(t, two, 0, data)
}

// The answer to Commit may be lost; the sender learns all the same how it went.
func TestLostAnswerToCommit(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	breaking := &onSnapshots{}
	leaky := rpctest.NewNetwork(3)
	one, two := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all)
	one.waitConnected(2)
	breaking.set(func(c net.Conn) net.Conn { return leaky.Wrap(c) }, false)
	two.sink.onCommit = leaky.Cut
	data := randomBytes(3 << 20)
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	arrived(t, two, 0, data)
	if one.transport.Stats().Peers[0].SnapshotsResumed == 0 {
		t.Fatal("the answer was not lost")
	}
}

// A receiver that is gone with its answer to Commit holds nothing up: what the source costs ends soon.
func TestAReceiverThatIsGoneAtTheCommitIsNotWaitedFor(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	breaking := &onSnapshots{}
	leaky := rpctest.NewNetwork(3)
	one, two := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all)
	one.waitConnected(2)
	one.transport.resumeTimeout = 200 * time.Millisecond
	breaking.set(func(c net.Conn) net.Conn { return leaky.Wrap(c) }, false)
	two.sink.onCommit = func() {
		breaking.set(nil, true)
		leaky.Cut()
	}
	ctx, cancel := context.WithTimeout(t.Context(), SnapshotCommitTimeout/10)
	defer cancel()
	err := one.transport.SendSnapshot(ctx, snapshotMessage(1, 2, 3), bytes.NewReader(randomBytes(3<<20)))
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "no route") {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
}

func TestSnapshotsToSeveralMembersAtOnceAreBounded(t *testing.T) {
	b := newBook()
	ids := []raft.NodeID{1, 2, 3, 4, 5, 6}
	all := membership(ids...)
	one := start(t, b, 1, all)
	var others []*node
	for _, id := range ids[1:] {
		others = append(others, start(t, b, id, all))
	}
	word, results := make(chan struct{}), make(chan error, len(others))
	data := randomBytes(8 << 20)
	for i, n := range others[:MaxSnapshotStreams] {
		go func() {
			results <- one.transport.SendSnapshot(t.Context(), snapshotMessage(1, n.id, 3), &gated{data: data, after: 6 << 20, word: word})
		}()
		eventually(t, "it streams", func() bool { return n.sink.count(partial) > 0 && len(one.transport.Stats().Snapshots) == i+1 })
	}
	last := others[MaxSnapshotStreams]
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, last.id, 3), strings.NewReader("x")); rpc.CodeOf(err) != rpc.CodeExhausted {
		t.Fatalf("one too many: %v", err)
	}
	out, in := one.transport.Stats().Snapshots, others[1].transport.Stats().Snapshots
	if len(in) != 1 || !in[0].Incoming || in[0].Peer != 1 || in[0].Index != 77 || in[0].TotalBytes != 8<<20 {
		t.Fatalf("the receiver's progress: %+v", in)
	}
	if out[1].Peer != others[1].id || out[1].Incoming || out[1].TotalBytes != 8<<20 || out[1].Started.IsZero() {
		t.Fatalf("the sender's progress: %+v", out)
	}
	eventually(t, "the sender knows what the receiver has", func() bool { return one.transport.Stats().Snapshots[1].Bytes >= 1<<20 })
	close(word)
	for range MaxSnapshotStreams {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range others[:MaxSnapshotStreams] {
		arrived(t, n, 0, data)
	}
	if len(one.transport.Stats().Snapshots) != 0 || len(others[0].transport.Stats().Snapshots) != 0 {
		t.Fatal("ended streams are shown as running")
	}
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, last.id, 3), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
}

// In virtual time: all snapshots together keep to the rate.
func TestSnapshotsKeepToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := membership(1, 2, 3)
		listeners := map[string]*pipes{}
		for _, m := range all.Members {
			listeners[m.PeerAddress] = newPipes()
		}
		dial := func(_ context.Context, _, address string) (net.Conn, error) { return listeners[address].dial() }
		sinks := map[raft.NodeID]*memorySink{}
		var sender *Transport
		for _, m := range all.Members {
			n := &node{t: t, id: m.ID, sink: &memorySink{}, connected: map[raft.NodeID]uint64{}}
			n.local = Local{Identity: Identity{Cluster: testCluster, ID: m.ID, Incarnation: m.Incarnation}, FeatureMin: 1, FeatureMax: 1, Committed: all}
			server := rpc.NewServer(rpc.ServerOptions{})
			tr, err := New(server, Config{
				Identity: n.local.Identity, FeatureMin: 1, FeatureMax: 1, Gate: n, Receive: n.receive, Sink: n.sink, Dial: dial,
				SnapshotBytesPerSecond: 1 << 20,
			})
			if err != nil {
				t.Fatal(err)
			}
			sinks[m.ID] = n.sink
			go func() { _ = server.Serve(listeners[m.PeerAddress]) }()
			defer func() {
				_ = tr.Close()
				_ = server.Close()
			}()
			if m.ID == 1 {
				sender = tr
			}
		}
		sender.SetPeers(all.Members)
		began := time.Now()
		data := randomBytes(6 << 20)
		var wait sync.WaitGroup
		for _, to := range []raft.NodeID{2, 3} {
			wait.Go(func() {
				if err := sender.SendSnapshot(t.Context(), snapshotMessage(1, to, 3), bytes.NewReader(data)); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if took := time.Since(began); took < 11*time.Second || took > 14*time.Second {
			t.Errorf("12 MiB at 1 MiB/s took %v", took)
		}
		for _, id := range []raft.NodeID{2, 3} {
			if len(sinks[id].committed) != 1 || !bytes.Equal(sinks[id].committed[0], data) {
				t.Errorf("what member %v got differs", id)
			}
		}
	})
}

func TestRateThatIsTooLowIsRefused(t *testing.T) {
	for _, n := range []int{-1, 1, MinSnapshotBytesPerSecond - 1} {
		_, err := New(rpc.NewServer(rpc.ServerOptions{}), Config{Gate: &node{}, Receive: func([]raft.Message) {}, SnapshotBytesPerSecond: n})
		if err == nil || !strings.Contains(err.Error(), "is too low") {
			t.Fatalf("%d: %v", n, err)
		}
	}
}

// pipes is a listener without a network, for virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, io.ErrClosedPipe
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
