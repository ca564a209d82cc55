package raft

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func withLeases(cfg *Config) { cfg.LeaseReads, cfg.TickMicros = true, 1000 }

func TestALeaseAnswersReadsWithoutARound(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	clear(p.sent)
	if err := l.ReadIndex(1); err != nil {
		t.Fatal(err)
	}
	p.settle()
	if len(p.reads[1]) != 0 {
		t.Fatal("answered although the clock was not read since the question")
	}
	l.Advance(0)
	p.settle()
	if len(p.reads[1]) != 1 || p.sent[MsgHeartbeat] != 0 {
		t.Fatalf("%d reads answered, %d heartbeats sent", len(p.reads[1]), p.sent[MsgHeartbeat])
	}
	if left := l.Status().LeaseTicks; left == 0 || left >= uint64(l.cfg.ElectionTicks) {
		t.Fatalf("%d ticks of the lease are left", left)
	}
}

func TestALeaseEndsWithoutPromises(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	p.cut = func(m Message) bool { return m.Type == MsgHeartbeatResponse }
	l.Advance(l.cfg.ElectionTicks) // a pause: for elections it is short, for the lease it is not
	if err := l.ReadIndex(1); err != nil {
		t.Fatal(err)
	}
	l.Advance(0)
	p.settle()
	if l.Role() != RoleLeader || len(p.reads[1]) != 0 {
		t.Fatalf("the %s answers %d reads by a lease that is over", l.Role(), len(p.reads[1]))
	}
	p.cut = nil
	p.tick(2)
	if len(p.reads[1]) != 1 {
		t.Fatal("a round does not answer the read")
	}
}

func TestOnlyWhoeverPromisesCounts(t *testing.T) {
	for promising := 1; promising <= 3; promising++ {
		p := newPumpOf(t, 3, func(cfg *Config) {
			if int(cfg.ID) <= promising {
				withLeases(cfg)
			}
		})
		l := p.elect(1)
		p.tick(4)
		if got, want := l.leaseHolds(), promising >= 2; got != want {
			t.Errorf("%d of 3 promise: lease %v, want %v", promising, got, want)
		}
	}
}

func TestAMemberThatPromisedElectsNobody(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	f := p.nodes[3]
	f.LeaderGone(1)
	if f.Leader() != 1 {
		t.Fatal("a lease was promised, and the leader is given up")
	}
	vote := Message{Type: MsgVote, From: 2, To: 3, Term: l.Term() + 1, Index: 100, LogTerm: l.Term()}
	if err := f.Step(vote); err != nil {
		t.Fatal(err)
	}
	if f.Term() != l.Term() {
		t.Fatal("a candidate got through while the promise holds")
	}
	vote.Transfer = true
	if err := f.Step(vote); err != nil {
		t.Fatal(err)
	}
	if f.vote != 2 {
		t.Fatal("the candidate that the leader asked to stand gets no vote")
	}
}

func TestALeaseIsGivenUpBeforeAHandOver(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	p.cut = func(m Message) bool { return m.Type == MsgTimeoutNow }
	if err := l.Transfer(2); err != nil {
		t.Fatal(err)
	}
	p.tick(2 * l.cfg.ElectionTicks)
	if l.Role() != RoleLeader || l.transferTo != 0 {
		t.Fatalf("the %s hands over to %s", l.Role(), l.transferTo)
	}
	if l.leaseHolds() {
		t.Fatal("the request to stand may still arrive, and a lease holds")
	}
	if err := l.ReadIndex(1); err != nil {
		t.Fatal(err)
	}
	p.settle()
	if len(p.reads[1]) != 1 {
		t.Fatal("no round takes the lease's place")
	}
}

func TestAMemberIsQuietAfterItsStart(t *testing.T) {
	for _, c := range []struct {
		name  string
		hard  HardState
		quiet int
		lease bool
		ticks uint64
	}{
		{"leases on", HardState{Term: 2}, 0, true, 11},
		{"never had a term", HardState{}, 0, true, 0},
		{"leases switched off", HardState{Term: 2}, 40, false, 40},
		{"never had leases", HardState{Term: 2}, 0, false, 0},
	} {
		cfg := Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 2, Random: func(int) int { return 0 }, LeaseReads: c.lease, TickMicros: 1000}
		base := SnapshotMeta{Index: 1, Term: 1, Membership: members(3)}
		n, err := New(cfg, Initial{HardState: c.hard, Applied: base, LogStart: Position{1, 1}, QuietTicks: c.quiet})
		if err != nil {
			t.Fatal(err)
		}
		for tick := uint64(0); tick < 50; tick++ {
			if got := n.withholdsVote(); got != (tick < c.ticks) {
				t.Fatalf("%s: after %d ticks the vote is withheld: %v", c.name, tick, got)
			}
			if n.withholdsVote() && n.Role() != RoleFollower {
				t.Fatalf("%s: a quiet member is %s", c.name, n.Role())
			}
			n.Tick()
		}
	}
}

