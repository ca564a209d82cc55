package sim

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/replica/bootstrap"
)

// Options choose a run.
type Options struct {
	Seed uint64
	// Duration is how long faults go on, in virtual time. The liveness phase comes after it.
	Duration time.Duration
	// Without are kinds of faults that are left out.
	Without Faults
	// Trace takes a readable account of all that happens, if it is not nil.
	Trace io.Writer

	mutant mutant
}

// Violation says which promise was broken, and how.
type Violation struct {
	Property string
	Detail   string
	// At is the virtual time.
	At time.Duration
	// Stack is set when the core stopped on an invariant of its own.
	Stack string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s broken at %s: %s%s", v.Property, v.At, v.Detail, v.Stack)
}

// Result is what came of a run.
type Result struct {
	Seed uint64
	// Hash is the same for two runs of one seed and build.
	Hash      uint64
	Violation *Violation
	Coverage  Coverage
	// Virtual is how much time passed in the world.
	Virtual time.Duration
	// Events is how many things happened.
	Events uint64
}

// fail ends the run: a promise is broken.
func fail(property, format string, args ...any) {
	panic(&Violation{Property: property, Detail: fmt.Sprintf(format, args...)})
}

// world is one cluster with all that surrounds it.
type world struct {
	opts    Options
	plan    plan
	root    random
	now     time.Duration
	queue   queue
	hash    hash
	events  uint64
	healing bool
	done    bool

	hosts   []*host
	members map[raft.NodeID]*member // for lookup; ordered has them in the order of their making
	ordered []*member

	net      network
	oracle   oracle
	clients  []*client
	operator operator
	history  history
	nextRead uint64
	// strangers are sessions that nobody uses, opened in storms.
	strangers, storms uint64
	doors             bool    // members connect to whom they know
	holding           *random // the log is kept for receivers of snapshots; nil: it is not
	sluggish          *random // disks become slow for long; nil: they do not
	// readsOnly counts the reasons for which clients write nothing at present.
	readsOnly int
	nextInc   raft.Incarnation
	coverage  Coverage
}

// host is a machine with a disk that holds the data directory of at most one member at a time.
type host struct {
	slot        int
	incarnation raft.Incarnation
	member      *member // nil while the directory is empty
	proc        *process
	down        bool
	random      *random
}

// member is one ID: one incarnation of one data directory. What survives a crash is here.
type member struct {
	id          raft.NodeID
	incarnation raft.Incarnation
	host        *host // nil when the directory was wiped or set aside
	disk        disk
	durable     *machine   // the state machine that survives a power loss
	staged      []*machine // snapshots that came and are not in force yet; they survive too
	store       *stateDisk // of the real state machine, if there is one
	shadow      shadow
	lost        bool // wiped, or set aside, while it was a member
	removed     bool
	rotten      bool // bits of it have flipped
	damaged     bool // that was found
	full        bool // its disk has no room
	// stalledUntil is when a disk that was told to stand still goes on.
	stalledUntil time.Duration
	// slowUntil is when a disk that is slow becomes as fast as it was; each sync takes up to slowBy longer until then.
	slowUntil, slowBy time.Duration
}

// Run runs one seed to its end, or to the first broken promise.
func Run(opts Options) (res Result) {
	w := &world{opts: opts, hash: newHash(), root: random{opts.Seed}, members: map[raft.NodeID]*member{}}
	defer func() {
		res = Result{
			Seed: opts.Seed, Hash: uint64(w.hash), Coverage: w.coverage, Virtual: w.now, Events: w.events,
			Violation: w.violation(recover()),
		}
		if res.Violation != nil && opts.Trace != nil {
			_, _ = fmt.Fprintf(opts.Trace, "%12s VIOLATION %v\n", w.clock(), res.Violation)
		}
	}()
	w.plan = drawPlan(w.root.child(labelPlan))
	w.build()
	for i := range w.plan.clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	w.operator.start(w)
	w.startNemesis()
	w.startDoors()
	w.startHolding()
	w.startSluggish()
	w.queue.push(w.opts.Duration, w.startLiveness)
	for !w.done {
		w.next()
	}
	w.history.check()
	return res
}

// next lets the next thing happen.
func (w *world) next() {
	e, ok := w.queue.pop()
	if !ok {
		fail("simulation", "nothing is left to happen")
	}
	w.now = e.at
	w.events++
	if len(w.queue.heap) > mostQueued {
		fail("work is bounded", "%d things are about to happen", len(w.queue.heap))
	}
	if w.now > w.opts.Duration+longestEnd && w.opts.Duration > 0 {
		fail("simulation", "the run does not end")
	}
	w.happen(e.run)
}

