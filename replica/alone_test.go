package replica_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/replica"
)

// TestAReplicaThatListensForNobody is a whole cluster, before and after a restart.
func TestAReplicaThatListensForNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	for _, text := range []string{"first", "second"} {
		state := new(register)
		r, err := replica.Open(replica.Config{
			Dir: dir, Name: "a", Alone: true, StateMachine: state, InitialCluster: []replica.Member{{Name: "a", PeerAddress: "localhost:2380"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Address() != "" {
			t.Errorf("it listens on %s", r.Address())
		}
		if _, err := r.Propose(ctx, []byte(text)); err != nil {
			t.Error(err)
		}
		if err := r.Stop(ctx); err != nil || string(state.text) != text {
			t.Errorf("%q, %v", state.text, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := replica.Open(replica.Config{Dir: dir, Name: "a", Alone: true, Listeners: []net.Listener{l}, StateMachine: new(register)}); err == nil {
		t.Error("alone, and with a listener")
	}
}
