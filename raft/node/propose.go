package node

import (
	"cmp"
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
	// headerRoomBytes is room for a session's header in front of a command.
	headerRoomBytes = 32
)

// What is known of a proposal. The loop says that it is sent before it sends it, and the caller that it has given up: whoever is
// first decides, so that nobody is told "surely not applied" of what is sent a moment later.
const (
	fateUnsent  = iota // surely in no log
	fateSent           // it may be in a log
	fateGivenUp        // nobody waits for it, nothing more is sent
)

// proposal is one command on its way. A proposal may be sent more than once: the state machine applies it once, by
// its session and sequence.
type proposal struct {
	command []byte
	fate    atomic.Uint32
	result  any
	err     error
	done    chan struct{}

	// Guarded by proposals.mu, and changed by the loop alone, which reads them without it.
	session  uint64
	sequence uint64
	data     []byte // header and command
	// jumped says that a snapshot has taken the place of entries, it may have been among them. Guarded by proposals.mu.
	jumped bool

	// The loop owns these.
	waiting bool     // in Node.waiting
	sends   int      // under the present sequence, without those that surely appended nothing
	last    *forward // the latest send, nil when it was appended here
}

// claim is called before a proposal is sent; false says that it must not be, since nobody waits for it.
func (p *proposal) claim() bool {
	return p.fate.CompareAndSwap(fateUnsent, fateSent) || p.fate.Load() == fateSent
}

// unclaim says that nothing that was sent is in a log.
func (p *proposal) unclaim() { p.fate.CompareAndSwap(fateSent, fateUnsent) }

// giveUp tells whether the proposal may be in a log. Nothing more is sent for it.
func (p *proposal) giveUp() (maybe bool) { return p.fate.Swap(fateGivenUp) == fateSent }

// settled tells whether nothing is to be sent for the proposal any more.
func (p *proposal) settled() bool {
	select {
	case <-p.done:
		return true
	default:
		return p.fate.Load() == fateGivenUp
	}
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
	if n.ctx.Err() != nil {
		n.cfg.Observer.Refused("unavailable")
		return nil, ErrStopped
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
	maybe := p.giveUp()
	ps.forget(p)
	select {
	case <-p.done: // it was answered meanwhile
		return p.result, p.err
	default:
	}
	if maybe {
		n.cfg.Observer.Refused("unknown")
		return nil, ErrUnknown
	}
	n.cfg.Observer.Refused("unavailable")
	return nil, reason
}

func (p *proposals) forget(x *proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent[x.sequence] == x {
		delete(p.sent, x.sequence)
	}
}

// number gives a proposal its sequence, and tells whether the window has room for it. The caller holds mu.
func (p *proposals) number(x *proposal) bool {
	for p.low < p.next && p.sent[p.low] == nil {
		p.low++
	}
	if p.session == 0 || p.next-p.low >= sequenceWindow {
		return false
	}
	x.session, x.sequence = p.session, p.next
	p.next++
	p.sent[x.sequence] = x
	h := session.Header{Session: x.session, Sequence: x.sequence, Low: p.low}
	x.data, _ = h.AppendBinary(make([]byte, 0, len(x.command)+headerRoomBytes))
	x.data = append(x.data, x.command...)
	return true
}

// unnumber takes a proposal's sequence away: its session has ended.
func (p *proposals) unnumber(x *proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x.session, x.sequence, x.data = 0, 0, nil
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
	n.held = false
	if n.opening {
		if n.openTicks++; n.openTicks >= reopenTicks {
			n.opening = false
		}
	}
	n.waiting = slices.DeleteFunc(n.waiting, func(p *proposal) bool { return p.settled() })
}

// sendWaiting proposes what waits, or forwards it, in batches. What cannot be sent now goes on waiting for a leader.
// After a refusal nothing is tried before the next tick, so that a leader that cannot take it is not asked all the time.
func (n *Node) sendWaiting() {
	leader := n.core.Leader()
	if len(n.waiting) == 0 || leader == 0 || n.held {
		return
	}
	if n.sessionID() == 0 {
		n.openSession(leader)
		return
	}
	for len(n.waiting) > 0 && (leader == n.cfg.ID || n.forwards < MaxForwards) {
		batch, data, places := n.nextBatch()
		if places == 0 {
			return
		}
		if len(batch) > 0 && !n.sendBatch(leader, batch, data) {
			for _, p := range batch {
				if p.sends == 0 {
					p.unclaim()
				}
			}
			return
		}
		for _, p := range n.waiting[:places] {
			p.waiting = false
		}
		clear(n.waiting[:places])
		if n.waiting = n.waiting[places:]; len(n.waiting) == 0 {
			n.waiting = nil
		}
	}
}

// nextBatch numbers and claims proposals at the front of those that wait, and tells how many places it has looked at.
func (n *Node) nextBatch() (batch []*proposal, data [][]byte, places int) {
	ps := &n.proposals
	ps.mu.Lock()
	defer ps.mu.Unlock()
	size := 0
	for _, p := range n.waiting {
		if len(batch) >= maxBatchProposals || (len(batch) > 0 && size+len(p.command) > maxBatchBytes) {
			break
		}
		if !p.settled() {
			if p.sequence == 0 && !ps.number(p) {
				break
			}
			if p.claim() {
				size += len(p.command)
				batch, data = append(batch, p), append(data, p.data)
			}
		}
		places++
	}
	return batch, data, places
}

// sendBatch appends the batch here or forwards it, and returns false when it has to wait.
func (n *Node) sendBatch(leader raft.NodeID, batch []*proposal, data [][]byte) bool {
	if leader != n.cfg.ID {
		n.forward(leader, batch, data)
		return true
	}
	if err := n.propose(data); err != nil {
		n.held = true
		return false
	}
	for _, p := range batch {
		p.sends++
		p.last = nil
	}
	return true
}

// propose appends to the leader's log, unless that is full: proposals of other members are not bounded by what waits here.
func (n *Node) propose(data [][]byte) error {
	if n.logFull() {
		return raft.ErrBusy
	}
	_, _, err := n.core.Propose(data)
	return err
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
	slices.SortFunc(again, func(a, b *proposal) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, p := range again {
		n.waitAgain(p)
	}
	n.opening, n.held = false, false
	n.proposals.queue.poke()
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
				n.requests.put(func() { n.opening, n.held = false, false }, 0, 0, 0)
			}
			continue
		}
		if h.Session != p.session || h.Session == 0 {
			continue
		}
		if n.cfg.Sessions.Expired(results[i]) {
			p.expire(n)
			continue
		}
		if x := p.sent[h.Sequence]; x != nil {
			delete(p.sent, h.Sequence)
			x.result = results[i]
			close(x.done)
		}
	}
}

// jump notes that a snapshot has taken the place of entries whose results are not known here.
func (p *proposals) jump() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.sent {
		x.jumped = true
	}
}