func (w *world) violation(cause any) *Violation {
	switch x := cause.(type) {
	case nil:
		return nil
	case *Violation:
		x.At = w.now
		return x
	case *exit:
		return w.violation(fmt.Sprintf("the program of member %s ends outside of what happens: %v", x.p.m.id, x.why))
	default:
		v := &Violation{Property: "an invariant of the core", Detail: fmt.Sprint(x), At: w.now}
		if w.opts.Trace != nil || !strings.HasPrefix(v.Detail, "raft: ") {
			v.Stack = "\n" + string(debug.Stack())
		}
		return v
	}
}

// longestEnd bounds how long a run goes on after its last fault.
const longestEnd = convergenceLimit + quiescenceLimit + time.Minute

// mostQueued bounds the events that wait. A cluster that answers every message with two never gets there by itself.
const mostQueued = 100_000

const (
	labelPlan = iota
	labelNetwork
	labelOperator
	labelNemesis     // and the kinds of faults behind it
	labelClient      = 100
	labelHost        = 1000
	labelInvitations = 2000
	labelDoors       = 2001
	labelHolding     = 2002
	labelSluggish    = 2003
)

// build makes the cluster that the plan says.
func (w *world) build() {
	w.trace(nil, "plan %+v", w.plan)
	w.net = newNetwork(w, w.plan.voters+w.plan.spares)
	w.oracle = newOracle(w)
	var first []raft.Member
	for slot := range w.plan.voters + w.plan.spares {
		h := &host{slot: slot, random: w.root.child(labelHost + uint64(slot))}
		w.freshDirectory(h)
		w.hosts = append(w.hosts, h)
		if slot < w.plan.voters {
			first = append(first, raft.Member{ID: raft.NodeID(slot + 1), Incarnation: h.incarnation, Name: fmt.Sprintf("host-%d", slot)})
		}
	}
	membership := raft.NewMembership(first...)
	membership.Index = raft.Index(w.plan.bootIndex)
	meta := raft.SnapshotMeta{Membership: membership}
	if w.plan.bootIndex > 0 {
		meta.Index, meta.Term, meta.ClusterVersion = bootstrap.FirstPosition.Index, bootstrap.FirstPosition.Term, bootstrap.FirstClusterVersion
	}
	w.oracle.boot(meta)
	for _, x := range first {
		h := w.hosts[x.ID-1]
		w.found(x.ID, h, newMachine(meta, w.plan.registers))
		w.after(h.random.between(0, 300*time.Millisecond), func() { h.boot(w) })
	}
}

// found puts a new member on a host's empty directory.
func (w *world) found(id raft.NodeID, h *host, state *machine) *member {
	m := &member{id: id, incarnation: h.incarnation, host: h}
	w.prepare(m, state, h.random)
	h.member = m
	w.members[id] = m
	w.ordered = append(w.ordered, m)
	return m
}

// prepare fills a member's directory with its first state and a log behind it.
func (w *world) prepare(m *member, state *machine, chance *random) {
	m.durable = state
	m.disk = disk{}
	if w.plan.realLog {
		m.disk.real = &walDisk{fs: vfs.NewMem(chance.next())}
	}
	if w.plan.realMachine {
		m.foundMachine(state.meta.Membership)
	}
	m.disk.prepare(m, &state.meta)
}

// freshDirectory empties a host's disk: it draws a new incarnation and waits to be added.
func (w *world) freshDirectory(h *host) {
	w.nextInc++
	h.incarnation = w.nextInc
	h.member = nil
}

func (w *world) after(d time.Duration, run func()) { w.queue.push(w.now+d, run) }

// every runs f again and again, a random time around mean apart, until it returns false.
func (w *world) every(r *random, mean time.Duration, f func() bool) {
	w.after(r.around(mean), func() {
		if f() {
			w.every(r, mean, f)
		}
	})
}

func (w *world) allows(f Faults) bool { return !w.healing && w.opts.Without&f == 0 }

func (w *world) clock() string { return fmt.Sprintf("%.6fs", w.now.Seconds()) }

// trace writes one line of the account of what happens.
func (w *world) trace(p *process, format string, args ...any) {
	if w.opts.Trace == nil {
		return
	}
	who := "[world]"
	if p != nil && p.core != nil {
		who = fmt.Sprintf("[node %s | term %d | %s]", p.m.id, p.core.Term(), strings.ToUpper(p.core.Role().String()))
	}
	_, _ = fmt.Fprintf(w.opts.Trace, "%12s %s %s\n", w.clock(), who, fmt.Sprintf(format, args...))
}
