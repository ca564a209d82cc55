package transport

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	one.waitConnected(2)
	two.waitConnected(1)
	r := rand.New(rand.NewPCG(1, 2))
	const n = 500
	for k := range uint64(n) {
		one.appendBytes(2, k, r.IntN(20000))
		one.heartbeat(2, k)
		if k%50 == 0 { // stay below the bounds of the queues
			eventually(t, "queue empties", func() bool { return one.transport.Stats().Peers[0].Waiting == 0 })
		}
	}
	eventually(t, "all arrive", func() bool { return two.received(raft.MsgAppend) == n && two.received(raft.MsgHeartbeat) == n })
	var nextAppend, nextBeat uint64
	for _, m := range two.got {
		switch m.Type {
		case raft.MsgAppend:
			if uint64(m.Index) != nextAppend || len(m.Entries) != 1 || len(m.Entries[0].Data) > 0 && m.Entries[0].Data[0] != byte(nextAppend) {
				t.Fatalf("append %d: %+v", nextAppend, m)
			}
			nextAppend++
		case raft.MsgHeartbeat:
			if m.Context != nextBeat {
				t.Fatalf("heartbeat %d came instead of %d", m.Context, nextBeat)
			}
			nextBeat++
		}
	}
	two.heartbeat(1, 9)
	eventually(t, "the way back", func() bool { return one.received(raft.MsgHeartbeat) == 1 })
	s := one.transport.Stats()
	if p := s.Peers[0]; p.Sent != 2*n || p.Dropped != 0 || p.SentBytes == 0 {
		t.Fatalf("stats: %+v", p)
	}
	kinds := map[raft.MessageType]KindStats{}
	for _, k := range s.Kinds {
		kinds[k.Type] = k
	}
	if a, h := kinds[raft.MsgAppend], kinds[raft.MsgHeartbeat]; len(kinds) != 2 || a.Sent != n || h.Sent != n || h.Received != 1 || a.Dropped+h.Dropped != 0 {
		t.Fatalf("kinds: %+v", s.Kinds)
	}
	if c := s.Calls; c.Connections < 2 || c.BytesWritten < s.Peers[0].SentBytes/2 || len(c.Methods) != 1 || c.Methods[0].Successes == 0 {
		t.Fatalf("calls: %+v", c)
	}
}

// A pod that comes back with another address is found through its name.
func TestMemberIsFoundAtItsNewAddress(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	one.waitConnected(2)
	before := two.transport.Nonce()
	two.stop()
	eventually(t, "the loss is told", one.with(func() bool { return one.lost > 0 && one.portClosed > 0 }))
	one.heartbeat(2, 1)
	eventually(t, "unreachable is told", one.with(func() bool { return one.unreachable > 0 }))

	again := start(t, b, 2, all)
	one.waitConnected(2)
	eventually(t, "the new process is told", one.with(func() bool { return one.connected[2] == again.transport.Nonce() }))
	if again.transport.Nonce() == before {
		t.Fatal("two processes have one nonce")
	}
	one.heartbeat(2, 2)
	eventually(t, "heartbeat", func() bool { return again.received(raft.MsgHeartbeat) == 1 })
}

