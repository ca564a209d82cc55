package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// journal is the state machine of these tests: it remembers the commands in the order in which they were applied, and
// knows sessions. Its disk is its memory.
type journal struct {
	mu       sync.Mutex
	meta     raft.SnapshotMeta
	table    *session.Table
	commands []string
	staged   map[raft.Index][]byte
	// gate, when it is not nil, holds up Apply until it is closed.
	gate chan struct{}
	// lag, when it is not zero, is what is durable.
	lag     raft.Index
	flushes int
}

func newJournal(meta raft.SnapshotMeta) *journal {
	return &journal{meta: meta, table: session.NewTable(), staged: map[raft.Index][]byte{}}
}

type outcome struct {
	position int
	session  uint64
	err      error
}

func (j *journal) Apply(entries []raft.Entry) ([]any, error) {
	j.mu.Lock()
	if gate := j.gate; gate != nil {
		j.mu.Unlock()
		<-gate
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	results := make([]any, len(entries))
	for i, e := range entries {
		if e.Index != j.meta.Index+1 {
			return nil, fmt.Errorf("entry %d behind %d", e.Index, j.meta.Index)
		}
		j.meta.Index, j.meta.Term = e.Index, e.Term
		switch e.Type {
		case raft.EntryMembership:
			if err := j.meta.Membership.UnmarshalBinary(e.Data); err != nil {
				return nil, err
			}
		case raft.EntryNormal:
			results[i] = j.applyCommand(e)
		}
	}
	return results, nil
}

func (j *journal) applyCommand(e raft.Entry) outcome {
	h, command, err := session.Decode(e.Data)
	if err != nil {
		return outcome{err: err}
	}
	if string(command[:1]) == "O" {
		inc := binary.BigEndian.Uint64(command[1:])
		return outcome{session: j.table.Open(uint64(e.Index), raft.Incarnation(inc), binary.BigEndian.Uint64(command[9:]))}
	}
	fresh, old, err := j.table.Begin(uint64(e.Index), h)
	if err != nil {
		return outcome{err: err}
	}
	if !fresh {
		return outcome{position: int(binary.BigEndian.Uint64(old))}
	}
	j.commands = append(j.commands, string(command))
	j.table.Finish(h, binary.BigEndian.AppendUint64(nil, uint64(len(j.commands))))
	return outcome{position: len(j.commands)}
}

func (j *journal) Applied() raft.SnapshotMeta {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.meta
}

func (j *journal) Durable() raft.Index {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lag != 0 {
		return j.lag
	}
	return j.meta.Index
}

func (j *journal) Flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flushes++
}

// close holds up Apply until the returned function is called.
func (j *journal) close(t *testing.T) (open func()) {
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.gate = gate
	return open
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.commands...)
}

// image is what a snapshot holds: without the sessions, the member that installs it would refuse what the others apply.
type image struct {
	Commands []string
	Sessions []session.Record
}

type journalSnapshot struct {
	meta  raft.SnapshotMeta
	image []byte
}

func (s journalSnapshot) Meta() raft.SnapshotMeta { return s.meta }
func (s journalSnapshot) Close() error            { return nil }
func (s journalSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(s.image)
	return int64(n), err
}

func (j *journal) Snapshot(context.Context) (Snapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := json.Marshal(image{j.commands, j.table.Records()})
	return journalSnapshot{j.meta, b}, err
}

func (j *journal) Stage(raft.SnapshotMeta) (Stage, error) { return nil, errors.New("not used") }

func (j *journal) Install(meta raft.SnapshotMeta) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var i image
	if err := json.Unmarshal(j.staged[meta.Index], &i); err != nil {
		return err
	}
	records := i.Sessions
	table, err := session.Load(func() (r session.Record, err error) {
		if len(records) > 0 {
			r, records = records[0], records[1:]
		}
		return r, nil
	})
	if err != nil {
		return err
	}
	j.meta, j.commands, j.table = meta, i.Commands, table
	return nil
}

type journalSessions struct{}

func (journalSessions) Open(origin raft.Incarnation, nonce uint64) ([]byte, error) {
	b := binary.BigEndian.AppendUint64([]byte("O"), uint64(origin))
	return binary.BigEndian.AppendUint64(b, nonce), nil
}
func (journalSessions) Opened(r any) (uint64, bool) {
	return r.(outcome).session, r.(outcome).session != 0
}
func (journalSessions) Expired(r any) bool { return errors.Is(r.(outcome).err, session.ErrExpired) }

// memoryLog keeps the requests; broken makes it fail.
type memoryLog struct {
	mu     sync.Mutex
	broken error
}

func (l *memoryLog) Append([]*raft.StoreRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *memoryLog) Compact(raft.Position) error { return nil }

// net joins the nodes of one test in memory.
type network struct {
	mu    sync.Mutex
	nodes map[raft.NodeID]*Node
	state map[raft.NodeID]*journal
	cut   map[raft.NodeID]bool
	// loseForwards lets forwarded proposals arrive and their answer get lost.
	loseForwards bool
	// onSend and onForward, when they are not nil, come before the network: they return true for what they have dealt with.
	onSend    func(raft.Message) bool
	onForward func(ctx context.Context, from, leader raft.NodeID) (dealt bool, err error)
	// memberships are those that the members were told of, current and committed.
	memberships map[raft.NodeID][2]raft.Membership
}

type port struct {
	net  *network
	self raft.NodeID
}

func (p port) reach(to raft.NodeID) *Node {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.net.cut[p.self] || p.net.cut[to] {
		return nil
	}
	return p.net.nodes[to]
}

