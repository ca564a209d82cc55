package sim

import (
	"errors"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
)

// client does one operation after the other on random registers, at whatever member it can reach. It asks again,
// with the same session and sequence, until it is answered, or gives up and goes on under a new session.
type client struct {
	w        *world
	id       int
	random   *random
	nonce    uint64
	session  uint64 // zero: not open yet
	sequence uint64
	revision uint64 // the highest that it has seen
	attempt  uint64 // numbers all that it ever asked
	current  *operation
	since    time.Duration
	leader   int // slot that it believes to lead
	finished int // operations, since faults ended
	idle     bool
	ordered  *order // of a client that does as it is told
}

// order is an operation that a client is told to do, at one member only if it is pinned.
type order struct {
	op     *operation
	pinned *host
	begun  bool
}

// reply is what a client hears from a member.
type reply struct {
	retry  bool // surely nothing came of this attempt
	err    error
	leader raft.NodeID
	result result
	index  raft.Index
}

func newClient(w *world, id int) *client {
	c := &client{w: w, id: id, random: w.root.child(labelClient + uint64(id))}
	c.openSession()
	w.after(c.random.around(time.Second), c.begin)
	return c
}

func (c *client) openSession() {
	c.w.history.nonces++
	c.nonce, c.session, c.sequence = c.w.history.nonces, 0, 0
}

// begin starts an operation.
func (c *client) begin() {
	if c.idle {
		return
	}
	if c.ordered != nil && (c.session != 0 || c.current != nil) {
		c.obey()
		return
	}
	if c.w.readsOnly > 0 && c.session == 0 {
		c.w.after(c.random.around(c.w.plan.think), c.begin)
		return
	}
	op := &operation{session: c.nonce, key: c.random.n(c.w.plan.keys), call: c.w.now, firstAttempt: c.attempt + 1}
	switch {
	case c.session == 0:
		op.kind = opOpen
	case c.w.readsOnly > 0:
		op.kind = opRead
	case c.w.plan.history && c.revision > 1 && c.random.chance(0.12):
		op.kind, op.value = opPast, uint64(c.random.span(1, int(c.revision)))
	case c.w.plan.history && c.random.chance(0.03):
		op.kind = opCompact
		op.value = uint64(c.random.n(int(c.revision) + 3))
		c.sequence++
	case c.random.chance(0.4):
		op.kind = opRead
	case c.random.chance(0.75):
		op.kind = opWrite
	default:
		op.kind = opSwap
		op.old = c.w.history.recentValue(c.random, op.key)
	}
	switch op.kind {
	case opOpen:
		op.value = c.nonce
	case opWrite, opSwap:
		c.sequence++
		op.value = c.w.history.freshValue(op.key)
	}
	c.current, c.since = op, c.w.now
	c.w.coverage.Operations++
	c.ask()
}

// obey does what the client was told to do.
func (c *client) obey() {
	if c.ordered.begun || c.current != nil {
		return
	}
	c.ordered.begun = true
	op := c.ordered.op
	op.session, op.firstAttempt = c.nonce, c.attempt+1
	if op.kind != opRead {
		c.sequence++
	}
	c.current, c.since = op, c.w.now
	c.w.coverage.Operations++
	c.ask()
}

// ask sends the operation to a member.
func (c *client) ask() {
	op := c.current
	c.attempt++
	attempt := c.attempt
	h := c.w.hosts[c.leader]
	if c.random.chance(0.3) {
		h = c.w.hosts[c.random.n(len(c.w.hosts))]
	}
	if c.ordered != nil && c.ordered.pinned != nil && c.ordered.begun {
		h = c.ordered.pinned
	}
	c.w.after(c.random.around(answerTimeout), func() { c.timeout(attempt) })
	if c.random.chance(c.w.net.loss) {
		return
	}
	cmd := command{kind: op.kind, key: op.key, value: op.value, old: op.old}
	if op.kind != opOpen {
		cmd.header = header(c.session, c.sequence)
	}
	c.w.after(c.w.net.latency(), func() {
		if h.proc == nil {
			c.hear(h.slot, attempt, reply{retry: true}) // the connection is refused
			return
		}
		if c.ordered != nil && op.kind != opRead {
			h = c.w.forwards(h)
		}
		h.proc.whenRunning(func() {
			switch op.kind {
			case opRead:
				h.proc.read(c, attempt, op.key, 0)
			case opPast:
				h.proc.read(c, attempt, op.key, op.value)
			default:
				h.proc.propose(c, attempt, cmd)
			}
		})
	})
}

// forwards returns the host of the leader that a member follows, if it can be reached: members hand writes on.
func (w *world) forwards(h *host) *host {
	m := w.members[h.proc.core.Leader()]
	if m == nil || m.host == nil || m.host.proc == nil || !w.net.reachable(h.slot, m.host.slot) {
		return h
	}
	return m.host
}

// answer carries a reply to the client, some time later, or never.
func (c *client) answer(p *process, attempt uint64, r reply) {
	if c.random.chance(c.w.net.loss) {
		return
	}
	slot := p.host.slot
	c.w.after(c.w.net.latency(), func() { c.hear(slot, attempt, r) })
}

func (c *client) hear(slot int, attempt uint64, r reply) {
	op := c.current
	if op == nil {
		return
	}
	if r.retry {
		if attempt == c.attempt {
			c.redirect(r)
		}
		return
	}
	// The answer to an earlier attempt at the same operation is as good as that to the last one.
	if attempt < op.firstAttempt {
		return
	}
	c.leader = slot
	if errors.Is(r.result.refused, kv.ErrExpired) {
		// Nobody knows whether an earlier attempt took effect; this one never will.
		c.w.coverage.SessionsExpired++
		c.finish(op)
		c.openSession()
		return
	}
	op.answered(c.w.now, r)
	c.revision = max(c.revision, r.result.revision)
	if op.kind == opCompact && r.result.refused == nil {
		c.w.coverage.HistoriesCompacted++
	}
	c.finish(op)
}

func (c *client) redirect(r reply) {
	if m := c.w.members[r.leader]; m != nil && m.host != nil {
		c.leader = m.host.slot
	} else {
		c.leader = c.random.n(len(c.w.hosts))
	}
	if errors.Is(r.err, raft.ErrBusy) {
		c.w.coverage.Refused++
	}
	attempt := c.attempt
	c.w.after(c.random.around(30*time.Millisecond), func() {
		if c.current != nil && c.attempt == attempt {
			c.ask()
		}
	})
}

func (c *client) timeout(attempt uint64) {
	if c.current == nil || c.attempt != attempt {
		return
	}
	if c.w.allows(GiveUp) && c.random.chance(0.03) {
		op := c.current
		c.w.coverage.GivenUp++
		c.finish(op)
		c.openSession() // nothing more comes under the old one: its last command may take effect any time
		return
	}
	c.w.coverage.Retries++
	c.leader = c.random.n(len(c.w.hosts))
	c.ask()
}

func (c *client) finish(op *operation) {
	switch op.kind {
	case opOpen:
		c.session = op.result.value
	case opRead, opWrite, opSwap:
		c.w.history.add(op)
	}
	c.current = nil
	c.attempt++
	c.finished++
	c.w.after(c.random.around(c.w.plan.think), c.begin)
}