func TestSetPeersFollowsTheMembership(t *testing.T) {
	b := newBook()
	one := start(t, b, 1, membership(1))
	two := start(t, b, 2, membership(1, 2))
	one.heartbeat(2, 1) // not known yet
	if one.transport.Stats().Rejected != 1 {
		t.Fatal("a message to an unknown member was not counted")
	}
	one.transport.SetPeers(membership(1, 2).Members)
	one.waitConnected(2)

	moved := membership(1, 2)
	moved.Members[1].PeerAddress = "elsewhere:2380"
	b.set("elsewhere:2380", b.names[memberOf(2).PeerAddress])
	one.transport.SetPeers(moved.Members)
	eventually(t, "reconnected", one.with(func() bool { return one.lost == 1 }))
	one.waitConnected(2)
	one.heartbeat(2, 2)
	eventually(t, "heartbeat", func() bool { return two.received(raft.MsgHeartbeat) == 1 })

	one.transport.SetPeers(membership(1).Members)
	if n := len(one.transport.Stats().Peers); n != 0 {
		t.Fatalf("%d peers left", n)
	}
	if _, err := one.transport.Caller(2); rpc.CodeOf(err) != rpc.CodeNotFound {
		t.Fatalf("caller of a member that is gone: %v", err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Local) // of the receiving member 2
		reason Reason
		text   string
	}{
		"cluster":     {func(l *Local) { l.Cluster = 0xc2 }, ReasonWrongCluster, "member 1 of cluster c1 reached a node of cluster c2"},
		"member":      {func(l *Local) { l.ID = 5 }, ReasonWrongMember, "member 2 was wanted at this address, but member 5 answers"},
		"incarnation": {func(l *Local) { l.Incarnation = 0x999 }, ReasonWrongIncarnation, "this one is of incarnation 999"},
		"own incarnation": {func(l *Local) { l.Committed.Members[0].Incarnation = 0x888 }, ReasonWrongIncarnation,
			"member 1 is bound to the data directory of incarnation 888, this one is of incarnation 100"},
		"removed": {func(l *Local) { l.Committed.Members = l.Committed.Members[1:] }, ReasonRemoved, "member 1 was removed from cluster c1"},
		"empty": {func(l *Local) { l.Identity = Identity{Incarnation: 0x777} }, ReasonNotMember,
			"speaks for no member (incarnation 777), so not for member 2"},
		"version": {func(l *Local) { l.FeatureMin, l.FeatureMax = 3, 4 }, ReasonIncompatible, "member 1 runs feature levels 1 to 2, member 2 runs 3 to 4"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			two := start(t, b, 2, membership(1, 2), func(n *node, _ *Config) { c.change(&n.local) })
			one := start(t, b, 1, membership(1, 2))
			eventually(t, "refused", func() bool { return one.hasRefusal(c.reason) })
			one.mu.Lock()
			text := one.refusedText
			one.mu.Unlock()
			if !strings.Contains(text, c.text) {
				t.Fatalf("text: %s", text)
			}
			one.heartbeat(2, 1)
			eventually(t, "dropped", func() bool { return one.transport.Stats().Peers[0].Dropped == 1 })
			if two.received(raft.MsgHeartbeat) != 0 {
				t.Fatal("a refused member's message was delivered")
			}
		})
	}
}

func TestDecideAcceptsWhoIsNotKnownYet(t *testing.T) {
	l := Local{Identity: Identity{testCluster, 2, 0x200}, FeatureMin: 1, FeatureMax: 1, Committed: membership(1, 2)}
	h := Hello{Cluster: testCluster, From: 3, FromIncarnation: 0x300, To: 2, ToIncarnation: 0x200, FeatureMin: 1, FeatureMax: 1}
	if err := Decide(l, h); err != nil {
		t.Fatalf("a member newer than what the receiver knows was refused: %v", err)
	}
	l.Committed.LastID = 3
	if err := Decide(l, h); rpc.ReasonOf(err) != string(ReasonRemoved) {
		t.Fatalf("a removed member was not refused: %v", err)
	}
}

// A removed member's open connections end, and it learns why.
func TestRecheckEndsConnectionsOfTheRemoved(t *testing.T) {
	b := newBook()
	one, two := start(t, b, 1, membership(1, 2, 3)), start(t, b, 2, membership(1, 2, 3))
	three := start(t, b, 3, membership(1, 2, 3))
	three.waitConnected(2)
	one.waitConnected(2)
	two.mu.Lock()
	two.local.Committed = membership(1, 2)
	two.local.Committed.LastID = 3
	two.mu.Unlock()
	two.transport.Recheck()
	eventually(t, "refused", func() bool { return three.hasRefusal(ReasonRemoved) })
	one.heartbeat(2, 1)
	eventually(t, "the others stay", func() bool { return two.received(raft.MsgHeartbeat) == 1 })
	one.mu.Lock()
	defer one.mu.Unlock()
	if len(one.connected) == 0 || one.lost != 0 {
		t.Fatal("a member's connection was ended as well")
	}
}

