package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// ErrNotAppended is wrapped by a Transport.Forward that surely appended nothing.
var ErrNotAppended = errors.New("surely not appended")

const (
	// maxBatchProposals and maxBatchBytes bound what is proposed or forwarded at once.
	maxBatchProposals = 1024
	maxBatchBytes     = 1 << 20
	// sequenceWindow is how far sequences may run ahead of the oldest that is unanswered.
	sequenceWindow = MaxProposals
	// reopenTicks is how long an answer to the opening of a session is waited for, in ticks.
	reopenTicks = 20 * ticksPerHeartbeat
)

// proposal is one command on its way. A proposal may be sent more than once: the state machine applies it once, by
// its session and sequence.
type proposal struct {
	command  []byte
	session  uint64
	sequence uint64
	data     []byte // header and command
	sends    int
	waiting  bool // in Node.waiting

	result any
	err    error
	done   chan struct{}
	// maybe says that it may have been appended somewhere; gone that nobody waits for it any more.
	maybe atomic.Bool
	gone  atomic.Bool
}

// proposals are shared between callers, loop and applier.
type proposals struct {
	queue *queue[*proposal]
	count atomic.Int64
	bytes atomic.Int64

	mu      sync.Mutex
	session uint64
	next    uint64
	low     uint64
	sent    map[uint64]*proposal // numbered in the present session and not answered
}

func (p *proposals) init() {
	p.queue = newQueue[*proposal]()
	p.sent = map[uint64]*proposal{}
	p.next, p.low = 1, 1
}

// Propose replicates a command and returns what the state machine answered when it was applied on this member.
// Any member takes proposals. The errors are those of this package and tell what is known of the outcome.
func (n *Node) Propose(ctx context.Context, command []byte) (any, error) {
	ps := &n.proposals
	size := int64(len(command))
	if size > raft.DefaultMaxEntryBytes-64 {
		n.cfg.Observer.Refused("too-large")
		return nil, ErrTooLarge
	}
	defer func() { ps.count.Add(-1); ps.bytes.Add(-size) }()
	if count, bytes := ps.count.Add(1), ps.bytes.Add(size); count > MaxProposals || (bytes > MaxProposalBytes && count > 1) {
		n.cfg.Observer.Refused("busy")
		return nil, ErrBusy
	}
	p := &proposal{command: command, done: make(chan struct{})}
	ps.queue.put(p, 0, 0, 0)
	reason := ErrUnavailable
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
	case <-n.ctx.Done():
		reason = ErrStopped
	}
	p.gone.Store(true)
	ps.forget(p)
	select {
	case <-p.done: // it was answered meanwhile
		return p.result, p.err
	default:
	}
	if p.maybe.Load() {
		n.cfg.Observer.Refused("unknown")
		return nil, ErrUnknown
	}
	n.cfg.Observer.Refused("unavailable")
	return nil, reason
}

// AppendForwarded appends proposals that another member forwards. It is answered once they are in this leader's
// log; their results reach the proposer through its own copy of the log.
func (n *Node) AppendForwarded(ctx context.Context, data [][]byte) error {
	var err error
	if doErr := n.do(ctx, func() { _, _, err = n.core.Propose(data) }); doErr != nil {
		return doErr
	}
	return err
}

func (p *proposals) forget(x *proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent[x.sequence] == x {
		delete(p.sent, x.sequence)
	}
}

// number gives a proposal its sequence, and tells whether the window has room for it.
func (p *proposals) number(x *proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.low < p.next && p.sent[p.low] == nil {
		p.low++
	}
	if p.session == 0 || p.next-p.low >= sequenceWindow {
		return false
	}
	if x.gone.Load() {
		return true
	}
	x.session, x.sequence = p.session, p.next
	p.next++
	p.sent[x.sequence] = x
	h := session.Header{Session: x.session, Sequence: x.sequence, Low: p.low}
	x.data, _ = h.AppendBinary(make([]byte, 0, len(x.command)+32))
	x.data = append(x.data, x.command...)
	return true
}

func (p *proposals) unnumber(x *proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x.session, x.sequence, x.data = 0, 0, nil
}

// settled tells whether nothing is to be sent for the proposal any more.
func (p *proposal) settled() bool {
	select {
	case <-p.done:
		return true
	default:
		return p.gone.Load()
	}
}

// takeProposals sends what came in, together with what waits.
func (n *Node) takeProposals() {
	for _, p := range n.proposals.queue.take() {
		p.waiting = true
		n.waiting = append(n.waiting, p)
	}
	n.sendWaiting()
}

func (n *Node) tickProposals() {
	if n.opening {
		if n.openTicks++; n.openTicks >= reopenTicks {
			n.opening = false
		}
	}
	n.sendWaiting()
}

// sendWaiting proposes what waits, or forwards it, in batches. What cannot be sent now goes on waiting for a leader.
func (n *Node) sendWaiting() {
	leader := n.core.Leader()
	if len(n.waiting) == 0 || leader == 0 {
		n.dropGone()
		return
	}
	if n.sessionID() == 0 {
		n.openSession(leader)
		return
	}
	for len(n.waiting) > 0 {
		batch, data := n.nextBatch()
		if len(batch) == 0 {
			return
		}
		if !n.sendBatch(leader, batch, data) {
			n.waiting = append(batch, n.waiting...)
			for _, p := range batch {
				p.waiting = true
			}
			return
		}
	}
}

func (n *Node) dropGone() {
	n.waiting = slices.DeleteFunc(n.waiting, func(p *proposal) bool { return p.settled() })
}