func (p port) Send(messages []raft.Message) {
	p.net.mu.Lock()
	onSend := p.net.onSend
	p.net.mu.Unlock()
	for _, m := range messages {
		if onSend != nil && onSend(m) {
			continue
		}
		if to := p.reach(m.To); to != nil {
			to.Deliver(m)
		}
	}
}

func (p port) SetMembership(current, committed raft.Membership) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.net.memberships[p.self] = [2]raft.Membership{current, committed}
}

func (p port) SendSnapshot(_ context.Context, m raft.Message, s io.WriterTo) error {
	to := p.reach(m.To)
	if to == nil {
		return errors.New("cut")
	}
	state := p.net.state[m.To]
	r, w := io.Pipe()
	go func() {
		_, err := s.WriteTo(w)
		w.CloseWithError(err)
	}()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	state.mu.Lock()
	state.staged[m.Snapshot.Index] = data
	state.mu.Unlock()
	to.Deliver(m)
	return nil
}

func (p port) Forward(ctx context.Context, leader raft.NodeID, data [][]byte) error {
	p.net.mu.Lock()
	onForward := p.net.onForward
	p.net.mu.Unlock()
	if onForward != nil {
		if dealt, err := onForward(ctx, p.self, leader); dealt {
			return err
		}
	}
	to := p.reach(leader)
	if to == nil {
		return fmt.Errorf("%w: cut", ErrNotAppended)
	}
	err := to.AppendForwarded(ctx, data)
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.net.loseForwards {
		return errors.New("the answer was lost")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAppended, err)
	}
	return nil
}

type cluster struct {
	*network
	t    *testing.T
	logs map[raft.NodeID]*memoryLog
}

func startCluster(t *testing.T, n int, tune func(*Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, logs: map[raft.NodeID]*memoryLog{}, network: &network{
		nodes: map[raft.NodeID]*Node{}, state: map[raft.NodeID]*journal{}, cut: map[raft.NodeID]bool{},
		memberships: map[raft.NodeID][2]raft.Membership{}}}
	var all []raft.Member
	for i := 1; i <= n; i++ {
		all = append(all, raft.Member{ID: raft.NodeID(i), Incarnation: raft.Incarnation(i)})
	}
	m := raft.NewMembership(all...)
	m.Index = 1
	base := raft.SnapshotMeta{Index: 1, Term: 1, Membership: m, ClusterVersion: 1}
	for i := 1; i <= n; i++ {
		id := raft.NodeID(i)
		c.state[id], c.logs[id] = newJournal(base), &memoryLog{}
		random := rand.New(rand.NewPCG(uint64(i), 7))
		cfg := Config{
			ID: id, Name: fmt.Sprintf("n%d", i), Incarnation: raft.Incarnation(i), Nonce: uint64(1000+i) << 32,
			StateMachine: c.state[id], Sessions: journalSessions{}, Log: c.logs[id], Transport: port{c.network, id},
			Logger:            slog.New(slog.DiscardHandler),
			Initial:           raft.Initial{Applied: base, LogStart: raft.Position{Index: 1, Term: 1}},
			Random:            random.IntN,
			HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 400 * time.Millisecond, SnapshotEntries: 1000,
		}
		if tune != nil {
			tune(&cfg)
		}
		node, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		c.nodes[id] = node
		c.mu.Unlock()
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		for _, node := range c.nodes {
			node.Stop(ended)
		}
	})
	return c
}

func (c *cluster) leader() *Node {
	c.t.Helper()
	return c.waitFor("a leader", func(n *Node) bool {
		s := n.Summary()
		return s.Role == raft.RoleLeader && s.CommittedInTerm && !c.isCut(n.cfg.ID)
	})
}

func (c *cluster) isCut(id raft.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut[id]
}

func (c *cluster) setCut(id raft.NodeID, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[id] = cut
}

// waitFor waits until the condition holds for a node and returns it.
func (c *cluster) waitFor(what string, holds func(*Node) bool) *Node {
	c.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		for _, n := range c.nodes {
			if holds(n) {
				return n
			}
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			c.t.Fatalf("no %s within %v", what, patience)
		}
	}
}

func (c *cluster) follower() *Node {
	c.t.Helper()
	l := c.leader()
	return c.waitFor("follower", func(n *Node) bool {
		return n != l && n.Summary().Leader == l.cfg.ID && !c.isCut(n.cfg.ID)
	})
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// intercept puts hooks before the network.
func (c *cluster) intercept(onSend func(raft.Message) bool, onForward func(context.Context, raft.NodeID, raft.NodeID) (bool, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onSend, c.onForward = onSend, onForward
}

// turns lets the node's loop run some turns.
func turns(t *testing.T, n *Node, count int) {
	t.Helper()
	for range count {
		if err := n.do(soon(t), func() {}); err != nil {
			t.Fatal(err)
		}
	}
}

// haltable is a clock whose ticks can be held back.
type haltable struct {
	machineClock
	halted atomic.Bool
}

// halt returns when the node sees no tick any more: its loop has waited anew, without the ticker.
func (c *haltable) halt(all *cluster, n *Node) {
	c.halted.Store(true)
	poke(n.wake)
	all.waitFor("turn of the loop", func(*Node) bool { return len(n.wake) == 0 })
}

type haltableTicker struct {
	Ticker
	clock *haltable
}

func (c *haltable) NewTicker(d time.Duration) Ticker {
	return haltableTicker{c.machineClock.NewTicker(d), c}
}

func (t haltableTicker) C() <-chan time.Time {
	if t.clock.halted.Load() {
		return nil
	}
	return t.Ticker.C()
}
