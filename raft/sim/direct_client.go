package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// mostClients bounds the clients of a directed cluster, since each has a generator of its own.
const mostClients = labelHost - labelClient

// Answer is what came of an order.
type Answer struct {
	o *order
}

// Done tells whether it was answered.
func (a *Answer) Done() bool { return a.o.op.known }

// Value is what a read found.
func (a *Answer) Value() uint64 { return a.o.op.result.value }

// Swapped tells whether a swap found what it expected.
func (a *Answer) Swapped() bool { return a.o.op.result.swapped }

// Put tells a client to write a register, at one machine only if at is not zero. The client asks until it is answered.
func (c *Cluster) Put(register int, value uint64, at int) (*Answer, error) {
	return c.order(&operation{kind: opWrite, key: randomKeys + register, value: value}, at)
}

// Swap tells a client to set a register if it holds old.
func (c *Cluster) Swap(register int, old, value uint64, at int) (*Answer, error) {
	return c.order(&operation{kind: opSwap, key: randomKeys + register, value: value, old: old}, at)
}

// Get tells a client to read a register, linearizably.
func (c *Cluster) Get(register int, at int) (*Answer, error) {
	return c.order(&operation{kind: opRead, key: randomKeys + register}, at)
}

// order gives an operation to a client that has nothing to do.
func (c *Cluster) order(op *operation, at int) (*Answer, error) {
	o := &order{op: op}
	if at != 0 {
		o.pinned = c.host(at)
	}
	err := c.do(func() {
		x := c.freeClient()
		x.ordered = o
		op.call = c.w.now
		x.begin()
	})
	return &Answer{o}, err
}

func (c *Cluster) freeClient() *client {
	for _, x := range c.asking {
		if x.ordered.op.known && x.current == nil {
			return x
		}
	}
	x := &client{w: c.w, id: c.clientID()}
	x.random = c.w.root.child(labelClient + uint64(x.id))
	x.openSession()
	c.asking = append(c.asking, x)
	return x
}

func (c *Cluster) clientID() int {
	n := len(c.asking) + len(c.w.clients)
	if n >= mostClients {
		fail("simulation", "more than %d clients", mostClients)
	}
	return n
}

// StartClients lets more clients do random operations on registers of their own; the ones that there are go on.
func (c *Cluster) StartClients(n int) error {
	return c.do(func() {
		for _, x := range c.w.clients {
			if x.idle {
				x.idle = false
				c.w.after(0, func() {
					if x.current == nil {
						x.begin()
					}
				})
			}
		}
		for range n {
			c.w.clients = append(c.w.clients, newClient(c.w, c.clientID()))
		}
	})
}

// StopClients lets random clients end with the operation that they are at.
func (c *Cluster) StopClients() {
	for _, x := range c.w.clients {
		x.idle = true
	}
}

// Waiting counts the random clients that wait for an answer.
func (c *Cluster) Waiting() (n int) {
	for _, x := range c.w.clients {
		if x.current != nil {
			n++
		}
	}
	return n
}

// Finished counts the operations of random clients that were answered; least is how many the slowest of them had answered.
func (c *Cluster) Finished() (all, least int) {
	least = math.MaxInt
	for _, x := range c.w.clients {
		all += x.finished
		least = min(least, x.finished)
	}
	return all, least
}

// submission is a command that was proposed once, at one member.
type submission struct {
	op *operation
	at raft.Position
}

// applied takes the word of the member that it was proposed at.
func (s *submission) applied(now time.Duration, e raft.Entry, r result) {
	if e.Term == s.at.Term {
		s.op.answered(now, reply{result: r, index: e.Index})
	}
}

// Submit proposes a write to the core of one machine, once, and waits for nothing.
func (c *Cluster) Submit(machine, register int, value uint64) error {
	p := c.host(machine).proc
	if p == nil {
		return fmt.Errorf("machine %d does not run", machine)
	}
	cmd := command{kind: opWrite, key: randomKeys + register, value: value}
	return c.ask(func() error {
		index, term, err := p.core.Propose([][]byte{c.w.encodeCommand(cmd)})
		if err != nil {
			return err
		}
		s := &submission{at: raft.Position{Index: index, Term: term}}
		s.op = &operation{kind: opWrite, key: cmd.key, value: value, call: c.w.now}
		c.submissions = append(c.submissions, s)
		p.proposals[index] = waitingProposal{term: term, submitted: s}
		c.w.trace(p, "proposes a write as entry %d", index)
		p.stepped()
		return nil
	})
}

// Check judges what all clients saw: it must be linearizable, and every answered write must be in the committed log.
func (c *Cluster) Check() error {
	return c.do(func() {
		h := history{operations: append([]*operation(nil), c.w.history.operations...)}
		for _, x := range c.asking {
			if x.current != nil && x.current.kind != opOpen {
				h.add(x.current) // it may yet take effect
			}
		}
		for _, x := range c.w.clients {
			if x.current != nil && x.current.kind != opOpen {
				h.add(x.current)
			}
		}
		for _, s := range c.submissions {
			// One that is not committed was never seen by anyone.
			if s.op.known || c.w.oracle.holds(s.at) {
				h.add(s.op)
			}
		}
		h.check()
	})
}

// holds tells whether an entry is committed.
func (o *oracle) holds(at raft.Position) bool {
	return at.Index > o.base && at.Index <= o.committedIndex() && o.at(at.Index).term == at.Term
}
