package raft

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft/tracker"
)

// Core is the consensus algorithm of one member as a state machine: inputs go in by its methods, TakeEffects
// gives what is to be done. It has no goroutine, clock, lock or I/O; one goroutine at a time may use it.
type Core struct {
	cfg Config
	id  NodeID

	role   Role // never RoleLearner: see Role
	term   Term
	vote   NodeID
	leader NodeID
	log    memLog

	commit  Index
	handed  Index // committed entries handed out for apply
	applied Index // reported applied
	// applying are the batches between applied and handed, for the bound of their bytes.
	applying      []applyBatch
	applyingBytes int

	memberships history[Membership]
	versions    history[uint32] // feature levels of the cluster
	electorate  electorate      // of the membership in force
	isVoter     bool            // in either configuration

	// seq numbers store requests; storedSeq is the last one reported. A message of the present term
	// waits in gated until request hardSeq, which carries term and vote, is stored (Figure 2).
	seq, storedSeq, hardSeq uint64
	hardDirty               bool
	install                 *SnapshotMeta
	gated                   []gatedMessage

	// follower
	verified        Index // up to here the log is known to equal the log of this term's leader
	ackPending      bool
	electionElapsed int
	electionTimeout int
	leaderGone      bool // the timeout is short since the leader's process has ended

	// candidate
	votes map[NodeID]bool

	// now counts the ticks of elections, heartbeats and deadlines; clock counts all that have passed, see Advance.
	now, clock uint64
	promise    promise
	quietUntil uint64 // tick of the clock, see Initial.QuietTicks

	// leader
	promises         map[NodeID]uint64 // tick of the clock up to which each follower withholds its vote
	leaseGivenUp     bool
	heartbeatElapsed int
	progress         map[NodeID]*tracker.Progress
	peers            []NodeID // keys of progress, sorted
	uncommittedBytes int
	transferTo       NodeID
	transferDeadline uint64
	transferTrigger  string
	nextRelief       uint64 // tick from which on a stalled disk is reason to hand over again
	reads            leaderReads

	asked []askedRead // reads that this follower asked its leader

	out      Effects
	spent    Effects // those taken last, whose arrays are used again
	requests []StoreRequest
}

type applyBatch struct {
	last  Index
	bytes int
}

type gatedMessage struct {
	seq uint64
	msg Message
}

// Config is fixed for the life of a Core.
type Config struct {
	ID NodeID
	// ElectionTicks is the least number of ticks without a leader's word before an election; the
	// actual timeout is drawn from [ElectionTicks, 2*ElectionTicks) (§5.2).
	ElectionTicks int
	// HeartbeatTicks is the number of ticks between heartbeats of a leader.
	HeartbeatTicks int
	// Random returns a number in [0, n). It is the core's only source of randomness.
	Random func(n int) int
	// Limits default to the Default* constants when zero.
	MaxEntryBytes       int // a proposal's data
	MaxAppendBytes      int // entries' bytes in one append message, which carries at least one entry
	MaxInflightMessages int // append messages to one follower that were not answered
	MaxInflightBytes    int // their entries' bytes
	MaxUncommittedBytes int // proposals that are not committed; past it they are refused
	MaxApplyBytes       int // committed entries handed out that were not reported applied
	MaxPendingReads     int // reads that wait for a round
	// StorageStallTicks is how long a write to stable storage may take. Past it a leader hands over, and a member does not
	// stand for election. Zero means 4 * ElectionTicks.
	StorageStallTicks int
	// LeaseReads lets this member answer reads without a round as a leader, and make the promises that this takes as a
	// follower. It rests on clocks: ClockDriftPercent bounds by how much those of two members may disagree over an election
	// timeout (zero means DefaultClockDriftPercent), and TickMicros says how long a tick is, in microseconds.
	LeaseReads        bool
	ClockDriftPercent int
	TickMicros        int
}

