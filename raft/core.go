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
	rounds           rounds
	reads            leaderReads

	asked []askedRead // reads that this follower asked its leader

	out      Effects
	spent    Effects // those taken last, whose arrays are used again
	requests []StoreRequest
}

// PromoteLagEntries is how many of the committed entries a learner may lack when it is promoted, at most: it lacks none that was
// committed two election timeouts ago, however large or few they are (thesis §4.2.1).
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
	// ErrNotCaughtUp says that the learner to be promoted lacks more than PromoteLagEntries, or what has long been committed.
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
	case c.role == RoleCandidate && c.hardSeq > c.storedSeq:
		// It has asked nobody yet, and begins to wait for answers once its own vote is stored. With a timeout that runs meanwhile nobody would be
		// elected while disks need more than half of it.
		c.electionElapsed = 0
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