func TestAnEmptyNodeIsAcceptedOnceItHasAnIdentity(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one := start(t, b, 1, all)
	two := start(t, b, 2, all, func(n *node, cfg *Config) {
		n.local.Identity = Identity{}
		cfg.Identity = Identity{}
	})
	eventually(t, "refused", func() bool { return one.hasRefusal(ReasonNotMember) })
	id := Identity{testCluster, 2, memberOf(2).Incarnation}
	two.mu.Lock()
	two.local.Identity = id
	two.mu.Unlock()
	two.transport.SetIdentity(id)
	two.transport.SetPeers(all.Members)
	one.waitConnected(2)
	two.waitConnected(1)
	one.heartbeat(2, 1)
	eventually(t, "heartbeat", func() bool { return two.received(raft.MsgHeartbeat) == 1 })
}

// Heartbeats pass while a receiver holds entries back, and what waits is bounded.
func TestHeartbeatsPassStalledEntries(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	blocked := make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	t.Cleanup(release)
	two.mu.Lock()
	two.blockAppend = blocked
	two.mu.Unlock()
	one.waitConnected(2)
	eventually(t, "bulk is full and drops", func() bool {
		one.appendBytes(2, 1, 256<<10)
		return one.transport.Stats().Peers[0].Dropped > 0
	})
	for k := range uint64(50) {
		one.heartbeat(2, k)
	}
	eventually(t, "heartbeats", func() bool { return two.received(raft.MsgHeartbeat) == 50 })
	if two.received(raft.MsgAppend) != 0 {
		t.Fatal("appends were not stalled")
	}
	p := one.transport.peers[2]
	p.bulk.mu.Lock()
	held := p.bulk.bytes
	p.bulk.mu.Unlock()
	if held > BulkQueueBytes {
		t.Fatalf("%d bytes wait, the bound is %d", held, BulkQueueBytes)
	}
	eventually(t, "unreachable is told", one.with(func() bool { return one.unreachable > 0 }))
	release()
	eventually(t, "entries flow again", func() bool { return two.received(raft.MsgAppend) > 0 })
}

