package sim

import (
	"slices"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
)

// process is one run of a member's program: what is lost when it ends is here.
type process struct {
	w      *world
	m      *member
	host   *host
	random *random
	core   *raft.Core
	dead   bool

	pausedUntil time.Duration
	clock       clock
	pumping     bool

	stores  []*raft.StoreRequest
	storing bool

	machine  *machine
	real     *kv.Machine // nil: the model alone
	applies  []applyWork
	applying bool
	// installing counts the snapshots that the core has taken over and that are not in force yet.
	installing int
	flushing   bool

	proposals map[raft.Index]waitingProposal
	asked     map[uint64]*waitingRead // reads that the core was asked for
	ready     []*waitingRead          // reads that wait for the machine

	// streams are the indexes of the snapshots that are on their way to others.
	streams []raft.Index

	door door
	seen seen
	// acknowledged is the highest index that was acknowledged to the leader of the last term in which one was.
	acknowledged raft.Position
}

// boot starts the program on a host, from what its disk holds.
func (h *host) boot(w *world) {
	h.down = false
	m := h.member
	if m == nil || h.proc != nil || m.damaged {
		return
	}
	p := &process{
		w: w, m: m, host: h, random: h.random.child(uint64(w.now)),
		proposals: map[raft.Index]waitingProposal{}, asked: map[uint64]*waitingRead{},
	}
	p.clock = clock{rate: p.drift(), since: w.now}
	leases, quiet := p.leases()
	p.machine = m.durable.clone()
	if err := p.bootMachine(); err != nil {
		h.refusesToStart(w, "the state machine opens after any crash", err)
		return
	}
	if err := m.disk.open(m); err != nil {
		h.refusesToStart(w, "the write-ahead log opens after any crash", err)
		return
	}
	log := &m.disk.durable
	if s := log.snapshot; s != nil && s.Index > p.machine.meta.Index {
		// The program ended between the restart of the log behind a snapshot and its installation.
		w.coverage.HalfInstalls++
		p.install(*s)
	}
	state := m.durable
	if !log.has(state.position()) {
		fail("the machine is never ahead of the log", "member %s has applied %v durably, its log is %v..%v", m.id, state.position(), log.start, log.last())
	}
	core, err := raft.New(p.config(leases), raft.Initial{
		HardState: log.hard, Applied: state.meta, LogStart: log.start, Entries: slices.Clone(log.entries), QuietTicks: quiet,
	})
	if err != nil {
		fail("restart", "member %s: %v", m.id, err)
	}
	p.core, h.proc = core, p
	m.shadow.load(log, state.meta)
	w.oracle.booted(p)
	w.trace(p, "started: vote %s, log %v..%v, applied %d", log.hard.Vote, log.start, log.last(), state.meta.Index)
	w.coverage.Boots++
	w.after(p.random.between(0, w.plan.tick), p.tick)
	w.every(p.random, w.plan.flush, p.flush)
	w.every(p.random, w.plan.compact, p.compact)
	if w.healing {
		p.scrub()
	}
	p.stepped()
}

// kill ends the program. What it handed to the operating system stays.
func (h *host) kill() {
	p := h.proc
	if p == nil {
		return
	}
	p.w.trace(p, "killed")
	h.end()
	p.m.disk.kill(h.random)
	p.w.connectionsBreak(p)
}

// connectionsBreak tells the others that the port of a program is closed: the kernel of its host says so. Some hear of
// it only when another program answers there already.
func (w *world) connectionsBreak(gone *process) {
	for _, h := range w.hosts {
		p := h.proc
		if p == nil || !w.net.reachable(gone.host.slot, h.slot) || !gone.random.chance(0.8) {
			continue
		}
		late := w.net.latency()
		if gone.random.chance(0.2) {
			late += gone.random.between(0, 2*time.Second)
		}
		w.after(late, func() {
			p.whenRunning(func() {
				if p.core.Leader() == gone.m.id {
					w.coverage.LeadersGone++
				}
				p.core.LeaderGone(gone.m.id)
				p.stepped()
			})
		})
	}
}

// end forgets the running program. What its machine had not committed is gone either way.
func (h *host) end() {
	p := h.proc
	if p == nil {
		return
	}
	p.dead = true
	h.proc = nil
	if p.m.store != nil {
		p.m.store.Crash()
	}
}

// whenRunning runs f now, or when the pause ends, or never if the program is gone by then.
func (p *process) whenRunning(f func()) {
	switch {
	case p.dead:
	case p.w.now < p.pausedUntil:
		p.w.queue.push(p.pausedUntil, func() { p.whenRunning(f) })
	default:
		f()
	}
}

func (p *process) receive(m raft.Message) {
	if p.w.opts.Trace != nil {
		p.w.trace(p, "<- %s", describe(m))
	}
	p.w.hash.mix(uint64(p.w.now), uint64(m.Type), uint64(m.To))
	if err := p.core.Step(m); err != nil {
		fail("messages are understood", "member %s: %s: %v", p.m.id, describe(m), err)
	}
	p.stepped()
}

// stepped follows every input of the core: it sees to the effects, now or together with those of the next inputs.
func (p *process) stepped() {
	p.w.oracle.stepped(p)
	if p.w.plan.batching == 0 {
		p.pump()
		return
	}
	if p.pumping {
		return
	}
	p.pumping = true
	p.w.after(p.random.between(0, p.w.plan.batching), func() {
		p.whenRunning(func() {
			p.pumping = false
			p.pump()
		})
	})
}

func (p *process) pump() {
	if p.w.plan.leases {
		p.advance() // reads that came before are answered from here on
	}
	eff := p.core.TakeEffects()
	for _, t := range eff.Transitions {
		p.w.transition(p, t)
	}
	if eff.Store != nil {
		p.w.oracle.offered(p, eff.Store)
		if eff.Store.Snapshot != nil {
			p.installing++
		}
		p.stores = append(p.stores, eff.Store)
	}
	p.w.oracle.tookEffects(p)
	for _, m := range eff.Messages {
		p.w.oracle.leaves(p, m)
		if p.w.opts.Trace != nil {
			p.w.trace(p, "-> %s", describe(m))
		}
		p.w.net.send(p, m)
	}
	if len(eff.Committed) > 0 {
		p.w.oracle.handedOut(p, eff.Committed)
		p.applies = append(p.applies, applyWork{entries: eff.Committed})
	}
	for _, r := range eff.Reads {
		p.readConfirmed(r)
	}
	for _, id := range eff.FailedReads {
		p.readFailed(id)
	}
	for _, to := range eff.SendSnapshots {
		p.streamSnapshot(to)
	}
	p.store()
	p.applySome()
}

func (w *world) transition(p *process, t raft.Transition) {
	if w.opts.Trace != nil {
		w.trace(p, "role %s -> %s in term %d: %s", t.From, t.To, t.Term, t.Trigger)
	}
	w.hash.mix(uint64(w.now), uint64(p.m.id), uint64(t.From), uint64(t.To), uint64(t.Term))
	switch t.To {
	case raft.RoleLeader:
		w.coverage.Elections++
	case raft.RoleCandidate:
		w.coverage.Campaigns++
	}
}
