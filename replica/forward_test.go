package replica

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

func TestProposalBatchesSurviveTheWire(t *testing.T) {
	for _, data := range [][][]byte{nil, {{}}, {[]byte("a"), {}, bytes.Repeat([]byte{0xff}, 300)}} {
		b, err := (&proposalBatch{data: data}).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got proposalBatch
		if err := got.UnmarshalBinary(b); err != nil || len(got.data) != len(data) {
			t.Fatalf("%v, %v", got, err)
		}
		clear(b) // the buffer belongs to the caller
		for i := range data {
			if !bytes.Equal(got.data[i], data[i]) {
				t.Errorf("proposal %d: %x, want %x", i, got.data[i], data[i])
			}
		}
	}
	for _, bad := range [][]byte{{}, {5}, {1}, {1, 9, 0}, {0, 0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if err := new(proposalBatch).UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was decoded", bad)
		}
	}
}

// Whatever a leader's node answers but success, it has appended nothing: who forwarded may tell its caller so, also when the leader was stopping.
func TestARefusalToAppendSaysSo(t *testing.T) {
	s := newStation(t, "a")
	s.cfg.InitialCluster = []Member{{Name: "a", PeerAddress: s.cfg.Listen}}
	s.start()
	leaderOf(t, []*station{s})
	running := s.replica.Node()

	server, d := rpc.NewServer(rpc.ServerOptions{}), &door{}
	if err := registerForward(server, d); err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	go func() { _ = server.ServeConn(theirs) }()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := rpc.NewClient(ctx, ours, rpc.ClientOptions{Metadata: rpc.Metadata{rpc.MetaKind: transport.Kind}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var stub forwardStub
	if err := rpc.Bind(client, forwardService, &stub); err != nil {
		t.Fatal(err)
	}
	fine, tooLarge := &proposalBatch{data: [][]byte{{0}}}, &proposalBatch{data: [][]byte{{0}, make([]byte, raft.DefaultMaxEntryBytes+1)}}
	for _, x := range []struct {
		name    string
		prepare func()
		batch   *proposalBatch
		taken   bool
	}{
		{"no member", func() {}, fine, false},
		{"a leader", func() { d.enter(&inside{node: running}) }, fine, true},
		{"one too large", func() {}, tooLarge, false},
		{"a member that has stopped", s.kill, fine, false},
	} {
		x.prepare()
		_, err := stub.Append(ctx, x.batch)
		if (err == nil) != x.taken || err != nil && !reasonIsNotAppended(err) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

func TestTheCommonLevelNeedsEveryMember(t *testing.T) {
	m := raft.NewMembership(raft.Member{ID: 1}, raft.Member{ID: 2}, raft.Member{ID: 3, Learner: true})
	for _, x := range []struct {
		levels map[raft.NodeID]uint32
		want   uint32
	}{
		{map[raft.NodeID]uint32{2: 5, 3: 6}, 5},
		{map[raft.NodeID]uint32{2: 5, 3: 4}, 4},
		{map[raft.NodeID]uint32{2: 5}, 0},
	} {
		if got := commonLevel(m, 1, 5, x.levels); got != x.want {
			t.Errorf("%v: %d, want %d", x.levels, got, x.want)
		}
	}
}

func FuzzProposalBatch(f *testing.F) {
	for _, data := range [][][]byte{nil, {{}}, {[]byte("a"), {}, []byte("bc")}} {
		b, err := (&proposalBatch{data: data}).AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 1))
	}
	f.Add([]byte{0xff, 0xff, 0x3f})
	f.Add(append([]byte{0xff, 0xff, 0x3f}, make([]byte, 1<<20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, again proposalBatch
		if got.UnmarshalBinary(b) != nil {
			return
		}
		if len(got.data) > node.MaxProposals {
			t.Fatalf("%d proposals", len(got.data))
		}
		encoded, err := got.AppendBinary(nil)
		if err != nil || again.UnmarshalBinary(encoded) != nil || len(again.data) != len(got.data) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		for i := range got.data {
			if !bytes.Equal(got.data[i], again.data[i]) {
				t.Fatalf("proposal %d changes", i)
			}
		}
	})
}