func TestControlQueueIsBoundedWhileTheNetworkStalls(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	leaky := rpctest.NewNetwork(7)
	one := start(t, b, 1, all, func(n *node, cfg *Config) {
		cfg.Dial = leaky.Dialer(b.dial)
		cfg.IdleTimeout = 100 * time.Millisecond
		cfg.PingInterval = 20 * time.Millisecond
	})
	two := start(t, b, 2, all)
	one.waitConnected(2)
	leaky.Stall(rpctest.In, true) // we no longer hear the other side
	eventually(t, "silence is noticed", one.with(func() bool { return one.lost > 0 }))
	leaky.Stall(rpctest.In, false)
	one.waitConnected(2)
	eventually(t, "heartbeat", func() bool { // a busy machine has its silences too, and what was sent is lost with the connection
		one.heartbeat(2, 1)
		return two.received(raft.MsgHeartbeat) > 0
	})

	l := one.transport.peers[2].control
	l.mu.Lock() // the goroutine cannot take while we look
	l.queue, l.bytes = nil, 0
	l.mu.Unlock()
	for k := range uint64(100 * ControlQueueMessages) {
		one.heartbeat(2, k)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > ControlQueueMessages {
		t.Fatalf("%d messages wait", len(l.queue))
	}
}

// With cuts and delays on every connection messages get lost, but none is damaged, repeated or out of order, and it goes on afterwards.
func TestLeakyNetwork(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	leaky := rpctest.NewNetwork(42)
	one := start(t, b, 1, all, func(_ *node, cfg *Config) { cfg.Dial = leaky.Dialer(b.dial) })
	two := start(t, b, 2, all)
	one.waitConnected(2)
	leaky.Set(rpctest.Faults{DelayMax: time.Millisecond, CutChance: 0.02, FlipChance: 0.01})
	k := uint64(0)
	eventually(t, "several reconnects", func() bool {
		k++
		one.appendBytes(2, k, 2000)
		one.heartbeat(2, k)
		return one.transport.Stats().Peers[0].Connects > 3 && two.received(raft.MsgAppend) > 100
	})
	leaky.Set(rpctest.Faults{})
	one.waitConnected(2)
	eventually(t, "it goes on", func() bool {
		k++
		one.appendBytes(2, k, 10)
		two.mu.Lock()
		defer two.mu.Unlock()
		last := two.got[len(two.got)-1]
		return last.Type == raft.MsgAppend && uint64(last.Index)+5 > k && len(last.Entries[0].Data) == 10
	})
	var before raft.Index
	var beat uint64
	two.mu.Lock()
	defer two.mu.Unlock()
	for _, m := range two.got {
		if m.Type == raft.MsgHeartbeat {
			if m.Context <= beat {
				t.Fatalf("heartbeat %d came after %d", m.Context, beat)
			}
			beat = m.Context
			continue
		}
		if m.Index <= before {
			t.Fatalf("message %d came after %d", m.Index, before)
		}
		before = m.Index
		for _, x := range m.Entries[0].Data {
			if x != byte(m.Index) {
				t.Fatalf("message %d is damaged", m.Index)
			}
		}
	}
}

type whoService struct {
	Who func(context.Context, *struct{}) (*raft.NodeID, error)
}

func TestCallerCarriesOtherServices(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	err := rpc.Register(two.server, "who", whoService{func(ctx context.Context, _ *struct{}) (*raft.NodeID, error) {
		h, ok := FromContext(ctx)
		if !ok {
			t.Error("no hello")
		}
		return &h.From, nil
	}}, rpc.Authorize(MembersOnly))
	if err != nil {
		t.Fatal(err)
	}
	caller, err := one.transport.Caller(2)
	if err != nil {
		t.Fatal(err)
	}
	var svc whoService
	if err := rpc.Bind(caller, "who", &svc); err != nil {
		t.Fatal(err)
	}
	got, err := svc.Who(t.Context(), &struct{}{})
	if err != nil || *got != 1 {
		t.Fatalf("Who: %v, %v", got, err)
	}

	stranger, err := rpc.Dial(t.Context(), b.names[memberOf(2).PeerAddress], rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	if err := rpc.Bind(stranger, "who", &svc); rpc.CodeOf(err) != rpc.CodeUnauthenticated {
		t.Fatalf("a stranger was let in: %v", err)
	}
	var raftStub raftService
	if err := rpc.Bind(stranger, serviceRaft, &raftStub); rpc.CodeOf(err) != rpc.CodeUnauthenticated {
		t.Fatalf("a stranger may send messages: %v", err)
	}
}

func TestFalseSenderIsDropped(t *testing.T) {
	b := newBook()
	all := membership(1, 2, 3)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	one.waitConnected(2)
	one.transport.Send([]raft.Message{{Type: raft.MsgHeartbeat, From: 3, To: 2, Term: 1}})
	eventually(t, "rejected", func() bool { return two.transport.Stats().Rejected == 1 })
	if two.received(raft.MsgHeartbeat) != 0 {
		t.Fatal("delivered")
	}
}

func TestASnapshotMessageWithoutItsStreamIsDropped(t *testing.T) {
	b := newBook()
	all := membership(1, 2)
	one, two := start(t, b, 1, all), start(t, b, 2, all)
	one.waitConnected(2)
	conn, err := one.transport.Caller(2)
	if err != nil {
		t.Fatal(err)
	}
	var wire raftService
	if err := rpc.BindContext(t.Context(), conn, serviceRaft, &wire); err != nil {
		t.Fatal(err)
	}
	m := raft.Message{Type: raft.MsgSnapshot, From: 1, To: 2, Term: 1, Snapshot: &raft.SnapshotMeta{Index: 9, Term: 1}}
	eventually(t, "sent", func() bool { return wire.Step(t.Context(), &batch{messages: []raft.Message{m}}) == nil })
	eventually(t, "rejected", func() bool { return two.transport.Stats().Rejected == 1 })
	if two.received(raft.MsgSnapshot) != 0 {
		t.Fatal("delivered")
	}
}
