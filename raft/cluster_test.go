package raft

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// pump is a cluster in memory: messages are delivered in order and stores complete at once, unless a test holds
// them back. It has no faults of its own; raft/sim has.
type pump struct {
	t       testing.TB
	ids     []NodeID
	nodes   map[NodeID]*Core
	applied map[NodeID][]Entry
	reads   map[NodeID][]ReadResult
	failed  map[NodeID][]uint64
	snaps   map[NodeID][]NodeID
	stored  map[NodeID]map[Index]Entry
	queue   []Message
	// cut drops a message when it returns true; hold keeps the stores of a node from completing.
	cut     func(Message) bool
	hold    map[NodeID]bool
	pending map[NodeID][]*StoreRequest
	sent    map[MessageType]int
	// configure adapts the configuration of nodes that are added.
	configure func(*Config)
	// watch sees all effects, if it is not nil.
	watch func(NodeID, Effects)
}

func members(n int) Membership {
	var all []Member
	for i := 1; i <= n; i++ {
		all = append(all, Member{ID: NodeID(i), Incarnation: Incarnation(100 + i), Name: fmt.Sprintf("n%d", i)})
	}
	m := NewMembership(all...)
	m.Index = 1
	return m
}

func newPump(t testing.TB, n int) *pump { return newPumpOf(t, n, func(*Config) {}) }

func newPumpOf(t testing.TB, n int, configure func(*Config)) *pump {
	p := &pump{
		t: t, configure: configure, nodes: map[NodeID]*Core{}, applied: map[NodeID][]Entry{}, reads: map[NodeID][]ReadResult{},
		failed: map[NodeID][]uint64{}, snaps: map[NodeID][]NodeID{}, stored: map[NodeID]map[Index]Entry{},
		hold: map[NodeID]bool{}, pending: map[NodeID][]*StoreRequest{}, sent: map[MessageType]int{},
	}
	base := SnapshotMeta{Index: 1, Term: 1, Membership: members(n), ClusterVersion: 1}
	for i := 1; i <= n; i++ {
		p.add(NodeID(i), base)
	}
	return p
}

func (p *pump) add(id NodeID, base SnapshotMeta) *Core {
	p.t.Helper()
	random := rand.New(rand.NewPCG(uint64(id), 1))
	cfg := Config{ID: id, ElectionTicks: 10, HeartbeatTicks: 2, Random: random.IntN}
	p.configure(&cfg)
	c, err := New(cfg, Initial{Applied: base, LogStart: Position{base.Index, base.Term}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.ids = append(p.ids, id)
	p.nodes[id] = c
	p.stored[id] = map[Index]Entry{}
	return c
}

func (p *pump) settle() {
	p.t.Helper()
	for round := 0; round < 10000; round++ {
		busy := false
		for _, id := range p.ids {
			busy = p.drain(id) || busy
		}
		queue := p.queue
		p.queue = nil
		for _, m := range queue {
			p.sent[m.Type]++
			if p.cut != nil && p.cut(m) {
				continue
			}
			// Through the wire's encoding, as in life.
			raw, err := m.AppendBinary(nil)
			if err != nil {
				p.t.Fatal(err)
			}
			var got Message
			if err := got.UnmarshalBinary(raw); err != nil {
				p.t.Fatal(err)
			}
			if c := p.nodes[m.To]; c != nil {
				if err := c.Step(got); err != nil {
					p.t.Fatal(err)
				}
			}
			busy = true
		}
		if !busy && len(p.queue) == 0 {
			return
		}
	}
	p.t.Fatal("the cluster does not come to rest")
}

func (p *pump) drain(id NodeID) bool {
	c := p.nodes[id]
	e := c.TakeEffects()
	if p.watch != nil {
		p.watch(id, e)
	}
	p.queue = append(p.queue, e.Messages...)
	p.applied[id] = append(p.applied[id], e.Committed...)
	p.reads[id] = append(p.reads[id], e.Reads...)
	p.failed[id] = append(p.failed[id], e.FailedReads...)
	p.snaps[id] = append(p.snaps[id], e.SendSnapshots...)
	if e.Store != nil {
		p.pending[id] = append(p.pending[id], e.Store)
	}
	if len(e.Committed) > 0 {
		c.Applied(e.Committed[len(e.Committed)-1].Index)
	}
	busy := len(e.Messages) > 0 || len(e.Committed) > 0 || e.Store != nil
	if !p.hold[id] {
		p.release(id)
	}
	return busy
}

func (p *pump) release(id NodeID) {
	for _, r := range p.pending[id] {
		for _, e := range r.Entries {
			p.stored[id][e.Index] = e
		}
		p.nodes[id].Stored(r.Done())
	}
	p.pending[id] = nil
}

func (p *pump) tick(n int) {
	p.t.Helper()
	for range n {
		for _, id := range p.ids {
			p.nodes[id].Tick()
		}
		p.settle()
	}
}

func (p *pump) elect(id NodeID) *Core {
	p.t.Helper()
	c := p.nodes[id]
	c.becomeCandidate("test", true)
	p.settle()
	if c.Role() != RoleLeader {
		p.t.Fatalf("node %s is %s after its election", id, c.Role())
	}
	return c
}

func (p *pump) propose(c *Core, data ...string) Index {
	p.t.Helper()
	var raw [][]byte
	for _, d := range data {
		raw = append(raw, []byte(d))
	}
	first, _, err := c.Propose(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return first
}

func (p *pump) leader() *Core {
	p.t.Helper()
	var found *Core
	for _, id := range p.ids {
		if c := p.nodes[id]; c.Role() == RoleLeader && (found == nil || c.Term() > found.Term()) {
			found = c
		}
	}
	if found == nil {
		p.t.Fatal("there is no leader")
	}
	return found
}

func normal(entries []Entry) (out []string) {
	for _, e := range entries {
		if e.Type == EntryNormal {
			out = append(out, string(e.Data))
		}
	}
	return out
}
