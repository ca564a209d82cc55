package admin

import (
	"context"

	"github.com/raftkv/raftkv/raft"
)

// ServiceName is the name under which a node registers Service on its peer port.
const ServiceName = "raftkv.admin"

// MetadataToken is the key of the handshake's metadata that carries the cluster's admin token.
const MetadataToken = "admin-token"

// Service is what the operator and raftctl ask of one node. Every call may be repeated.
type Service struct {
	// Status answers at once, from any state of the node.
	Status func(context.Context, *StatusRequest) (*Status, error)
	// WaitStatus answers as soon as the node's Status.Generation differs from the one given, or when
	// the call's deadline is near, with the status at that time.
	WaitStatus func(context.Context, *WaitStatusRequest) (*Status, error)
	// Bootstrap makes an empty node the only voter of a new cluster.
	Bootstrap func(context.Context, *BootstrapRequest) (*Status, error)
	// ChangeMembership is answered by the leader only, once the changes are complete.
	ChangeMembership func(context.Context, *ChangeRequest) (*ChangeResponse, error)
	// TransferLeadership is answered by the leader only, once another member leads.
	TransferLeadership func(context.Context, *TransferRequest) (*TransferResponse, error)
}

// NodeState says how far a node's data directory has come.
type NodeState string

const (
	// StateOpening: what is in the directory is not known yet. It must not be taken for empty (rule 5).
	StateOpening NodeState = "opening"
	// StateEmpty: the directory speaks for no member. The node waits to be bootstrapped or added.
	StateEmpty NodeState = "empty"
	// StateForming: a static cluster's members are agreeing on the table of IDs and incarnations.
	StateForming NodeState = "forming"
	// StateMember: the directory belongs to a member of a cluster.
	StateMember NodeState = "member"
	// StateRemoved: the member was removed; the node is about to set its directory aside and start empty.
	StateRemoved NodeState = "removed"
)

// StatusRequest asks for a Status.
type StatusRequest struct{}

// WaitStatusRequest asks for a Status newer than Generation.
type WaitStatusRequest struct {
	Generation uint64 `json:"generation,string"`
}

// Status is what one node says of itself and of its cluster. IDs are hexadecimal text.
type Status struct {
	// Generation changes whenever state, role, term, leader, membership, or readiness changes. It does not
	// change with commit and applied indexes. It starts at a random number at each start of the process.
	Generation uint64 `json:"generation,string"`

	Name        string           `json:"name"`
	Version     string           `json:"version"`
	State       NodeState        `json:"state"`
	Incarnation raft.Incarnation `json:"incarnation"`
	ClusterID   raft.ClusterID   `json:"clusterID"`
	MemberID    raft.NodeID      `json:"memberID"`
	// ClusterVersion is the feature level that was committed; FeatureLevel is the highest that this node reads.
	ClusterVersion uint32 `json:"clusterVersion"`
	FeatureLevel   uint32 `json:"featureLevel"`

	Role    string      `json:"role"` // leader, follower, candidate, pre-candidate, learner; empty before membership
	Term    raft.Term   `json:"term,string"`
	Leader  raft.NodeID `json:"leader"`
	Commit  raft.Index  `json:"commit,string"`
	Applied raft.Index  `json:"applied,string"`
	// Ready is what /readyz says, NotReady why not.
	Ready    bool   `json:"ready"`
	NotReady string `json:"notReady,omitempty"`

	// ConfigIndex is the log index of the membership in force; ConfigCommitted says that it is committed.
	ConfigIndex     raft.Index     `json:"configIndex,string"`
	ConfigCommitted bool           `json:"configCommitted"`
	Members         []MemberStatus `json:"members"`
}

// MemberStatus is one member. Match, Active and LagEntries are known to the leader only.
type MemberStatus struct {
	raft.Member
	// Match is the last index known to be on the member's stable storage.
	Match raft.Index `json:"match,string"`
	// Active says that the leader heard from the member within an election timeout.
	Active bool `json:"active"`
	// CaughtUp says that the member is active and lacks less than the leader's threshold for a promotion.
	CaughtUp bool `json:"caughtUp"`
}

// BootstrapRequest names the incarnation that is meant: any other refuses.
type BootstrapRequest struct {
	ClusterID   raft.ClusterID   `json:"clusterID"`
	Incarnation raft.Incarnation `json:"incarnation"`
	// Member gives name and addresses of the first member; its ID becomes 1.
	Member raft.Member `json:"member"`
}

// ChangeRequest is a list of membership changes, decided on the membership of ConfigIndex: all of them are made at once, or none.
type ChangeRequest struct {
	ConfigIndex raft.Index    `json:"configIndex,string"`
	Changes     []raft.Change `json:"changes"`
}

// ChangeResponse says which members were concerned, in the order of the changes, and which configuration is in force now.
type ChangeResponse struct {
	IDs         []raft.NodeID `json:"ids"`
	ConfigIndex raft.Index    `json:"configIndex,string"`
}

// TransferRequest names who is to lead; zero lets the leader pick the voter that is most caught up.
type TransferRequest struct {
	To raft.NodeID `json:"to"`
}

// TransferResponse says who leads now.
type TransferResponse struct {
	Leader raft.NodeID `json:"leader"`
}

// Reasons that the errors of Service carry (rpc.Error.Reason), for callers that must tell them apart.
const (
	ReasonNotLeader     = "NotLeader"     // ask the leader
	ReasonConfigMoved   = "ConfigMoved"   // observe again, then decide again
	ReasonChangePending = "ChangePending" // try again later
	ReasonUnsafe        = "Unsafe"        // the change would endanger the quorum
	ReasonRefused       = "Refused"       // the change makes no sense; see the text
	ReasonNotCaughtUp   = "NotCaughtUp"   // the learner lacks too much to be promoted
	ReasonJointVersion  = "JointVersion"  // some member's build does not know changes of several votes: one vote at a time
	ReasonIncarnation   = "Incarnation"   // another incarnation was meant
	ReasonNotEmpty      = "NotEmpty"      // the node belongs to another cluster already
)
