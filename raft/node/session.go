package node

import (
	"context"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// reopenTicks is how long an answer to the opening of a session is waited for, in ticks.
const reopenTicks = 20 * ticksPerHeartbeat

func (n *Node) sessionID() uint64 {
	n.proposals.mu.Lock()
	defer n.proposals.mu.Unlock()
	return n.proposals.session
}

// openSession opens this process's session. It has none yet, so its answer is known by the nonce; opening twice does
// no harm.
func (n *Node) openSession(leader raft.NodeID) {
	if n.opening {
		return
	}
	command, err := n.cfg.Sessions.Open(n.cfg.Incarnation, n.cfg.Nonce)
	if err != nil {
		n.fail(err)
		return
	}
	data, _ := session.Header{Sequence: n.cfg.Nonce}.AppendBinary(nil)
	data = append(data, command...)
	n.opening, n.openTicks = true, 0
	if leader == n.cfg.ID {
		if n.propose([][]byte{data}) != nil {
			n.opening, n.held = false, true
		}
		return
	}
	era := n.eraContext
	n.wait.Add(1)
	go func() {
		defer n.wait.Done()
		ctx, cancel := context.WithTimeout(era, 2*n.cfg.ElectionTimeout)
		defer cancel()
		if n.cfg.Transport.Forward(ctx, leader, [][]byte{data}) == nil {
			return
		}
		n.requests.put(func() {
			if n.eraContext == era {
				n.opening, n.held = false, true
			}
		}, 0, 0, 0)
	}()
}

// expire gives up the session. Whatever of it comes behind in the log is refused as this entry was, and what came before was
// answered, so its proposals were not applied and may go under a new session. Only where a snapshot took the place of entries
// nobody knows. The caller holds mu.
func (p *proposals) expire(n *Node) {
	var orphans []*proposal
	for x := range p.unanswered() {
		if x.jumped {
			x.answer(nil, ErrUnknown)
			continue
		}
		orphans = append(orphans, x)
	}
	p.session, p.outstanding = 0, 0
	clear(p.sent[:])
	n.requests.put(func() {
		n.log.Warn("the node's session has expired, opening another", "proposals", len(orphans))
		n.opening = false
		for _, x := range orphans {
			n.proposals.unnumber(x)
			x.sends = 0
			x.unclaim()
			n.waitAgain(x)
		}
	}, 0, 0, 0)
}