// leaseWorld is a cluster in steps of a tenth of a tick, whose clocks drift, whose programs pause and start anew, and whose
// messages are late or lost.
type leaseWorld struct {
	t       *testing.T
	random  *rand.Rand
	step    int
	nodes   []*leaseNode
	queue   map[int][]Message
	reads   int // answered by a lease
	leaders int
	siege   siege
}

type leaseNode struct {
	*Core
	rate, clock float64
	reported    int
	paused      int // up to this step
}

const (
	stepsPerTick = 10
	leaseDrift   = 0.048 // of each clock, so that two differ by less than DefaultClockDriftPercent
)

func (w *leaseWorld) boot(i int, from Initial) {
	cfg := Config{ID: NodeID(i + 1), ElectionTicks: 10, HeartbeatTicks: 2, Random: w.random.IntN}
	withLeases(&cfg)
	c, err := New(cfg, from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes[i].Core = c
}

func (w *leaseWorld) restart(i int) {
	c := w.nodes[i].Core
	w.boot(i, Initial{
		HardState: HardState{c.term, c.vote}, LogStart: c.log.start, Entries: c.log.slice(c.log.start.Index+1, c.log.end.Index),
		Applied: SnapshotMeta{Index: 1, Term: 1, Membership: members(len(w.nodes)), ClusterVersion: 1},
	})
}

// turn is what a shell does: it takes what came, reads the clock, and carries out the effects.
func (w *leaseWorld) turn(i int, inbox []Message) {
	n := w.nodes[i]
	for _, m := range inbox {
		if err := n.Step(m); err != nil {
			w.t.Fatal(err)
		}
	}
	_ = n.ReadIndex(uint64(w.step))
	ticks := int(n.clock) - n.reported
	n.reported += ticks
	before := len(n.out.Reads)
	n.Advance(ticks)
	if n.Role() == RoleLeader && len(n.out.Reads) > before {
		w.reads++
		for _, other := range w.nodes {
			if other.Role() == RoleLeader && other.Term() > n.Term() {
				w.t.Fatalf("step %d: member %s answers a read by the lease of term %d, member %s leads term %d", w.step, n.id, n.Term(), other.id, other.Term())
			}
		}
	}
	for {
		e := n.TakeEffects()
		for _, m := range e.Messages {
			if w.random.IntN(40) > 0 && !w.siege.cuts(w.step, m) {
				late := 1 + w.random.IntN(8)
				if w.random.IntN(30) == 0 {
					late += w.random.IntN(300)
				}
				w.queue[w.step+late] = append(w.queue[w.step+late], m)
			}
		}
		for _, tr := range e.Transitions {
			if tr.To == RoleLeader {
				w.leaders++
			}
		}
		if len(e.Committed) > 0 {
			n.Applied(e.Committed[len(e.Committed)-1].Index)
		}
		if e.Store == nil {
			return
		}
		n.Stored(e.Store.Done())
	}
}

// TestNoReadByALeaseIsStale lets leaders come and go in every way there is, and looks at each read that a lease answers.
func TestNoReadByALeaseIsStale(t *testing.T) {
	reads, leaders := 0, 0
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &leaseWorld{t: t, random: rand.New(rand.NewPCG(seed, 9)), queue: map[int][]Message{}}
			for i := range 3 {
				w.nodes = append(w.nodes, &leaseNode{rate: (1 + leaseDrift*(2*w.random.Float64()-1)) / stepsPerTick})
				w.boot(i, Initial{LogStart: Position{1, 1}, Applied: SnapshotMeta{Index: 1, Term: 1, Membership: members(3), ClusterVersion: 1}})
			}
			for ; w.step < 10_000; w.step++ {
				inbox := make([][]Message, len(w.nodes))
				for _, m := range w.queue[w.step] {
					if at := w.nodes[m.To-1].paused; at > w.step {
						w.queue[at] = append(w.queue[at], m)
					} else {
						inbox[m.To-1] = append(inbox[m.To-1], m)
					}
				}
				delete(w.queue, w.step)
				w.mishap()
				for i, n := range w.nodes {
					n.clock += n.rate
					if n.paused <= w.step {
						w.turn(i, inbox[i])
					}
				}
			}
			reads, leaders = reads+w.reads, leaders+w.leaders
		})
	}
	if reads < 5_000 || leaders < 100 {
		t.Errorf("%d reads by a lease and %d leaders prove little", reads, leaders)
	}
}

