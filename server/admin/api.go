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
	// Refound makes a member without a leader the only voter of a new cluster that has all that its log and state hold, and sets its
	// old directory aside. It is asked of the survivor with the longest log of a cluster whose quorum is lost for good, and answered when
	// the node has begun. Older builds do not know it.
	Refound func(context.Context, *RefoundRequest) (*Status, error) `rpc:"optional"`
	// Abandon makes a member without a leader set its directory aside, since its cluster was given up and rebuilt from another member.
	Abandon func(context.Context, *AbandonRequest) (*Status, error) `rpc:"optional"`
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
	// StateRefounding: the node makes the state of a new cluster out of its own.
	StateRefounding NodeState = "refounding"
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
	// LastTerm and LastIndex are the last entry of the member's log, committed or not; zero where the member is not known, or its build older.
	LastTerm  raft.Term  `json:"lastTerm,string"`
	LastIndex raft.Index `json:"lastIndex,string"`
	// Ready is what /readyz says, NotReady why not.
	Ready    bool   `json:"ready"`
	NotReady string `json:"notReady,omitempty"`
	// Fenced says why the member of this node was fenced: its state differed from the others'. It is empty once the node is a member again.
	Fenced string `json:"fenced,omitempty"`
	// Alarms are those that are up, of all members.
	Alarms []Alarm `json:"alarms,omitempty"`

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
	// CaughtUp says that the member is active and lacks little enough for a promotion: at most raft.PromoteLagEntries, and nothing that
	// was committed two election timeouts ago.
	CaughtUp bool `json:"caughtUp"`
}

// Alarm is a state of one member that the whole cluster knows of.
type Alarm struct {
	// Member is zero where it is of no single one.
	Member raft.NodeID `json:"member"`
	// Type is etcd's name of it: NOSPACE or CORRUPT.
	Type string `json:"type"`
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

// RefoundRequest names whom it was decided on: any other node refuses.
type RefoundRequest struct {
	// ClusterID and Incarnation are those of the member as it is, NewClusterID is what it founds.
	ClusterID    raft.ClusterID   `json:"clusterID"`
	Incarnation  raft.Incarnation `json:"incarnation"`
	NewClusterID raft.ClusterID   `json:"newClusterID"`
	// Member gives name and addresses of the new cluster's first member; ID and incarnation are new ones.
	Member raft.Member `json:"member"`
}

// AbandonRequest names the cluster that was given up, and the one directory that is meant.
type AbandonRequest struct {
	ClusterID   raft.ClusterID   `json:"clusterID"`
	Incarnation raft.Incarnation `json:"incarnation"`
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
	ReasonOtherCluster  = "OtherCluster"  // another cluster was meant
	ReasonHasLeader     = "HasLeader"     // the cluster works, there is nothing to rebuild
)
