package sim

import "github.com/raftkv/raftkv/raft"

// Machine is how a machine stands.
type Machine struct {
	Number int
	// Member is zero on an empty disk.
	Member raft.NodeID
	// Up tells whether its program runs, Paused whether that stands still.
	Up, Paused bool
	// Status is that of the core, if it runs.
	Status raft.Status
	// Applied is how far its state machine is.
	Applied raft.Index
}

// Leads tells whether the member on the machine believes to lead.
func (m Machine) Leads() bool { return m.Up && m.Status.Role == raft.RoleLeader }

// LogEntries is the length of the log in memory.
func (m Machine) LogEntries() uint64 { return uint64(m.Status.Last.Index - m.Status.LogStart.Index) }

// Machine tells how a machine stands.
func (c *Cluster) Machine(number int) Machine {
	h := c.host(number)
	m := Machine{Number: number}
	if h.member != nil {
		m.Member = h.member.id
	}
	if p := h.proc; p != nil {
		m.Up, m.Paused = true, c.w.now < p.pausedUntil
		m.Status, m.Applied = p.core.Status(), p.machine.meta.Index
	}
	return m
}

// Register reads a register of the state machine on a machine that runs, without asking anyone else.
func (c *Cluster) Register(machine, register int) (value uint64, err error) {
	err = c.do(func() {
		if p := c.host(machine).proc; p != nil {
			value = p.value(randomKeys + register)
		}
	})
	return value, err
}

// StateHash is a checksum of the whole state of a machine that runs.
func (c *Cluster) StateHash(machine int) (sum uint64, err error) {
	err = c.do(func() {
		if p := c.host(machine).proc; p != nil {
			sum = p.stateHash()
		}
	})
	return sum, err
}

// Committed is the index up to which some leader has committed.
func (c *Cluster) Committed() raft.Index { return c.w.oracle.committedIndex() }

// Membership is the last that was committed.
func (c *Cluster) Membership() raft.Membership { return c.w.oracle.membership.Clone() }

// MachineOf returns the machine that a member has, zero if its disk is gone.
func (c *Cluster) MachineOf(id raft.NodeID) int {
	if m := c.w.members[id]; m != nil && m.host != nil {
		return m.host.slot + 1
	}
	return 0
}

// Coverage counts what happened so far.
func (c *Cluster) Coverage() Coverage { return c.w.coverage }

// Sent counts the messages so far.
func (c *Cluster) Sent() *Meter { return c.w.net.meter }

// TraceStatus writes into the trace how every machine stands.
func (c *Cluster) TraceStatus() { c.w.traceStatus() }
