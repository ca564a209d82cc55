package sim

import (
	"time"

	"github.com/raftkv/raftkv/raft"
)

// network carries messages between hosts. A link is a direction between two hosts; partitions cut links, and a
// leaky phase loses, doubles and delays what passes.
type network struct {
	w      *world
	random *random
	size   int
	cuts   []int           // by from*size+to: how many partitions cut the link
	last   []time.Duration // by from*size+to: when the latest message arrives
	heals  int             // how often everything was healed
	meter  *Meter          // counts what is sent, if it is not nil

	loss, duplication, reordering float64
}

func newNetwork(w *world, size int) network {
	return network{w: w, random: w.root.child(labelNetwork), size: size, cuts: make([]int, size*size), last: make([]time.Duration, size*size)}
}

func (n *network) cut(from, to, by int)    { n.cuts[from*n.size+to] += by }
func (n *network) isCut(from, to int) bool { return n.cuts[from*n.size+to] > 0 }
func (n *network) latency() time.Duration {
	return n.random.between(n.w.plan.latencyLow, n.w.plan.latencyHigh)
}
func (n *network) heal()                       { clear(n.cuts); n.heals++; n.calm() }
func (n *network) calm()                       { n.loss, n.duplication, n.reordering = 0, 0, 0 }
func (n *network) reachable(from, to int) bool { return !n.isCut(from, to) && !n.isCut(to, from) }

// send delivers a message some time later, or never, or twice.
func (n *network) send(p *process, m raft.Message) {
	w := n.w
	if !p.dials(m.To) {
		w.coverage.MessagesToStrangers++
		return
	}
	w.hash.mix(uint64(w.now), uint64(m.Type), uint64(m.From), uint64(m.To), uint64(m.Term), uint64(m.Index),
		uint64(m.LogTerm), uint64(m.Commit), m.Context, uint64(len(m.Entries)))
	if n.meter != nil {
		n.meter.add(m)
	}
	copies := 1
	if n.random.chance(n.loss) {
		copies = 0
		w.coverage.MessagesLost++
	} else if n.random.chance(n.duplication) {
		copies = 2
		w.coverage.MessagesDoubled++
	}
	if w.plan.encode {
		m = w.throughTheWire(m)
	}
	from := p.host.slot
	for range copies {
		at := w.now + n.latency()
		if n.random.chance(n.reordering) {
			at += n.random.between(0, 300*time.Millisecond)
			w.coverage.MessagesDelayed++
		} else if to := w.members[m.To]; to != nil && to.host != nil && (w.plan.ordered || w.healing) {
			// As on one connection, a message does not overtake those before it.
			last := &n.last[from*n.size+to.host.slot]
			at = max(at, *last)
			*last = at
		}
		w.queue.push(at, func() { n.deliver(p, from, m) })
	}
}

func (n *network) deliver(sender *process, from int, m raft.Message) {
	to := n.w.members[m.To]
	if to == nil || to.host == nil || to.host.proc == nil || n.isCut(from, to.host.slot) || !to.host.proc.letsIn(sender) {
		n.w.coverage.MessagesCut++
		// A connection that breaks tells the sender, sometimes.
		if n.random.chance(0.3) && !sender.dead {
			sender.whenRunning(func() {
				sender.core.Unreachable(m.To)
				sender.stepped()
			})
		}
		return
	}
	p := to.host.proc
	p.whenRunning(func() { p.receive(m) })
}

func (w *world) throughTheWire(m raft.Message) raft.Message {
	b, err := m.AppendBinary(nil)
	if err != nil {
		fail("encoding", "%v", err)
	}
	var out raft.Message
	if err := out.UnmarshalBinary(b); err != nil {
		fail("encoding", "%s message: %v", m.Type, err)
	}
	return out
}