// Limits that hold where Config names none.
const (
	DefaultMaxEntryBytes       = 8 << 20
	DefaultMaxAppendBytes      = 1 << 20
	DefaultMaxInflightMessages = 256
	DefaultMaxInflightBytes    = 16 << 20
	DefaultMaxUncommittedBytes = 64 << 20
	DefaultMaxApplyBytes       = 16 << 20
	DefaultMaxPendingReads     = 16384
)

// requestBlock is how many store requests are allocated at once.
const requestBlock = 16

// maxGatedReads bounds the questions for a read index that wait for a slow disk.
const maxGatedReads = 64

// PromoteLagEntries is how many entries a learner may lack when it is promoted (thesis §4.2.1).
const PromoteLagEntries = 1024

// Position names one entry by index and term.
type Position struct {
	Index Index
	Term  Term
}

// Initial is what a member finds on its disk when it starts.
type Initial struct {
	HardState HardState
	// Applied describes the state machine: all up to and including its index is in it.
	Applied SnapshotMeta
	// LogStart is the position just before the first entry of Entries; zero when the log is whole.
	LogStart Position
	// Entries are contiguous from LogStart.Index+1. They reach at least to Applied.Index, or LogStart does.
	Entries []Entry
	// QuietTicks is for how long after the start the member neither votes nor stands, since a process of it that ran before
	// may have promised that (Config.LeaseReads). With LeaseReads it is at least an election timeout. Who turns LeaseReads
	// off, or shortens the election timeout, gives the longest timeout that promises were made with here, once.
	QuietTicks int
}

// StoreRequest is one write to stable storage. Requests are stored in the order of their Seq.
// Many may be stored by one sync; then only the last needs to be reported.
type StoreRequest struct {
	Seq uint64
	// HardState is to be stored when it is not nil.
	HardState *HardState
	// Snapshot, when it is not nil, is a staged snapshot to install: the state machine takes it over and
	// the log starts anew behind it, unless it holds an entry of the same index and term, after which
	// entries are kept. It comes before Entries.
	Snapshot *SnapshotMeta
	// Entries replace everything stored at or after the index of the first of them.
	Entries []Entry
	// done is what to report.
	done Stored
}

// Done returns what to report to Core.Stored when the request is on stable storage.
func (r *StoreRequest) Done() Stored { return r.done }

// Stored reports that all requests up to and including Seq are on stable storage. Term is the core's
// term when the request was made, Last the last entry of the log then.
type Stored struct {
	Seq  uint64
	Term Term
	Last Position
}

// ReadResult says that the read ID may be answered from a state that has applied Index.
type ReadResult struct {
	ID    uint64
	Index Index
}

// Effects is what the core wants done. Store, Messages and Committed may be worked on in parallel:
// what must wait for the store is not in them yet.
//
// The slices Messages, Reads, FailedReads, Transitions and SendSnapshots are the caller's until the next TakeEffects, which
// uses their arrays again. Store, Committed and the entries of requests and messages are the caller's for good. Nothing of
// it may be changed.
type Effects struct {
	Store *StoreRequest
	// Messages may be sent at once and in any order.
	Messages []Message
	// Committed entries are to be applied in order; each is handed out once. They are all in stable
	// storage of this member.
	Committed []Entry
	// Reads may be answered; FailedReads lost their leader and may be asked again.
	Reads       []ReadResult
	FailedReads []uint64
	// Transitions are the role changes since the last effects, oldest first.
	Transitions []Transition
	// SendSnapshots names followers that need a snapshot; report how it went by SnapshotSent.
	SendSnapshots []NodeID
}

// Transition is a change of role, and what brought it about.
type Transition struct {
	From, To Role
	Term     Term
	Trigger  string
}