func (w *leaseWorld) mishap() {
	i := w.random.IntN(len(w.nodes))
	if !w.siege.holds(w.step) {
		for j, n := range w.nodes {
			if n.Role() == RoleLeader && w.random.IntN(100) == 0 {
				w.siege = siege{leader: j, other: (j + 1 + w.random.IntN(2)) % 3}
				w.siege.alone = w.step + w.random.IntN(30*stepsPerTick)
				w.siege.until = w.siege.alone + w.random.IntN(20*stepsPerTick)
			}
		}
	}
	often := 2000
	if w.siege.holds(w.step) {
		i, often = 3-w.siege.leader-w.siege.other, 200
	}
	n := w.nodes[i]
	if n.paused > w.step {
		return
	}
	switch w.random.IntN(often) {
	case 0, 1, 2, 3:
		n.paused = w.step + w.random.IntN(40*stepsPerTick)
	case 4, 5:
		w.restart(i)
	case 6:
		_ = n.Transfer(NodeID(1 + w.random.IntN(len(w.nodes))))
	case 7, 8, 9, 10:
		n.LeaderGone(n.Leader())
	}
}

// siege keeps a leader and one follower from hearing each other, so that the follower stands for election all the time and the third
// member, to which things happen, decides. At the end the leader hears nobody.
type siege struct {
	leader, other int
	alone, until  int // steps
}

func (s siege) holds(step int) bool { return step < s.until }

func (s siege) cuts(step int, m Message) bool {
	from, to := int(m.From)-1, int(m.To)-1
	if !s.holds(step) || (from != s.leader && to != s.leader) {
		return false
	}
	return step >= s.alone || from == s.other || to == s.other
}

func TestALeaseCountsFromWhenTheHeartbeatWasSent(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	late := Message{Type: MsgHeartbeatResponse, From: 2, To: 1, Term: l.Term(), Index: Index(l.clock) + 1, Hint: Index(p.nodes[2].makePromise())}
	p.cut = func(m Message) bool { return m.Type == MsgHeartbeatResponse }
	l.Advance(l.cfg.ElectionTicks)
	if err := l.Step(late); err != nil {
		t.Fatal(err)
	}
	if l.leaseHolds() {
		t.Fatal("a promise that has run out on its way gives a lease")
	}
}

func TestAPromiseCountsFromTheNextLookAtTheClock(t *testing.T) {
	p := newPumpOf(t, 3, withLeases)
	l := p.elect(1)
	p.tick(2)
	f := p.nodes[2]
	// The program stood still, takes the heartbeat that waited, and only then sees how late it is.
	if err := f.Step(Message{Type: MsgHeartbeat, From: 1, To: 2, Term: l.Term(), Index: Index(l.clock) + 1}); err != nil {
		t.Fatal(err)
	}
	f.Advance(1000)
	for range f.cfg.ElectionTicks {
		if !f.promised() {
			t.Fatal("the pause before the promise was taken for time after it")
		}
		f.Advance(1)
	}
	if f.promised() {
		t.Fatal("the promise does not end")
	}
}

func TestLeaseReadsNeedASaneConfiguration(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no tick length": func(cfg *Config) { cfg.TickMicros = 0 },
		"negative drift": func(cfg *Config) { cfg.ClockDriftPercent = -1 },
		"too much drift": func(cfg *Config) { cfg.ClockDriftPercent = MaxClockDriftPercent + 1 },
	} {
		cfg := Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 2, Random: func(int) int { return 0 }}
		withLeases(&cfg)
		spoil(&cfg)
		if _, err := New(cfg, Initial{Applied: SnapshotMeta{Membership: members(1)}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
