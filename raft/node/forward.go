package node

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
)

// forward is one batch on its way to the leader. session is the node's.
type forward struct {
	session uint64
	batch   []*proposal
}

// forward hands a batch to the leader.
func (n *Node) forward(leader raft.NodeID, batch []*proposal, data [][]byte) {
	f := &forward{session: sessionOf(batch), batch: batch}
	for _, p := range batch {
		p.sends++
		p.last = f
	}
	n.forwards++
	era := n.eraContext
	n.wait.Add(1)
	go func() {
		defer n.wait.Done()
		ctx, cancel := context.WithTimeout(era, 2*n.cfg.ElectionTimeout)
		defer cancel()
		err := n.cfg.Transport.Forward(ctx, leader, data)
		n.requests.put(func() {
			n.forwards--
			if err != nil {
				n.held = n.held || n.eraContext == era
				n.forwardFailed(f, errors.Is(err, ErrNotAppended))
			}
		}, 0, 0, 0)
	}()
}

// forwardFailed lets a batch wait again, but for what was sent elsewhere meanwhile.
func (n *Node) forwardFailed(f *forward, surelyNot bool) {
	for _, p := range f.batch {
		if !p.owned && p.session != f.session {
			continue // its session has ended, and with it all that was known of its sends
		}
		if surelyNot {
			if p.sends--; p.sends == 0 {
				p.unclaim()
			}
		}
		if p.last == f {
			n.waitAgain(p)
		}
	}
}

// beginEra ends what is on its way to a leader of the past: its answer would be waited for in vain.
func (n *Node) beginEra() {
	if n.endEra != nil {
		n.endEra()
	}
	n.eraContext, n.endEra = context.WithCancel(n.ctx)
}

// AppendForwarded appends proposals that another member forwards. It is answered once they are in this leader's
// log; their results reach the proposer through its own copy of the log. With an error, whichever it is, nothing was appended and nothing will be.
func (n *Node) AppendForwarded(ctx context.Context, data [][]byte) error {
	var err error
	doErr := n.do(ctx, func() {
		if ctx.Err() == nil { // the proposer has sent it again by now
			err = n.propose(data)
		} else {
			err = ctx.Err()
		}
	})
	if doErr != nil {
		return doErr
	}
	return err
}