// Errors of proposals, reads and changes. All mean "surely not appended"; all but ErrTooLarge also "ask again, maybe
// elsewhere".
var (
	ErrNotLeader    = errors.New("this member is not the leader")
	ErrNoLeader     = errors.New("no leader is known")
	ErrTransferring = errors.New("leadership is being handed over")
	ErrBusy         = errors.New("too many proposals or reads are waiting")
	ErrTooLarge     = errors.New("the proposal is larger than an entry may be")
	// ErrConfigMoved says that the configuration index of the precondition is not the current one.
	ErrConfigMoved = errors.New("the membership has changed meanwhile")
	// ErrChangePending says that an earlier change, or the first entry of the term, is not committed yet.
	ErrChangePending = errors.New("an earlier membership change is not committed yet")
	// ErrNotCaughtUp says that the learner to be promoted lacks too many entries.
	ErrNotCaughtUp = errors.New("the learner has not caught up yet")
	// ErrTransferRefused is wrapped by every reason for which leadership is not handed over.
	ErrTransferRefused = errors.New("leadership stays here")
	// ErrJointVersion says that a change moves more than one vote before all members are known to read what that takes.
	ErrJointVersion = fmt.Errorf("a change of more than one vote needs cluster version %d, which is reached when every member runs a build that has it: "+
		"move one vote at a time until then", JointVersion)
	// ErrUnsafeChange says that the active voters would fall below a quorum.
	ErrUnsafeChange = errors.New("the active voters would fall below a quorum")
)

// New returns the core of a member that starts from what its disk holds. An error means that the pieces do not
// fit together; nothing may be done with such a disk but ask a person.
func New(cfg Config, init Initial) (*Core, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, id: cfg.ID, votes: map[NodeID]bool{}, progress: map[NodeID]*tracker.Progress{}}
	for i, e := range init.Entries {
		if want := init.LogStart.Index + 1 + Index(i); e.Index != want {
			return nil, fmt.Errorf("raft: the log has entry %d where %d should be", e.Index, want)
		}
	}
	c.log = newMemLog(init.LogStart, init.Entries)
	last := c.log.last()
	at := init.Applied
	switch {
	case at.Index < init.LogStart.Index:
		return nil, fmt.Errorf("raft: the state machine has applied up to %d, but the log starts behind %d: entries are missing between them", at.Index, init.LogStart.Index)
	case at.Index > last.Index:
		return nil, fmt.Errorf("raft: the state machine has applied up to %d, but the log ends at %d: the log has lost entries", at.Index, last.Index)
	case !c.log.has(Position{at.Index, at.Term}):
		t, _ := c.log.term(at.Index)
		return nil, fmt.Errorf("raft: the state machine has applied entry %d of term %d, the log has it with term %d", at.Index, at.Term, t)
	}
	c.term, c.vote = init.HardState.Term, init.HardState.Vote
	if last.Term > c.term {
		c.term, c.vote = last.Term, 0
		c.hardDirty = true
	}
	c.commit, c.handed, c.applied = at.Index, at.Index, at.Index
	c.memberships = historyOf(at.Membership.Index, at.Membership)
	c.versions = historyOf(at.Index, at.ClusterVersion)
	if err := c.noteConfigurations(c.log.slice(at.Index+1, last.Index)); err != nil {
		return nil, err
	}
	c.membershipChanged()
	c.resetElectionTimer()
	if init.HardState.Term > 0 {
		c.quietUntil = uint64(init.QuietTicks)
		if cfg.LeaseReads {
			c.quietUntil = max(c.quietUntil, uint64(cfg.ElectionTicks)+1)
		}
	}
	return c, nil
}

