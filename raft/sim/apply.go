package sim

import (
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// waitingProposal is a command whose entry is in the log.
type waitingProposal struct {
	term    raft.Term
	client  *client
	attempt uint64
	// submitted is set instead of a client where nobody waits: it was proposed once and is never asked for again.
	submitted *submission
}

// waitingRead is a linearizable read on its way.
type waitingRead struct {
	client  *client
	attempt uint64
	key     int
	past    uint64 // revision that is asked for, zero: the last one
	// floor is the highest index that was committed anywhere when the read began.
	floor raft.Index
	index raft.Index
	began time.Duration
}

// applyWork is one thing to do with the state machine, in the order in which it came: to apply entries, or to put a snapshot
// in force and then to go on.
type applyWork struct {
	entries []raft.Entry
	install *raft.SnapshotMeta
	then    func()
}

// applySome does all that waits for the state machine, after a while.
func (p *process) applySome() {
	if p.applying || len(p.applies) == 0 {
		return
	}
	p.applying = true
	p.w.after(p.random.between(0, p.w.plan.applyHigh), func() {
		p.whenRunning(func() {
			works := p.applies
			p.applies = nil
			p.applying = false
			for _, x := range works {
				if x.install != nil {
					p.install(*x.install)
					p.installing--
					x.then()
				} else {
					p.applyBatch(x.entries)
				}
			}
			p.answerReads()
			p.stepped()
		})
	})
}

func (p *process) applyBatch(batch []raft.Entry) {
	results := p.applyReal(batch)
	for i, e := range batch {
		var real any
		if results != nil {
			real = results[i]
		}
		p.apply(e, real)
	}
	p.core.Applied(batch[len(batch)-1].Index)
}

// apply applies an entry to the model; real is what the real machine answered, if there is one.
func (p *process) apply(e raft.Entry, real any) {
	if e.Index != p.machine.meta.Index+1 {
		fail("state machine safety", "member %s applies entry %d after %d", p.m.id, e.Index, p.machine.meta.Index)
	}
	c := p.w.decodeCommand(e)
	r, fresh := p.machine.apply(e, c, p.w.opts.mutant == applyTwice)
	if real != nil && p.w.opts.mutant != applyTwice {
		p.sameResult(e, c, r, fresh, real)
	}
	p.w.oracle.appliedTo(p.m, p.machine)
	if fresh && (c.kind == opWrite || r.swapped) {
		p.w.oracle.wrote(c.key, r.revision, c.value)
	}
	if fresh && c.kind != opOpen && c.header.Session != 0 {
		p.w.oracle.tookEffect(c.header, e.Index)
	} else if !fresh && e.Type == raft.EntryNormal {
		p.w.coverage.RepeatsDropped++
	}
	waiting, ok := p.proposals[e.Index]
	if !ok {
		return
	}
	delete(p.proposals, e.Index)
	if waiting.submitted != nil {
		waiting.submitted.applied(p.w.now, e, r)
		return
	}
	if waiting.term != e.Term {
		waiting.client.answer(p, waiting.attempt, reply{retry: true})
		return
	}
	waiting.client.answer(p, waiting.attempt, reply{result: r, index: e.Index})
}

// dropProposals forgets those whose fate a snapshot hides.
func (p *process) dropProposals(upTo raft.Index) {
	for i := range p.proposals {
		if i <= upTo {
			delete(p.proposals, i)
		}
	}
}

// propose takes a command of a client. It may propose it several times at once, as retries that come together do.
func (p *process) propose(c *client, attempt uint64, cmd command) {
	data := [][]byte{p.w.encodeCommand(cmd)}
	if !p.w.healing && p.random.chance(p.w.plan.repeat) {
		for range p.random.span(1, 20) {
			data = append(data, data[0])
		}
	}
	first, term, err := p.core.Propose(data)
	if err != nil {
		c.answer(p, attempt, reply{retry: true, err: err, leader: p.core.Leader()})
		return
	}
	p.w.trace(p, "proposes %s of client %d as entry %d", cmd.kind, c.id, first)
	p.proposals[first] = waitingProposal{term: term, client: c, attempt: attempt}
	p.w.coverage.Proposals++
	if p.w.opts.mutant == answerBeforeCommit {
		c.answer(p, attempt, reply{index: first})
	}
	p.stepped()
}

// read asks for a linearizable read.
func (p *process) read(c *client, attempt uint64, key int, past uint64) {
	r := &waitingRead{client: c, attempt: attempt, key: key, past: past, floor: p.w.oracle.committedIndex(), began: p.w.now}
	if p.w.opts.mutant == readWithoutAsking {
		c.answer(p, attempt, reply{result: result{value: p.value(key)}, index: p.machine.meta.Index})
		return
	}
	// IDs are drawn from one counter of the world, as a node draws them at random: never twice, also after a restart.
	p.w.nextRead++
	id := p.w.nextRead
	if err := p.core.ReadIndex(id); err != nil {
		c.answer(p, attempt, reply{retry: true, err: err, leader: p.core.Leader()})
		return
	}
	p.asked[id] = r
	p.stepped()
}

func (p *process) readConfirmed(res raft.ReadResult) {
	r := p.asked[res.ID]
	if r == nil {
		fail("reads", "member %s confirms read %d, which it was not asked for", p.m.id, res.ID)
	}
	delete(p.asked, res.ID)
	if res.Index < r.floor {
		fail("linearizable reads", "member %s may read at index %d, but %d was committed before the read began", p.m.id, res.Index, r.floor)
	}
	p.w.coverage.ReadsConfirmed++
	if p.core.Role() != raft.RoleLeader {
		p.w.coverage.FollowerReads++
	} else if p.w.plan.leases && p.w.now < r.began+p.w.plan.latencyLow {
		p.w.coverage.LeaseReads++ // there was no time for a round
	}
	r.index = res.Index
	p.ready = append(p.ready, r)
	p.answerReads()
}

func (p *process) readFailed(id uint64) {
	r := p.asked[id]
	if r == nil {
		fail("reads", "member %s gives up read %d, which it was not asked for", p.m.id, id)
	}
	delete(p.asked, id)
	p.w.coverage.ReadsFailed++
	r.client.answer(p, r.attempt, reply{retry: true, leader: p.core.Leader()})
}

// answerReads answers the reads that the machine has caught up with.
func (p *process) answerReads() {
	kept := p.ready[:0]
	for _, r := range p.ready {
		if p.machine.meta.Index < r.index {
			kept = append(kept, r)
			continue
		}
		answer := result{revision: p.machine.revision}
		if r.past != 0 {
			answer = p.pastValue(r.key, r.past)
		} else {
			answer.value = p.value(r.key)
		}
		r.client.answer(p, r.attempt, reply{result: answer, index: p.machine.meta.Index})
	}
	p.ready = kept
}

// header numbers a client's commands.
func header(s, sequence uint64) session.Header {
	return session.Header{Session: s, Sequence: sequence, Low: sequence}
}

// answerTimeout is how long a client waits for an answer before it asks again.
const answerTimeout = 600 * time.Millisecond
