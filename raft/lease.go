package raft

import "math"

// Lease reads (thesis §6.4.1). A leader answers a read without a round while a quorum has promised to elect nobody else.
//
// The promise. With Config.LeaseReads a leader's heartbeat says at which of its ticks it was sent. A follower with LeaseReads
// answers with that tick, and with how long from now on it gives nobody its vote or pre-vote and does not stand itself. Only what a member has
// said counts: one with other settings, or of an older build, says nothing, and no lease rests on it.
//
// The lease. The promise began after the heartbeat was sent, so the leader counts it from there, less ClockDriftPercent, by
// which the clocks of two members may disagree over the length of a lease; that is the one assumption about time in all of
// Raft's code. The lease holds up to the tick that a quorum's promises reach, both quorums while the membership is joint.
//
// Pauses. A program that stands still between two lines does not see time pass. So a follower counts its promise from the first
// Advance after it was made, when its shell has read the clock anew, and a leader answers a read at the first Advance after
// it was asked: the lease was valid at a moment after the question, however much later the answer leaves.
//
// Restarts. A member that starts does not know what the process before it has promised, and it keeps that promise by being quiet
// for an election timeout (Initial.QuietTicks says when that is not enough). The promise is not stored: that would be a
// write for each heartbeat. A member that never had a term has promised nothing.
//
// Hand-over. A candidate that the leader itself has asked to stand is exempt from promises. Such a request may be late, so
// the leader gives the lease up for the rest of its term before it sends one.

// DefaultClockDriftPercent holds where Config names none.
const DefaultClockDriftPercent = 10

// MaxClockDriftPercent leaves something of the lease.
const MaxClockDriftPercent = 50

// promise is what a member owes the leaders that it has answered.
type promise struct {
	fresh bool   // made since the last Advance
	until uint64 // tick of the clock
}

// maxPromiseMicros bounds what is believed of a promise: an hour.
const maxPromiseMicros = 3600 * 1_000_000

// promised tells whether the member owes a leader not to help elect another.
func (c *Core) promised() bool { return c.promise.fresh || c.clock < c.promise.until }

// withholdsVote tells whether the member has promised, or a process of it before a restart may have.
func (c *Core) withholdsVote() bool { return c.promised() || c.clock < c.quietUntil }

// makePromise returns how long the member withholds its vote from now on, in microseconds, and holds it to that. The tick during which it is
// made does not count.
func (c *Core) makePromise() uint64 {
	c.promise.fresh = true
	return uint64(c.cfg.ElectionTicks-1) * uint64(c.cfg.TickMicros)
}

// settlePromise lets a promise made since the last Advance count from this one on.
func (c *Core) settlePromise() {
	if c.promise.fresh {
		c.promise = promise{until: max(c.promise.until, c.clock+uint64(c.cfg.ElectionTicks))}
	}
}

// noteLease records what a follower has promised in answer to the heartbeat of tick sent.
func (c *Core) noteLease(id NodeID, sent, micros uint64) {
	if !c.cfg.LeaseReads || sent == 0 || micros == 0 || sent-1 > c.clock {
		return
	}
	sure := min(micros, maxPromiseMicros) * uint64(100-c.cfg.ClockDriftPercent) / 100
	// The heartbeat left after its tick began, and the answer to a read is given before the present one ends.
	until := sent - 1 + sure/uint64(c.cfg.TickMicros)
	if c.promises == nil {
		c.promises = map[NodeID]uint64{}
	}
	c.promises[id] = max(c.promises[id], until)
}

// leaseUntil returns the tick of the clock from which on the lease does not hold.
func (c *Core) leaseUntil() uint64 {
	if c.role != RoleLeader || !c.cfg.LeaseReads || c.leaseGivenUp || !c.committedInTerm() {
		return 0
	}
	return c.electorate.reached(c.promisedUntil)
}

func (c *Core) promisedUntil(id NodeID) uint64 {
	if id == c.id {
		return math.MaxUint64 // it does not vote for another while it leads
	}
	return c.promises[id]
}

func (c *Core) leaseHolds() bool { return c.clock < c.leaseUntil() }

// giveLeaseUp ends lease reads for the rest of the term.
func (c *Core) giveLeaseUp() { c.leaseGivenUp = true }

// readByLease answers the reads that wait. It runs at an Advance: they were asked before the clock was read.
func (c *Core) readByLease() {
	r := &c.reads
	if len(r.waiting) == 0 || !c.leaseHolds() {
		return
	}
	for _, x := range r.waiting {
		c.answerRead(x, c.commit)
	}
	r.waiting = r.waiting[:0]
}
