package node

import (
	"context"
	"errors"
	"iter"
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
	// sequenceWindow is how far sequences may run ahead of the oldest that is unanswered; sentPlaces is above it and a power of two.
	sequenceWindow = MaxProposals
	sentPlaces     = 8192
	// headerRoomBytes is room for a session's header in front of a command.
	headerRoomBytes = 32
)

// What is known of a proposal. The loop says that it is sent before it sends it, and the caller that it has given up: whoever is
// first decides, so that nobody is told "surely not applied" of what is sent a moment later.
const (
	fateUnsent   = iota // surely in no log
	fateSent            // it may be in a log
	fateGivenUp         // nobody waits for it, nothing more is sent
	fateAnswered        // its caller has the answer, or will in a moment
)

// proposal is one command on its way. A proposal may be sent more than once: the state machine applies it once, by
// its session and sequence.
type proposal struct {
	command []byte
	fate    atomic.Uint32
	result  any
	err     error
	// done has room for one word, that result and err are there. One of a batch tells its group instead.
	done  chan struct{}
	group *group
	// owned says that the session is its proposer's own: session, sequence and data are set for good.
	owned bool
	// term is that of the only leader whose log it may be appended to, by that leader itself; zero means any.
	term raft.Term

	// Guarded by proposals.mu, and changed by the loop alone, which reads them without it.
	session  uint64
	sequence uint64
	data     []byte // header and command
	// jumped says that a snapshot has taken the place of entries, it may have been among them. Guarded by proposals.mu.
	jumped bool
	// twin is another that waits for the result of the same sequence of the same session. Guarded by proposals.mu.
	twin *proposal

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
func (p *proposal) settled() bool { return p.fate.Load() >= fateGivenUp }

// answer tells the caller, unless it was told before. The caller of answer holds proposals.mu.
func (p *proposal) answer(result any, err error) {
	if p.fate.Load() == fateAnswered {
		return
	}
	p.result, p.err = result, err
	p.fate.Store(fateAnswered)
	if p.group != nil {
		p.group.answered()
		return
	}
	p.done <- struct{}{}
}

// doneChannels are those from which the one word was taken.
var doneChannels = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// proposals are shared between callers, loop and applier.
type proposals struct {
	queue *queue[*proposal]
	count atomic.Int64
	bytes atomic.Int64
	// stopping refuses what comes; left is told when nothing waits for an answer any more.
	stopping atomic.Bool
	left     chan struct{}

	mu      sync.Mutex
	session uint64
	next    uint64
	low     uint64
	// sent are those that were numbered in the present session and not answered, each at its sequence modulo sentPlaces.
	sent [sentPlaces]*proposal
	// outstanding is the number of those in sent.
	outstanding int
	// owned are those of other sessions that are not answered.
	owned map[mark]*proposal
}

func (p *proposals) init(wake chan struct{}) {
	p.queue = newQueue[*proposal](wake)
	p.left = newWake()
	p.next, p.low = 1, 1
	p.owned = map[mark]*proposal{}
}

// Propose replicates a command and returns what the state machine answered when it was applied on this member.
// Any member takes proposals. The errors are those of this package and tell what is known of the outcome.
func (n *Node) Propose(ctx context.Context, command []byte) (any, error) {
	return n.proposeFor(ctx, 0, command)
}

// ProposeInTerm is Propose for what holds only as long as this member leads that term, such as what it has decided by its own clock: it is
// neither forwarded nor, once another term has begun, appended here. Its caller is told of that as soon as a leader is known.
func (n *Node) ProposeInTerm(ctx context.Context, term raft.Term, command []byte) (any, error) {
	if term == 0 {
		return nil, ErrUnavailable // in which nobody leads
	}
	return n.proposeFor(ctx, term, command)
}

func (n *Node) proposeFor(ctx context.Context, term raft.Term, command []byte) (any, error) {
	ps := &n.proposals
	size := int64(len(command))
	if size > raft.DefaultMaxEntryBytes-64 {
		n.cfg.Observer.Refused("too-large")
		return nil, ErrTooLarge
	}
	count, bytes := ps.count.Add(1), ps.bytes.Add(size)
	defer ps.leave(1, size)
	if count > MaxProposals || (bytes > MaxProposalBytes && count > 1) {
		n.cfg.Observer.Refused("busy")
		return nil, ErrBusy
	}
	if ps.stopping.Load() {
		n.cfg.Observer.Refused("unavailable")
		return nil, ErrStopped
	}
	p := &proposal{command: command, term: term, done: doneChannels.Get().(chan struct{})}
	if !ps.queue.add(p, 0, 0, 0) {
		n.cfg.Observer.Refused("unavailable")
		return nil, ErrStopped
	}
	if count == 1 {
		n.hasten(true)
	} else {
		poke(n.wake)
	}
	n.await(ctx, p)
	n.countRefusal(p.err)
	return p.result, p.err
}

func (n *Node) countRefusal(err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknown):
		n.cfg.Observer.Refused("unknown")
	default:
		n.cfg.Observer.Refused("unavailable")
	}
}