func (cfg *Config) complete() error {
	switch {
	case cfg.ID == 0:
		return errors.New("raft: a member needs an ID")
	case cfg.Random == nil:
		return errors.New("raft: Config.Random is missing")
	case cfg.HeartbeatTicks < 1:
		return fmt.Errorf("raft: %d heartbeat ticks, at least 1 is needed", cfg.HeartbeatTicks)
	case cfg.ElectionTicks <= cfg.HeartbeatTicks:
		return fmt.Errorf("raft: %d election ticks must be more than %d heartbeat ticks", cfg.ElectionTicks, cfg.HeartbeatTicks)
	}
	if cfg.ClockDriftPercent < 0 || cfg.ClockDriftPercent > MaxClockDriftPercent {
		return fmt.Errorf("raft: a clock drift of %d %%, from 1 to %d is possible", cfg.ClockDriftPercent, MaxClockDriftPercent)
	}
	if cfg.LeaseReads && cfg.TickMicros < 1 {
		return fmt.Errorf("raft: lease reads need to know how long a tick is, and %d microseconds is too short", cfg.TickMicros)
	}
	for _, limit := range []struct {
		value  *int
		preset int
	}{
		{&cfg.StorageStallTicks, 4 * cfg.ElectionTicks},
		{&cfg.ClockDriftPercent, DefaultClockDriftPercent},
		{&cfg.MaxEntryBytes, DefaultMaxEntryBytes},
		{&cfg.MaxAppendBytes, DefaultMaxAppendBytes},
		{&cfg.MaxInflightMessages, DefaultMaxInflightMessages},
		{&cfg.MaxInflightBytes, DefaultMaxInflightBytes},
		{&cfg.MaxUncommittedBytes, DefaultMaxUncommittedBytes},
		{&cfg.MaxApplyBytes, DefaultMaxApplyBytes},
		{&cfg.MaxPendingReads, DefaultMaxPendingReads},
	} {
		if *limit.value < 0 {
			return fmt.Errorf("raft: negative limit %d", *limit.value)
		}
		if *limit.value == 0 {
			*limit.value = limit.preset
		}
	}
	return nil
}

// Tick is Advance by one unit of time.
func (c *Core) Tick() { c.Advance(1) }

// Advance tells the core that the clock was read, and how many whole ticks have passed since the last time; that may be
// none. Ticks must never run ahead of the clock. Where leases are concerned all ticks count; elections, heartbeats and the
// like see at most a heartbeat's worth of them at once, so that a program that was paused hears what came meanwhile before it
// draws conclusions from the silence.
func (c *Core) Advance(ticks int) {
	c.clock += uint64(ticks)
	c.settlePromise()
	for range min(ticks, c.cfg.HeartbeatTicks) {
		c.tick()
	}
	if c.cfg.LeaseReads && c.role == RoleLeader {
		c.readByLease()
	}
}

func (c *Core) tick() {
	c.now++
	if c.role == RoleLeader {
		c.tickLeader()
		return
	}
	c.expireReads()
	c.electionElapsed++
	switch {
	case c.withholdsVote():
	case c.electorate.isSole(c.id) && c.role == RoleFollower && c.mayCampaign():
		c.campaign(TriggerSoleVoter) // there is nobody to wait for
	case c.electionElapsed < c.electionTimeout:
	case c.mayCampaign() && c.leaderGone:
		c.campaign(TriggerLeaderGone)
	case c.mayCampaign():
		c.campaign(TriggerElectionTimeout)
	case c.leader != 0:
		// A learner stands for nothing, but it must not take a leader for alive that it does not hear.
		c.becomeFollower(c.term, 0, TriggerLeaderSilent)
	}
}

// Step takes a message of another member.
func (c *Core) Step(m Message) error {
	if m.To != c.id {
		return fmt.Errorf("raft: a message for member %s came to %s", m.To, c.id)
	}
	switch {
	case (m.Type == MsgPreVote || m.Type == MsgVote) && m.Term >= c.term && !m.Transfer && c.withholdsVote():
		return nil
	case m.Term > c.term:
		if !c.adoptTerm(m) {
			return nil
		}
	case m.Term < c.term:
		c.answerOldTerm(m)
		return nil
	}
	switch m.Type {
	case MsgPreVote, MsgVote:
		c.stepVoteRequest(m)
	case MsgPreVoteResponse, MsgVoteResponse:
		c.stepVoteResponse(m)
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		c.stepFromLeader(m)
	case MsgAppendResponse, MsgHeartbeatResponse:
		if p := c.progress[m.From]; c.role == RoleLeader && p != nil {
			p.HeardTick = c.now
			if m.Type == MsgAppendResponse {
				c.stepAppendResponse(p, m)
			} else {
				c.stepHeartbeatResponse(p, m)
			}
		}
	case MsgReadIndex:
		c.stepReadIndex(m)
	case MsgReadIndexResponse:
		c.stepReadIndexResponse(m)
	case MsgTimeoutNow:
		if c.isVoter && c.role != RoleLeader && !c.storageStalled() {
			c.becomeCandidate(TriggerHandedOver, true)
		}
	default:
		return fmt.Errorf("raft: unknown message type %d: the sender is of a newer version", m.Type)
	}
	return nil
}

