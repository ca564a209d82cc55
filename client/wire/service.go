package wire

import "context"

// ServiceName is the service of the native protocol on the client port; MetadataKind is what a client says of itself.
const (
	ServiceName  = "raftkv.client"
	MetadataKind = "client"
)

// Service is the native protocol. Errors of calls are those of package rpc: whether a call was carried out is told by statuses where it can be.
// What belongs to a connection, its watches and snapshots, ends with it.
type Service struct {
	// OpenSession opens the session of a client, once for each origin and nonce.
	OpenSession func(context.Context, *SessionRequest) (*SessionReply, error)
	Write       func(context.Context, *WriteBatch) (*Answer, error)
	Read        func(context.Context, *ReadBatch) (*Answer, error)
	Compact     func(context.Context, *CompactRequest) (*Reply, error)
	// Scrub waits until the space of what was compacted up to a revision is free for use again on this node.
	Scrub func(context.Context, *CompactRequest) (*Reply, error)

	LeaseGrant      func(context.Context, *LeaseRequest) (*LeaseReply, error)
	LeaseRevoke     func(context.Context, *LeaseRequest) (*LeaseReply, error)
	LeaseKeepAlive  func(context.Context, *LeaseRequest) (*LeaseReply, error)
	LeaseTimeToLive func(context.Context, *LeaseRequest) (*LeaseReply, error)
	LeaseList       func(context.Context, *Empty) (*LeaseListReply, error)

	WatchCreate func(context.Context, *WatchRequest) (*Reply, error)
	WatchCancel func(context.Context, *WatchCancel) (*Reply, error)
	WatchNext   func(context.Context, *WatchPull) (*WatchUpdates, error)

	Members    func(context.Context, *MembersRequest) (*MembersReply, error)
	Status     func(context.Context, *Empty) (*StatusReply, error)
	MoveLeader func(context.Context, *MoveLeaderRequest) (*Reply, error)
	Hash       func(context.Context, *HashRequest) (*HashReply, error)
	Defragment func(context.Context, *Empty) (*Reply, error)
	Alarm      func(context.Context, *AlarmRequest) (*AlarmReply, error)

	SnapshotOpen func(context.Context, *Empty) (*SnapshotReply, error)
	SnapshotNext func(context.Context, *SnapshotPull) (*SnapshotChunk, error)
}

// Empty is a request without fields.
type Empty struct{}

// Reply is the answer of calls that return no more. Every answer that embeds it tells a refusal by its status.
type Reply struct {
	Status  Status `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// Revision is the store's, where a call has one.
	Revision uint64 `json:"revision,omitempty"`
}

// Refused is the reply itself, for what embeds it.
func (r *Reply) Refused() *Reply { return r }

// SessionRequest names whoever opens a session: random numbers that are not zero.
type SessionRequest struct {
	Origin uint64 `json:"origin"`
	Nonce  uint64 `json:"nonce"`
}

// SessionReply is an open session.
type SessionReply struct {
	Reply
	Session uint64 `json:"session"`
}

// CompactRequest gives up the history before a revision.
type CompactRequest struct {
	Revision uint64 `json:"compactRevision"`
}

// LeaseRequest is about one lease. TTL is in seconds.
type LeaseRequest struct {
	ID   int64 `json:"id"`
	TTL  int64 `json:"ttl,omitempty"`
	Keys bool  `json:"keys,omitempty"`
}

// LeaseReply tells about one lease. Times are in seconds.
type LeaseReply struct {
	Reply
	ID        int64    `json:"id"`
	TTL       int64    `json:"ttl"`
	Remaining int64    `json:"remaining,omitempty"`
	Keys      [][]byte `json:"keys,omitempty"`
}

// LeaseListReply lists leases in the order of their IDs.
type LeaseListReply struct {
	Reply
	IDs []int64 `json:"ids"`
}

// MembersRequest asks for the membership; Linearizable waits until it is surely the latest.
type MembersRequest struct {
	Linearizable bool `json:"linearizable,omitempty"`
}

// MembersReply is the membership, and who is believed to lead.
type MembersReply struct {
	Reply
	// Self is the member that answers.
	Self    uint64   `json:"self"`
	Leader  uint64   `json:"leader"`
	Members []Member `json:"members"`
}

// Member is one member.
type Member struct {
	ID            uint64 `json:"id"`
	Name          string `json:"name"`
	PeerAddress   string `json:"peerAddress"`
	ClientAddress string `json:"clientAddress,omitempty"`
	Learner       bool   `json:"learner,omitempty"`
}

// StatusReply is what a node tells of itself.
type StatusReply struct {
	Reply
	ClusterID         uint64   `json:"clusterID"`
	MemberID          uint64   `json:"memberID"`
	Name              string   `json:"name"`
	Version           string   `json:"version"`
	Leader            uint64   `json:"leader"`
	Term              uint64   `json:"term"`
	Learner           bool     `json:"learner,omitempty"`
	CompactedRevision uint64   `json:"compactedRevision"`
	Committed         uint64   `json:"committed"`
	Applied           uint64   `json:"applied"`
	FileBytes         int64    `json:"fileBytes"`
	UsedBytes         int64    `json:"usedBytes"`
	QuotaBytes        int64    `json:"quotaBytes"`
	Errors            []string `json:"errors,omitempty"`
}

// MoveLeaderRequest names who shall lead; zero is whoever is best.
type MoveLeaderRequest struct {
	To uint64 `json:"to"`
}

// HashRequest asks for a checksum of the keys up to a revision; zero is the latest.
type HashRequest struct {
	Revision uint64 `json:"hashRevision"`
}

// HashReply is the checksum; Reply.Revision is that of the node's state.
type HashReply struct {
	Reply
	MemberID        uint64 `json:"memberID"`
	Hash            uint32 `json:"hash"`
	HashRevision    uint64 `json:"hashRevision"`
	CompactRevision uint64 `json:"compactRevision"`
}

// The actions of an AlarmRequest.
const (
	AlarmGet   = "get"
	AlarmRaise = "raise"
	AlarmLower = "lower"
)

// AlarmRequest lists, raises or lowers alarms; zero member and type are all of them.
type AlarmRequest struct {
	Action string `json:"action"`
	Member uint64 `json:"member,omitempty"`
	Type   uint8  `json:"type,omitempty"`
}

// AlarmReply lists the alarms that are up, or were changed.
type AlarmReply struct {
	Reply
	Alarms []Alarm `json:"alarms,omitempty"`
}

// Alarm is a state of one member.
type Alarm struct {
	Member uint64 `json:"member"`
	Type   uint8  `json:"type"`
}
