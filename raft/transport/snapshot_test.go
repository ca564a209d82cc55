package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

func snapshotMessage(from, to raft.NodeID, term raft.Term) raft.Message {
	return raft.Message{Type: raft.MsgSnapshot, From: from, To: to, Term: term,
		Snapshot: &raft.SnapshotMeta{Index: 77, Term: term, Membership: membership(1, 2, 3), ClusterVersion: 1}}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// gated gives its data, and waits for a word when so many bytes are out.
type gated struct {
	data  []byte
	after int
	word  <-chan struct{}
	err   error // after the word
}

func (g *gated) SizeHint() uint64 { return uint64(len(g.data)) }

func (g *gated) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(g.data[:g.after])
	if err != nil {
		return int64(n), err
	}
	<-g.word
	if g.err != nil {
		return int64(n), g.err
	}
	m, err := w.Write(g.data[g.after:])
	return int64(n + m), err
}

func committed(s *memorySink) int { return len(s.committed) }
func aborted(s *memorySink) int   { return s.aborted }
func partial(s *memorySink) int   { return s.partial }

func TestSnapshotArrivesWhole(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	for _, size := range []int{0, 1, SnapshotChunkBytes, 20<<20 + 17} {
		data := randomBytes(size)
		if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		last := len(two.sink.committed) - 1
		if !bytes.Equal(two.sink.committed[last], data) {
			t.Fatalf("%d bytes arrived, %d were sent, or they differ", len(two.sink.committed[last]), size)
		}
		if m := two.sink.messages[last]; m.Snapshot == nil || m.Snapshot.Index != 77 || !m.Snapshot.Membership.Equal(membership(1, 2, 3)) {
			t.Fatalf("message: %+v", m)
		}
	}
	if s := one.transport.Stats().Peers[0]; s.Snapshots != 4 || s.SnapshotBytes < 20<<20 {
		t.Fatalf("stats: %+v", s)
	}
	if two.transport.Stats().SnapshotsReceived != 4 || two.sink.aborted != 0 {
		t.Fatal("receiver's counters")
	}
}

func TestNewerTermReplacesAnArrivingSnapshot(t *testing.T) {
	b := newBook()
	all := membership(1, 2, 3)
	one, two, three := start(t, b, 1, all), start(t, b, 2, all), start(t, b, 3, all)
	word := make(chan struct{})
	result := make(chan error, 1)
	data := randomBytes(10 << 20)
	go func() {
		result <- one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 5), &gated{data: data, after: 4 << 20, word: word})
	}()
	eventually(t, "half is there", func() bool { return two.sink.count(partial) >= 4<<20 })

	if err := three.transport.SendSnapshot(t.Context(), snapshotMessage(3, 2, 4), strings.NewReader("old")); rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("an older term: %v", err)
	}
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 5), strings.NewReader("again")); rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("a second one to the same member: %v", err)
	}
	if err := three.transport.SendSnapshot(t.Context(), snapshotMessage(3, 2, 6), strings.NewReader("new")); err != nil {
		t.Fatalf("a newer term: %v", err)
	}
	close(word)
	if err := <-result; rpc.CodeOf(err) != rpc.CodeAborted {
		t.Fatalf("the replaced one: %v", err)
	}
	two.sink.mu.Lock()
	defer two.sink.mu.Unlock()
	if two.sink.maxOpen != 1 || len(two.sink.committed) != 1 || string(two.sink.committed[0]) != "new" || two.sink.aborted != 1 {
		t.Fatalf("sink: at most %d open, %d committed, %d aborted", two.sink.maxOpen, len(two.sink.committed), two.sink.aborted)
	}
}

func TestSnapshotEndsWithContextSourceSinkOrMember(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	data := randomBytes(6 << 20)
	closed := make(chan struct{})
	close(closed)

	ctx, cancel := context.WithCancel(t.Context())
	word := make(chan struct{})
	result := make(chan error, 1)
	send := func(ctx context.Context) {
		result <- one.transport.SendSnapshot(ctx, snapshotMessage(1, 2, 3), &gated{data: data, after: 4 << 20, word: word})
	}
	go send(ctx)
	eventually(t, "half is there", func() bool { return two.sink.count(partial) >= 4<<20 })
	cancel()
	close(word)
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
	eventually(t, "dropped", func() bool { return two.sink.count(aborted) == 1 })

	broken := errors.New("source is broken")
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), &gated{data: data, after: 1 << 20, word: closed, err: broken}); !errors.Is(err, broken) {
		t.Fatalf("source: %v", err)
	}
	eventually(t, "dropped", func() bool { return two.sink.count(aborted) == 2 })

	two.sink.mu.Lock()
	two.sink.failAfter = 2 << 20
	two.sink.partial = 0
	two.sink.mu.Unlock()
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("sink: %v", err)
	}
	eventually(t, "dropped", func() bool { return two.sink.count(aborted) == 3 })

	two.sink.mu.Lock()
	two.sink.failAfter = 0
	two.sink.mu.Unlock()
	word = make(chan struct{})
	go send(t.Context())
	eventually(t, "half is there", func() bool { return two.sink.count(partial) >= 4<<20 })
	one.transport.SetPeers(membership(1).Members)
	close(word)
	if err := <-result; rpc.CodeOf(err) != rpc.CodeCanceled {
		t.Fatalf("member removed: %v", err)
	}
	eventually(t, "dropped", func() bool { return two.sink.count(aborted) == 4 })
	if err := one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), strings.NewReader("x")); rpc.CodeOf(err) != rpc.CodeNotFound {
		t.Fatalf("unknown member: %v", err)
	}
	if two.sink.count(committed) != 0 {
		t.Fatal("an unfinished snapshot was committed")
	}
}

// Backpressure: the sender does not run ahead of a receiver that cannot write.
func TestSnapshotSenderWaitsForTheReceiver(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	two.sink.mu.Lock() // Write waits
	result := make(chan error, 1)
	go func() {
		result <- one.transport.SendSnapshot(t.Context(), snapshotMessage(1, 2, 3), bytes.NewReader(randomBytes(32<<20)))
	}()
	// Begin waits as well; let it pass, then hold the writes.
	two.sink.mu.Unlock()
	eventually(t, "it has begun", func() bool { return two.sink.count(partial) > 0 })
	two.sink.mu.Lock()
	written := two.sink.partial
	deadline := time.Now().Add(100 * time.Millisecond)
	for time.Now().Before(deadline) {
		if sent := one.transport.Stats().Peers[0].SnapshotBytes; sent > uint64(written+(snapshotWindowChunks+1)*SnapshotChunkBytes) {
			two.sink.mu.Unlock()
			t.Fatalf("%d bytes sent while %d are written", sent, written)
		}
		time.Sleep(time.Millisecond)
	}
	two.sink.mu.Unlock()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}
