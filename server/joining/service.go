package joining

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// ServiceName is the name of the service on the peer port, and the kind of its connections.
const ServiceName = "raftkv.joining"

// maxNameBytes bounds the name that a newcomer gives itself.
const maxNameBytes = 255

// Service is what a node that is no member asks members. Like the forming of a static cluster it asks nobody for a token: whoever reaches
// the peer port is trusted to be whom it says. Where there is an admin token nobody is invited, and the service is not there.
type Service struct {
	Find  func(context.Context, *Newcomer) (*Place, error)
	Claim func(context.Context, *Claim) (*Claimed, error)
}

// Newcomer is what a node says of itself.
type Newcomer struct {
	PeerAddress string           `json:"peerAddress"`
	Incarnation raft.Incarnation `json:"incarnation"`
}

// Standing is what a newcomer is to a cluster.
type Standing string

// The standings. They are part of the wire format.
const (
	// Unknown: nobody has that address.
	Unknown Standing = "unknown"
	// Invited: a member was invited at that address, and waits to be claimed.
	Invited Standing = "invited"
	// Taken: the member of that address has another directory.
	Taken Standing = "taken"
	// Known: the directory belongs to the member, which will be dialled.
	Known Standing = "known"
)

// Place is what a member knows of a newcomer, by its own state, which may be behind, or ahead by a change that is not committed.
type Place struct {
	Standing Standing       `json:"standing"`
	Cluster  raft.ClusterID `json:"cluster"`
	// Member is zero for Unknown.
	Member raft.NodeID `json:"member"`
	// Vote says that the invited member is to vote.
	Vote bool `json:"vote,omitempty"`
}

// Claim asks for an invited member.
type Claim struct {
	Newcomer
	Cluster raft.ClusterID `json:"cluster"`
	Member  raft.NodeID    `json:"member"`
	Name    string         `json:"name"`
}

// Claimed says that the claim is committed.
type Claimed struct{}

// Cluster is what is asked on behalf of a newcomer.
type Cluster interface {
	// Members returns the membership in force; linearizable waits until it is surely the latest.
	Members(ctx context.Context, linearizable bool) (raft.Membership, error)
	// Change carries one change through, by the leader.
	Change(ctx context.Context, change raft.Change) error
}

// Register offers the service on the peer port's server. self returns the cluster that this node is a member of, zero if of none.
func Register(server *rpc.Server, self func() raft.ClusterID, cluster Cluster) error {
	d := desk{self, cluster}
	return rpc.Register(server, ServiceName, Service{Find: d.find, Claim: d.claim})
}

type desk struct {
	self    func() raft.ClusterID
	cluster Cluster
}

func (d desk) find(ctx context.Context, n *Newcomer) (*Place, error) {
	id := d.self()
	if id == 0 {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "this node is no member of a cluster yet")
	}
	m, err := d.cluster.Members(ctx, false)
	if err != nil {
		return nil, err
	}
	p := place(m, *n)
	p.Cluster = id
	return &p, nil
}

// place looks a newcomer up. The directory counts before the address, which may have been changed since.
func place(m raft.Membership, n Newcomer) Place {
	if x, there := m.FindIncarnation(n.Incarnation); there {
		return Place{Standing: Known, Member: x.ID}
	}
	out := Place{Standing: Unknown}
	for _, x := range m.Members {
		switch {
		case x.PeerAddress != n.PeerAddress:
		case x.Invited():
			return Place{Standing: Invited, Member: x.ID, Vote: x.InvitedToVote()}
		default:
			out = Place{Standing: Taken, Member: x.ID}
		}
	}
	return out
}

func (d desk) claim(ctx context.Context, c *Claim) (*Claimed, error) {
	switch id := d.self(); {
	case id == 0:
		return nil, rpc.Errorf(rpc.CodeUnavailable, "this node is no member of a cluster yet")
	case id != c.Cluster:
		return nil, rpc.Errorf(rpc.CodeRefused, "a member of cluster %s was claimed, this is cluster %s", c.Cluster, id)
	case c.Member == 0 || c.Incarnation == 0 || c.Name == "" || len(c.Name) > maxNameBytes:
		return nil, rpc.Errorf(rpc.CodeInvalid, "a claim names a member, an incarnation, and a name of at most %d bytes", maxNameBytes)
	}
	err := d.cluster.Change(ctx, raft.Change{Kind: raft.ChangeClaim, ID: c.Member, Member: raft.Member{
		Incarnation: c.Incarnation, Name: c.Name, PeerAddress: c.PeerAddress,
	}})
	if errors.Is(err, raft.ErrChangeRefused) {
		return nil, rpc.Errorf(rpc.CodeRefused, "%v", err)
	}
	return &Claimed{}, err
}