// adoptTerm takes over a higher term, and tells whether the message is to be looked at.
func (c *Core) adoptTerm(m Message) bool {
	switch m.Type {
	case MsgPreVote, MsgVote:
		// A member that hears from its leader does not let itself be disturbed (§6, thesis §4.2.3).
		if !m.Transfer && c.leader != 0 && c.electionElapsed < c.cfg.ElectionTicks {
			return false
		}
		if m.Type == MsgPreVote {
			return true
		}
		c.becomeFollower(m.Term, 0, TriggerHigherCandidate)
	case MsgPreVoteResponse:
		// A granted pre-vote carries the term that was asked for, which has not begun.
		if m.Reject {
			c.becomeFollower(m.Term, 0, TriggerHigherTerm)
		}
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		c.becomeFollower(m.Term, m.From, TriggerHigherLeader)
	default:
		c.becomeFollower(m.Term, 0, TriggerHigherTerm)
	}
	return true
}

// answerOldTerm tells a leader or candidate of the past what term it is. Without it a member that has
// moved on could never be reached by a leader whose term it refuses.
func (c *Core) answerOldTerm(m Message) {
	switch m.Type {
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		c.send(Message{Type: MsgAppendResponse, To: m.From, Reject: true})
	case MsgPreVote:
		c.send(Message{Type: MsgPreVoteResponse, To: m.From, Reject: true})
	}
}

// Stored tells the core that the storage has done what it was asked.
func (c *Core) Stored(s Stored) {
	if s.Seq <= c.storedSeq {
		return
	}
	if s.Seq > c.seq {
		broken("request %d is stored, only %d were made", s.Seq, c.seq)
	}
	c.storedSeq = s.Seq
	before := c.log.stored
	c.log.complete(s.Seq)
	c.releaseGated()
	if c.log.stored == before {
		return
	}
	if c.role == RoleLeader {
		c.advanceCommit()
	} else if c.ackPending {
		c.acknowledge()
	}
}

// Applied tells the core that the state machine has applied everything up to and including index.
func (c *Core) Applied(index Index) {
	if index > c.handed {
		broken("%d is applied, only %d was handed out", index, c.handed)
	}
	c.applied = max(c.applied, index)
	n := 0
	for ; n < len(c.applying) && c.applying[n].last <= index; n++ {
		c.applyingBytes -= c.applying[n].bytes
	}
	c.applying = append(c.applying[:0], c.applying[n:]...)
}

// Compact drops the log up to and including index from memory. The state machine must hold all that durably.
func (c *Core) Compact(index Index) {
	if index <= c.log.start.Index {
		return
	}
	if index > c.applied {
		broken("compact at %d, applied is %d", index, c.applied)
	}
	c.log.compact(index)
	c.memberships.compact(index)
	c.versions.compact(index)
}

// TakeEffects returns what is to be done since the last call. See Effects for what of it may be kept.
func (c *Core) TakeEffects() Effects {
	if c.role == RoleLeader {
		c.leaveJoint()
		c.startReadRound()
		c.sendAppends()
		c.leaveIfRemoved()
	}
	c.handOut()
	if c.hardDirty || c.install != nil || c.log.offered < c.log.last().Index {
		c.seq++
		r := c.newRequest()
		r.Seq, r.Snapshot = c.seq, c.install
		if c.hardDirty {
			r.HardState = &HardState{c.term, c.vote}
			c.hardDirty, c.hardSeq = false, c.seq
		}
		c.install = nil
		r.Entries = c.log.offer(c.seq, c.now)
		r.done = Stored{Seq: c.seq, Term: c.term, Last: c.log.last()}
		c.out.Store = r
	}
	out := c.out
	c.out, c.spent = c.spent.reset(), out
	return out
}

