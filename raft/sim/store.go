package sim

import (
	"slices"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// store writes and syncs the requests that wait, as one batch, and reports the last of them some time after it is
// durable. Meanwhile the core makes new requests, and may cut off what the batch holds.
func (p *process) store() {
	if p.storing || len(p.stores) == 0 {
		return
	}
	p.storing = true
	batch := p.takeStores()
	m, w := p.m, p.w
	took := p.random.between(w.plan.syncLow, w.plan.syncHigh)
	if w.allows(SlowDisk) && p.random.chance(w.plan.stall) {
		took += p.random.between(50*time.Millisecond, 2*time.Second)
		if p.random.chance(0.03) {
			took += p.random.between(0, 10*time.Second)
		}
		w.coverage.DiskStalls++
		if took > time.Duration(4*w.plan.electionTicks)*w.plan.tick {
			w.coverage.LongStalls++ // a leader hands over
		}
	}
	took = max(took+p.sluggish(), m.stalledUntil-w.now)
	last := batch[len(batch)-1]
	done := last.Done()
	if w.opts.mutant == ackBeforeSync {
		w.after(0, func() { p.stored(done) })
	}
	if w.opts.mutant == forgetHardState {
		for i := range batch {
			without := *batch[i]
			without.HardState = nil
			batch[i] = &without
		}
	}
	if w.opts.mutant == stateBeforeLog && last.Snapshot != nil {
		p.install(*last.Snapshot)
	}
	m.disk.write(batch)
	w.after(took, func() {
		// Not even a paused program stops a disk that is at work.
		if p.dead {
			return
		}
		p.sync()
		w.after(p.random.between(0, time.Millisecond), func() {
			p.whenRunning(func() {
				p.storing = false
				switch {
				case last.Snapshot != nil:
					// The log says that it starts behind the snapshot; now the state machine takes it over (§7).
					p.applies = append(p.applies, applyWork{install: last.Snapshot, then: func() { p.stored(done) }})
					p.applySome()
				case w.opts.mutant != ackBeforeSync:
					p.stored(done)
				}
				p.store()
			})
		})
	})
}

// takeStores takes all requests up to the first that installs a snapshot: nothing is stored with it that comes behind it.
func (p *process) takeStores() []*raft.StoreRequest {
	n := slices.IndexFunc(p.stores, func(r *raft.StoreRequest) bool { return r.Snapshot != nil }) + 1
	if n == 0 {
		n = len(p.stores)
	}
	batch := slices.Clone(p.stores[:n])
	p.stores = p.stores[n:]
	return batch
}

// sync makes durable what was written. A sync that fails is never tried again: it ends the program, and nobody knows what is
// stored.
func (p *process) sync() {
	m, w := p.m, p.w
	if w.allows(DiskError) && p.random.chance(0.002) {
		w.coverage.DiskErrors++
		if err := m.disk.failSync(); err != nil {
			panic(&exit{p, err})
		}
	}
	if err := m.disk.sync(); err != nil {
		p.diskFails("a healthy disk stores", err)
	}
	w.oracle.synced(m)
	if w.allows(Crash) && m.disk.durable.snapshot != nil && m.disk.durable.snapshot.Index > p.machine.meta.Index && p.random.chance(0.1) {
		w.coverage.Crashes++
		panic(&exit{p, errKilled})
	}
}

func (p *process) stored(done raft.Stored) {
	if p.dead {
		return
	}
	if done.Last.Index > 0 && !p.m.shadow.has(done.Last) {
		p.w.coverage.StaleCompletions++
	}
	p.w.trace(p, "stored: request %d, log to %v", done.Seq, done.Last)
	p.core.Stored(done)
	p.stepped()
}

// install puts a staged snapshot in force, durably and at once. It may be repeated.
func (p *process) install(meta raft.SnapshotMeta) {
	m := p.m
	if meta.Index > p.machine.meta.Index {
		i := slices.IndexFunc(m.staged, func(s *machine) bool { return s.meta.Index == meta.Index && s.meta.Term == meta.Term })
		if i < 0 {
			fail("snapshots", "member %s is to install the snapshot at %d, which was never staged", m.id, meta.Index)
		}
		p.machine = m.staged[i].clone()
		if p.w.opts.mutant == forgetMembership {
			p.machine.meta.Membership = m.durable.meta.Membership
		}
		m.durable = p.machine.clone()
		m.staged = slices.DeleteFunc(m.staged, func(s *machine) bool { return s.meta.Index <= meta.Index })
		if p.real != nil {
			p.installReal(meta)
		}
	}
	p.w.oracle.appliedTo(m, p.machine)
	p.w.coverage.SnapshotsInstalled++
	p.w.trace(p, "snapshot at %d installed", meta.Index)
	p.dropProposals(meta.Index)
	p.w.hash.mix(uint64(p.w.now), uint64(m.id), uint64(meta.Index))
}

// stage keeps a snapshot that came as a whole, durably. While an earlier one waits to be put in force it is refused, but for one that came
// before that was known.
func (p *process) stage(state *machine, stream []byte) bool {
	if p.installing > 0 && p.random.chance(0.9) {
		return false
	}
	if p.real != nil && !p.stageReal(state.meta, stream, true) {
		return false
	}
	passed := func(s *machine) bool { return s.meta.Index <= p.machine.meta.Index }
	p.m.staged = append(slices.DeleteFunc(p.m.staged, passed), state)
	return true
}

// flush makes the machine's state of now durable a little later.
func (p *process) flush() bool {
	if p.dead {
		return false
	}
	if p.flushing || p.machine.meta.Index == p.m.durable.meta.Index {
		return true
	}
	p.flushing = true
	state := p.machine.clone()
	p.w.after(p.random.between(time.Millisecond, 30*time.Millisecond), func() {
		if p.dead {
			return
		}
		p.flushing = false
		if p.real != nil {
			p.flushReal()
			state = p.machine.clone()
		}
		if state.meta.Index > p.m.durable.meta.Index {
			p.m.durable = state
			p.w.oracle.flushed(p.m)
		}
	})
	return true
}

// compact cuts the log behind what the machine holds durably, but for some entries for followers that are late.
func (p *process) compact() bool {
	if p.dead {
		return false
	}
	if !p.w.allows(Compaction) || p.w.now < p.pausedUntil {
		return true
	}
	limit := p.m.durable.meta.Index
	if p.w.opts.mutant == cutPastState {
		limit = p.machine.meta.Index
	}
	limit = p.held(limit)
	index := p.core.CompactionPoint(limit, uint64(p.random.n(p.w.plan.keepEntries+1)), p.random.n(2000))
	if index <= p.core.LogStart().Index {
		return true
	}
	at := raft.Position{Index: index}
	at.Term, _ = p.m.disk.durable.term(index)
	p.w.trace(p, "compacts the log to %d", index)
	p.core.Compact(index)
	if err := p.m.disk.cut(at); err != nil {
		p.diskFails("a healthy disk stores", err)
	}
	p.w.coverage.Compactions++
	p.stepped()
	return true
}

// streamSnapshot sends the durable state to a member. It takes a while, and fails if either end or the way between
// them does.
func (p *process) streamSnapshot(to raft.NodeID) {
	w := p.w
	var stream []byte
	if p.real != nil {
		stream = p.snapshotReal()
	}
	state := p.m.durable
	w.trace(p, "streams snapshot at %d to %s", state.meta.Index, to)
	m := raft.Message{
		Type: raft.MsgSnapshot, From: p.m.id, To: to, Term: p.core.Term(),
		Index: state.meta.Index, LogTerm: state.meta.Term, Snapshot: &state.meta,
	}
	var receiver *process
	chunks := p.random.span(1, 8)
	p.streams = append(p.streams, state.meta.Index)
	finish := func(ok bool) {
		p.streams = slices.Delete(p.streams, slices.Index(p.streams, state.meta.Index), 1+slices.Index(p.streams, state.meta.Index))
		w.trace(p, "snapshot at %d to %s ended, ok=%t", state.meta.Index, to, ok)
		if ok {
			w.coverage.SnapshotsSent++
		} else {
			w.coverage.SnapshotsFailed++
		}
		p.whenRunning(func() {
			p.core.SnapshotSent(to, state.meta, ok)
			p.stepped()
		})
	}
	var chunk func()
	chunk = func() {
		if p.dead {
			return
		}
		target := w.members[to]
		up := target != nil && target.host != nil && target.host.proc != nil && w.net.reachable(p.host.slot, target.host.slot) &&
			p.dials(to) && target.host.proc.letsIn(p)
		broken := w.allows(SnapshotFailure) && p.random.chance(0.03)
		if !up || broken || (receiver != nil && receiver != target.host.proc) {
			if receiver != nil && !receiver.dead && p.real != nil {
				receiver.stageReal(state.meta, stream, false)
			}
			finish(false)
			return
		}
		receiver = target.host.proc
		chunks--
		if chunks > 0 {
			w.after(p.random.between(0, w.plan.chunk), chunk)
			return
		}
		// The receiver's word may be lost, and the receiver may be slow to look at what it has.
		late, told := time.Duration(0), true
		if w.allows(SnapshotFailure) && p.random.chance(0.1) {
			late, told = p.random.between(0, 3*time.Second), p.random.chance(0.3)
		}
		take := func() {
			staged := receiver.stage(state, stream)
			if told {
				w.after(w.net.latency(), func() { finish(staged) })
			}
			if staged {
				receiver.receive(m)
			}
		}
		var arrive func()
		arrive = func() {
			switch {
			case !receiver.dead && w.now < receiver.pausedUntil:
				w.queue.push(receiver.pausedUntil, arrive)
			case !receiver.dead:
				take()
			case told:
				finish(false)
			}
		}
		w.after(late, arrive)
		if !told {
			w.after(w.net.latency(), func() { finish(false) })
		}
	}
	w.after(w.net.latency(), chunk)
}