// nextBatch takes proposals off the front of those that wait.
func (n *Node) nextBatch() (batch []*proposal, data [][]byte) {
	size, taken := 0, 0
	for _, p := range n.waiting {
		if len(batch) >= maxBatchProposals || (len(batch) > 0 && size+len(p.command) > maxBatchBytes) {
			break
		}
		if !p.settled() && p.sequence == 0 && !n.proposals.number(p) {
			break
		}
		taken++
		p.waiting = false
		if p.settled() || p.sequence == 0 {
			continue
		}
		size += len(p.command)
		batch, data = append(batch, p), append(data, p.data)
	}
	n.waiting = n.waiting[taken:]
	if len(n.waiting) == 0 {
		n.waiting = nil
	}
	return batch, data
}

// sendBatch appends the batch here or forwards it, and returns false when it has to wait.
func (n *Node) sendBatch(leader raft.NodeID, batch []*proposal, data [][]byte) bool {
	if leader == n.cfg.ID {
		if _, _, err := n.core.Propose(data); err != nil {
			return false
		}
		for _, p := range batch {
			p.sends++
			p.maybe.Store(true)
		}
		return true
	}
	if n.forwards >= MaxForwards {
		return false
	}
	fresh := make([]bool, len(batch))
	for i, p := range batch {
		p.sends++
		fresh[i] = !p.maybe.Swap(true)
	}
	n.forwards++
	n.wait.Add(1)
	go func() {
		defer n.wait.Done()
		ctx, cancel := context.WithTimeout(n.ctx, 2*n.cfg.ElectionTimeout)
		defer cancel()
		err := n.cfg.Transport.Forward(ctx, leader, data)
		n.requests.put(func() {
			n.forwards--
			if err != nil {
				n.forwardFailed(batch, fresh, errors.Is(err, ErrNotAppended))
			}
		}, 0, 0, 0)
	}()
	return true
}

// forwardFailed lets a batch wait again: at the next tick it is sent to whoever leads then.
func (n *Node) forwardFailed(batch []*proposal, fresh []bool, surelyNot bool) {
	for i, p := range batch {
		if surelyNot {
			p.sends--
			if fresh[i] {
				p.maybe.Store(false)
			}
		}
		n.waitAgain(p)
	}
}

// waitAgain puts a proposal that was sent back among those that wait, unless it was answered.
func (n *Node) waitAgain(p *proposal) {
	if p.waiting || p.settled() {
		return
	}
	p.waiting = true
	n.waiting = append(n.waiting, p)
}

// resendProposals sends again all that was sent to a leader of the past: it may be lost with its log.
func (n *Node) resendProposals() {
	ps := &n.proposals
	ps.mu.Lock()
	again := make([]*proposal, 0, len(ps.sent))
	for _, p := range ps.sent {
		again = append(again, p)
	}
	ps.mu.Unlock()
	slices.SortFunc(again, func(a, b *proposal) int { return int(int64(a.sequence - b.sequence)) })
	for _, p := range again {
		n.waitAgain(p)
	}
	n.opening = false
}

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
		if _, _, err := n.core.Propose([][]byte{data}); err != nil {
			n.opening = false
		}
		return
	}
	n.wait.Add(1)
	go func() {
		defer n.wait.Done()
		ctx, cancel := context.WithTimeout(n.ctx, 2*n.cfg.ElectionTimeout)
		defer cancel()
		if err := n.cfg.Transport.Forward(ctx, leader, [][]byte{data}); err != nil {
			n.requests.put(func() { n.opening = false }, 0, 0, 0)
		}
	}()
}

// resolve answers the proposals of this process among the applied entries. It runs in the applier.
func (p *proposals) resolve(n *Node, entries []raft.Entry, results []any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range entries {
		if entries[i].Type != raft.EntryNormal {
			continue
		}
		h, _, err := session.Decode(entries[i].Data)
		if err != nil {
			continue
		}
		if h.Session == 0 && h.Sequence == n.cfg.Nonce {
			if id, ok := n.cfg.Sessions.Opened(results[i]); ok && p.session == 0 {
				p.session, p.next, p.low = id, 1, 1
				n.requests.put(func() { n.opening = false }, 0, 0, 0)
			}
			continue
		}
		if h.Session != p.session || h.Session == 0 {
			continue
		}
		x := p.sent[h.Sequence]
		if n.cfg.Sessions.Expired(results[i]) {
			p.expire(n)
			continue
		}
		if x != nil {
			delete(p.sent, h.Sequence)
			x.result = results[i]
			close(x.done)
		}
	}
}

// expire gives up the session. What was sent once was surely refused with it and may go under a new one; of what
// was sent more often the outcome is unknown.
func (p *proposals) expire(n *Node) {
	orphans := make([]*proposal, 0, len(p.sent))
	for _, x := range p.sent {
		orphans = append(orphans, x)
	}
	slices.SortFunc(orphans, func(a, b *proposal) int { return int(int64(a.sequence - b.sequence)) })
	p.session = 0
	clear(p.sent)
	n.requests.put(func() {
		n.log.Warn("the node's session has expired, opening another", "proposals", len(orphans))
		n.opening = false
		for _, x := range orphans {
			if x.sends > 1 {
				x.err = ErrUnknown
				close(x.done)
				continue
			}
			n.proposals.unnumber(x)
			x.sends = 0
			x.maybe.Store(false)
			n.waitAgain(x)
		}
	}, 0, 0, 0)
}
