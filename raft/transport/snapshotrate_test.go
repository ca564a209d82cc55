package transport

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

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