// newRequest takes a request from a block of them: there is one for every turn that appends, and it is the caller's for good.
func (c *Core) newRequest() *StoreRequest {
	if len(c.requests) == 0 {
		c.requests = make([]StoreRequest, requestBlock)
	}
	r := &c.requests[0]
	c.requests = c.requests[1:]
	return r
}

// reset empties the effects, but keeps the arrays for the next ones.
func (e *Effects) reset() Effects {
	clear(e.Messages) // entries must not be kept alive by it
	return Effects{
		Messages: e.Messages[:0], Reads: e.Reads[:0], FailedReads: e.FailedReads[:0],
		Transitions: e.Transitions[:0], SendSnapshots: e.SendSnapshots[:0],
	}
}

// handOut gives committed entries to the state machine: those that are on this member's own stable storage, and
// not more bytes at a time than the bound.
func (c *Core) handOut() {
	to := min(c.commit, c.log.stored)
	if to <= c.handed || (c.applyingBytes >= c.cfg.MaxApplyBytes && len(c.applying) > 0) {
		return
	}
	entries, size := c.log.limited(c.handed+1, to, c.cfg.MaxApplyBytes-c.applyingBytes)
	c.handed = entries[len(entries)-1].Index
	c.applying = append(c.applying, applyBatch{c.handed, size})
	c.applyingBytes += size
	c.out.Committed = entries
}

// send hands a message out, at once or when the member's term and vote are on stable storage.
func (c *Core) send(m Message) {
	m.From = c.id
	if m.Term == 0 {
		m.Term = c.term
	}
	need := c.hardSeq
	if c.hardDirty {
		need = c.seq + 1
	}
	if need > c.storedSeq {
		c.gate(gatedMessage{need, m})
		return
	}
	c.out.Messages = append(c.out.Messages, m)
}

// gate lets a message wait. Of answers that supersede each other only the latest is kept, so that what waits for
// a slow disk is bounded.
func (c *Core) gate(g gatedMessage) {
	switch g.msg.Type {
	case MsgReadIndex:
		if len(c.gated) >= maxGatedReads {
			return // the read expires and is asked again
		}
	case MsgAppendResponse, MsgHeartbeatResponse, MsgPreVote, MsgPreVoteResponse:
		for i, old := range c.gated {
			if old.msg.Type == g.msg.Type && old.msg.To == g.msg.To && old.msg.Term == g.msg.Term && old.msg.Context <= g.msg.Context {
				c.gated[i].msg = g.msg
				return
			}
		}
	}
	c.gated = append(c.gated, g)
}

func (c *Core) releaseGated() {
	n := 0
	for ; n < len(c.gated) && c.gated[n].seq <= c.storedSeq; n++ {
		switch m := c.gated[n].msg; {
		case m.To == c.id:
			if m.Term == c.term {
				c.stepVoteResponse(m)
			}
		default:
			c.out.Messages = append(c.out.Messages, m)
		}
	}
	c.gated = append(c.gated[:0], c.gated[n:]...)
}

func (c *Core) resetElectionTimer() {
	c.electionElapsed = 0
	c.leaderGone = false
	c.electionTimeout = c.cfg.ElectionTicks + c.cfg.Random(c.cfg.ElectionTicks)
}

func (c *Core) commitTo(index Index) {
	if index <= c.commit {
		return
	}
	if index > c.log.last().Index {
		broken("commit index %d is past the log's end %d: this member has lost entries that it acknowledged", index, c.log.last().Index)
	}
	c.commit = index
}

// matchOf returns up to where the member's stable storage is known to equal the leader's log.
func (c *Core) matchOf(id NodeID) uint64 {
	if id == c.id {
		return uint64(c.log.stored)
	}
	return c.progress[id].Match
}