// await returns when the proposal was answered, or its caller has given up and that is the answer.
func (n *Node) await(ctx context.Context, p *proposal) {
	select {
	case <-p.done:
		doneChannels.Put(p.done)
		return
	case <-ctx.Done():
	}
	maybe := p.giveUp()
	n.proposals.forget(p)
	select {
	case <-p.done: // it was answered meanwhile
		return
	default:
	}
	if p.err = ErrUnavailable; maybe {
		p.err = ErrUnknown
	}
}

// leave is the end of a Propose.
func (p *proposals) leave(count int, size int64) {
	p.bytes.Add(-size)
	if p.count.Add(-int64(count)) == 0 && p.stopping.Load() {
		poke(p.left)
	}
}

// drained is told, once stopping is set, when nothing waits for an answer.
func (p *proposals) drained() <-chan struct{} {
	if p.count.Load() == 0 {
		poke(p.left)
	}
	return p.left
}

// end answers everyone who waits: nothing more is sent.
func (n *Node) end() {
	n.ended = true
	ps := &n.proposals
	rest := ps.queue.close()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	rest = slices.AppendSeq(append(rest, n.waiting...), ps.everyone())
	for _, x := range rest {
		switch x.fate.Load() {
		case fateUnsent:
			x.answer(nil, ErrStopped)
		case fateSent:
			x.answer(nil, ErrUnknown)
		}
	}
}

func (p *proposals) forget(x *proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetOne(x)
}

// forgetOne is forget for who holds mu.
func (p *proposals) forgetOne(x *proposal) {
	if x.owned {
		p.forgetOwned(x)
		return
	}
	if at := p.place(x.sequence); *at == x {
		*at = nil
		p.outstanding--
	}
}

// place is where the proposal of a sequence is kept.
func (p *proposals) place(sequence uint64) **proposal { return &p.sent[sequence%sentPlaces] }

// take removes and returns the proposal of a sequence of the present session; nil when it was answered. The caller holds mu.
func (p *proposals) take(sequence uint64) *proposal {
	at := p.place(sequence)
	x := *at
	if x == nil || x.sequence != sequence {
		return nil
	}
	*at = nil
	p.outstanding--
	return x
}

// unanswered are the proposals in sent, by their sequence. The caller holds mu.
func (p *proposals) unanswered() iter.Seq[*proposal] {
	return func(yield func(*proposal) bool) {
		for sequence := p.low; sequence < p.next; sequence++ {
			if x := *p.place(sequence); x != nil && !yield(x) {
				return
			}
		}
	}
}

// everyone is unanswered with those of other sessions than the node's. The caller holds mu.
func (p *proposals) everyone() iter.Seq[*proposal] {
	return func(yield func(*proposal) bool) {
		for x := range p.unanswered() {
			if !yield(x) {
				return
			}
		}
		for _, first := range p.owned {
			for x := first; x != nil; x = x.twin {
				if !yield(x) {
					return
				}
			}
		}
	}
}

