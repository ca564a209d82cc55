package replica

import (
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/rpc"
)

// State is how far a replica has come.
type State int

// The states of a replica.
const (
	StateEmpty      State = iota // waits to be bootstrapped, or added
	StateForming                 // waits for the other members of the InitialCluster
	StateMember                  // runs as a member
	StateRemoved                 // was removed, and its data is being set aside
	StateRefounding              // makes the state of a new cluster out of its own
	StateStopped
)

// String names the state.
func (s State) String() string {
	return [...]string{"empty", "forming", "member", "removed", "refounding", "stopped"}[s]
}

// Status is what a replica knows of itself and its cluster.
type Status struct {
	State State
	// Identity tells cluster, member and incarnation; the first two are zero while the directory is empty.
	Identity identity.Identity
	// Summary tells role, term, leader and membership; it is empty but in StateMember.
	node.Summary
	// Applied is the index up to which this replica's state holds the log.
	Applied raft.Index
	// ClusterVersion is the feature level that every member reads.
	ClusterVersion uint32
	// Fenced says why the member is being fenced, or why the last one of an empty directory was; it is empty if it was not.
	Fenced string
}

// LeaderMember returns the leader, if one is known.
func (s Status) LeaderMember() (raft.Member, bool) { return s.Membership.Find(s.Leader) }

// Leads tells whether this replica leads.
func (s Status) Leads() bool { return s.Role == raft.RoleLeader }

// Status returns the latest status without asking anyone. Its maps and slices must not be changed.
func (r *Replica) Status() Status {
	var s Status
	s.Identity, s.State = r.standing()
	if s.State != StateMember {
		s.Fenced = r.fence()
	}
	if m := r.now(); m != nil && s.State == StateMember {
		s.Summary, s.Applied, s.ClusterVersion = m.node.Summary(), m.node.Applied(), m.clusterVersion()
	}
	return s
}

// Changed returns a channel that is closed at the next change of State, Identity or Summary. Ask for it before Status.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Stats are those of the connections to the other members.
func (r *Replica) Stats() transport.Stats { return r.door.transport.Stats() }

// Calls are those that this replica answers on its listeners.
func (r *Replica) Calls() rpc.CallStats { return r.server.Stats() }

func (r *Replica) standing() (identity.Identity, State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id, r.state
}

func (r *Replica) fence() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fenced
}

func (r *Replica) setState(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s != StateStopped {
		r.id = r.dir.Identity()
	}
	r.state = s
	close(r.moved)
	r.moved = make(chan struct{})
}
