package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
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

// leaky wraps them from now on, and gives what they can be cut by.
func (o *onSnapshots) leaky() *rpctest.Network {
	network := rpctest.NewNetwork(3)
	o.set(func(c net.Conn) net.Conn { return network.Wrap(c) }, false)
	return network
}

func dialedBy(o *onSnapshots) nodeOption {
	return func(n *node, cfg *Config) {
		o.dial = cfg.Dial
		cfg.Dial = o.open
	}
}

// pair starts members 1 and 2, and waits until 1 is connected to 2. Snapshots of 1 go over connections that can be interfered with.
func pair(t *testing.T) (one, two *node, links *onSnapshots) {
	t.Helper()
	b, all, links := newBook(), membership(1, 2), &onSnapshots{}
	one, two = start(t, b, 1, all, dialedBy(links)), start(t, b, 2, all)
	one.waitConnected(2)
	return one, two, links
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
	one, two, breaking := pair(t)
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
	one, two, damaging := pair(t)
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
	s, _ := byHandOn(t, from, to)
	return s
}

// byHandOn gives the connection too.
func byHandOn(t *testing.T, from *node, to raft.NodeID) (*snapshotService, *rpc.Client) {
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
	return s, client
}

// running is how many calls of a method of the snapshots' service a node is busy with.
func (n *node) running(method string) int64 {
	for _, m := range n.server.Stats().Methods {
		if m.Method == serviceSnapshot+"."+method {
			return m.Running
		}
	}
	return 0
}

func TestChunksInWrongOrderAreDropped(t *testing.T) {
	one, two, _ := pair(t)
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
	one, two, breaking := pair(t)
	leaky := breaking.leaky()
	one.transport.resumeTimeout, two.transport.keepTimeout = 200*time.Millisecond, 400*time.Millisecond
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
	one, two, three := start(t, b, 1, all, dialedBy(breaking)), start(t, b, 2, all), start(t, b, 3, all)
	one.waitConnected(2)
	leaky := breaking.leaky()
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
	data := randomBytes(8 << 20)
	word, result := halfway(t, one, two, data)
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
	one, two, breaking := pair(t)
	leaky := breaking.leaky()
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
	one, two, breaking := pair(t)
	leaky := breaking.leaky()
	one.transport.resumeTimeout = 200 * time.Millisecond
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

// A disk may take long over a commit. A leader that was elected anew, or a process that was started anew, may send the very same snapshot meanwhile: where it
// is staged is not touched before the first one is done.
func TestWhoeverBeginsDuringACommitWaitsForIt(t *testing.T) {
	one, two, _ := pair(t)
	ctx := t.Context()
	second, result := byHand(t, one, 2), make(chan error, 1)
	var once sync.Once
	two.sink.onCommit = func() {
		once.Do(func() {
			go func() {
				_, err := second.Begin(ctx, &snapshotBegin{stream: 6, message: snapshotMessage(1, 2, 3)})
				result <- err
			}()
			eventually(t, "another begins", func() bool { return two.running("Begin") > 0 || len(result) > 0 })
			for range 20 { // which would take no time
				time.Sleep(time.Millisecond)
			}
		})
	}
	if err := one.transport.SendSnapshot(ctx, snapshotMessage(1, 2, 3), strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatalf("the one that waited: %v", err)
	}
	arrived(t, two, 0, []byte("whole"))
}

// Whose connection ended while it waited for its turn is not there any more to send anything.
func TestWhoeverGaveUpWaitingBeginsNothing(t *testing.T) {
	one, two, _ := pair(t)
	ctx := t.Context()
	s, client := byHandOn(t, one, 2)
	connections := two.server.Stats().Connections // with those of member 1 and this one
	var once sync.Once
	two.sink.onCommit = func() {
		once.Do(func() {
			go func() { _, _ = s.Begin(ctx, &snapshotBegin{stream: 6, message: snapshotMessage(1, 2, 3)}) }()
			eventually(t, "another begins", func() bool { return two.running("Begin") > 0 })
			_ = client.Close()
			eventually(t, "its end is noticed", func() bool { return two.server.Stats().Connections == connections })
			for range 100 { // what waits is told a moment later
				time.Sleep(time.Millisecond)
			}
		})
	}
	if err := one.transport.SendSnapshot(ctx, snapshotMessage(1, 2, 3), strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has had its turn", func() bool { return two.running("Begin") == 0 })
	arrived(t, two, 0, []byte("whole"))
	if n := two.sink.count(func(s *memorySink) int { return s.open }); n != 0 {
		t.Errorf("%d snapshots arrive that nobody sends", n)
	}
}

// What was given up for its silence is gone: the sender does not try to go on with it.
func TestASnapshotThatStoodStillIsNotGoneOnWith(t *testing.T) {
	one, two, breaking := pair(t)
	leaky := breaking.leaky()
	word, result := halfway(t, one, two, randomBytes(8<<20))
	r := &two.transport.receiver
	r.mu.Lock()
	in := r.current
	r.mu.Unlock()
	eventually(t, "it is given up", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.writer != nil {
			in.idle.Reset(0) // as if the time were over, and whatever else comes
		}
		return two.sink.count(aborted) == 1
	})
	leaky.Cut()
	close(word)
	if err := <-result; rpc.CodeOf(err) != rpc.CodeAborted || !strings.Contains(err.Error(), "for too long") {
		t.Fatalf("a stream that stood still: %v", err)
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
