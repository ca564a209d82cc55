package scenario

import (
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
)

// Cluster is what a story is played on: sim.Cluster says what the methods mean. Another one may take real time, sockets and files.
type Cluster interface {
	Now() time.Duration
	Run(time.Duration) error
	// Patience is how long a story waits for what has to come true within limit, or now if that is zero.
	Patience(limit time.Duration) time.Duration
	Note(text string)
	TraceStatus()

	Size() int
	Machine(number int) sim.Machine
	MachineOf(raft.NodeID) int
	Committed() raft.Index
	Membership() raft.Membership
	Register(machine, register int) (uint64, error)
	StateHash(machine int) (uint64, error)
	Coverage() sim.Coverage
	Sent() *sim.Meter

	Block(from, to int)
	Unblock(from, to int)
	Blocked(from, to int) bool
	Heal()
	Loss(probability float64)
	Duplicate(probability float64)
	Reorder(probability float64)
	Latency(low, high time.Duration)

	Crash(machine int) error
	LosePower(machine int) error
	Restart(machine int) error
	Pause(machine int, d time.Duration) error
	Wipe(machine int) error
	Compact(keep int)
	Allow(sim.Faults)
	Forbid(sim.Faults)
	Transfer(machine, to int) error
	Change(machine int, kind raft.ChangeKind, id raft.NodeID, empty int) error

	Put(register int, value uint64, at int) (Answer, error)
	Get(register int, at int) (Answer, error)
	Swap(register int, old, value uint64, at int) (Answer, error)
	Submit(machine, register int, value uint64) error
	StartClients(n int) error
	StopClients()
	Waiting() int
	Finished() (all, least int)
	// Check judges what all clients saw.
	Check() error
}

// Answer is what comes of an operation.
type Answer interface {
	Done() bool
	Value() uint64
	Swapped() bool
}

// Stage makes a cluster.
type Stage func(sim.Setup) (Cluster, error)

// simulated is the simulation's cluster.
type simulated struct{ *sim.Cluster }

func simulation(s sim.Setup) (Cluster, error) {
	c, err := sim.Direct(s)
	return simulated{c}, err
}

func (simulated) Patience(limit time.Duration) time.Duration { return limit }

func (s simulated) Put(register int, value uint64, at int) (Answer, error) {
	return s.Cluster.Put(register, value, at)
}

func (s simulated) Get(register int, at int) (Answer, error) { return s.Cluster.Get(register, at) }

func (s simulated) Swap(register int, old, value uint64, at int) (Answer, error) {
	return s.Cluster.Swap(register, old, value, at)
}