// number gives a proposal its sequence, and tells whether the window has room for it. The caller holds mu.
func (p *proposals) number(x *proposal) bool {
	for p.low < p.next && *p.place(p.low) == nil {
		p.low++
	}
	if p.session == 0 || p.next-p.low >= sequenceWindow {
		return false
	}
	x.session, x.sequence = p.session, p.next
	p.next++
	*p.place(x.sequence) = x
	p.outstanding++
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
	sent := 0
	for sent < len(n.waiting) && (leader == n.cfg.ID || n.forwards < MaxForwards) {
		places := n.sendSome(leader, n.waiting[sent:])
		if places == 0 {
			break
		}
		sent += places
	}
	for _, p := range n.waiting[:sent] {
		p.waiting = false
	}
	n.waiting = slices.Delete(n.waiting, 0, sent)
}

// sendSome sends a batch of what waits, and returns how many of them need not wait any more.
func (n *Node) sendSome(leader raft.NodeID, waiting []*proposal) (places int) {
	places = n.nextBatch(waiting)
	if len(n.batch) > 0 && !n.sendBatch(leader) {
		for _, p := range n.batch {
			if p.sends == 0 {
				p.unclaim()
			}
		}
		places = 0
	}
	clear(n.batch)
	clear(n.batchData)
	return places
}

// nextBatch numbers and claims proposals at the front of those that wait, and tells how many places it has looked at.
func (n *Node) nextBatch(waiting []*proposal) (places int) {
	ps := &n.proposals
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n.batch, n.batchData = n.batch[:0], n.batchData[:0]
	size := 0
	for _, p := range waiting {
		if len(n.batch) >= maxBatchProposals || (len(n.batch) > 0 && size+len(p.command) > maxBatchBytes) {
			break
		}
		if n.tooLate(p) {
			ps.refuse(p)
		}
		if !p.settled() {
			if p.sequence == 0 && !ps.number(p) {
				break
			}
			if p.claim() {
				size += len(p.command)
				n.batch, n.batchData = append(n.batch, p), append(n.batchData, p.data)
			}
		}
		places++
	}
	return places
}

// tooLate tells whether a proposal is for another term, or for another leader of this one.
func (n *Node) tooLate(p *proposal) bool {
	return p.term != 0 && (p.term != n.core.Term() || n.core.Leader() != n.cfg.ID)
}

// refuse answers a proposal that must not be sent (again). The caller holds mu.
func (p *proposals) refuse(x *proposal) {
	switch x.fate.Load() {
	case fateUnsent:
		x.answer(nil, ErrUnavailable)
	case fateSent:
		x.answer(nil, ErrUnknown)
	}
	p.forgetOne(x)
}

// sendBatch appends the batch here or forwards it, and returns false when it has to wait.
func (n *Node) sendBatch(leader raft.NodeID) bool {
	if leader != n.cfg.ID {
		n.forward(leader, slices.Clone(n.batch), slices.Clone(n.batchData))
		return true
	}
	if err := n.propose(n.batchData); err != nil {
		n.held = true
		return false
	}
	for _, p := range n.batch {
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
	first, _, err := n.core.Propose(data)
	if err == nil && len(data) > 0 {
		n.markCommit(first + raft.Index(len(data)) - 1)
	}
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
	again := slices.Collect(ps.everyone())
	ps.mu.Unlock()
	for _, p := range again {
		n.waitAgain(p)
	}
	n.opening, n.held = false, false
	poke(n.wake)
}

// resolve answers the proposals of this process among the applied entries. It runs in the applier.
func (p *proposals) resolve(n *Node, entries []raft.Entry, results []any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != 0 && p.outstanding == 0 && len(p.owned) == 0 {
		return // nobody waits, and no session is being opened
	}
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
			p.resolveOwned(h, results[i], n.cfg.Sessions.Expired(results[i]))
			continue
		}
		if n.cfg.Sessions.Expired(results[i]) {
			p.expire(n)
			continue
		}
		if x := p.take(h.Sequence); x != nil {
			x.answer(results[i], nil)
		}
	}
}

// jump notes that a snapshot has taken the place of entries whose results are not known here.
func (p *proposals) jump() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.everyone() {
		x.jumped = true
	}
}
