package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// Kind is the value of rpc.MetaKind in the metadata of a connection between members.
const Kind = "raftkv.peer"

// Identity is what this process speaks for.
type Identity struct {
	Cluster     raft.ClusterID
	ID          raft.NodeID
	Incarnation raft.Incarnation
}

// Hello is what the dialing member says of itself and of whom it wants.
type Hello struct {
	Cluster         raft.ClusterID
	From            raft.NodeID
	FromIncarnation raft.Incarnation
	To              raft.NodeID
	ToIncarnation   raft.Incarnation
	Nonce           uint64 // random for each process: another one means that it has started anew
	FeatureMin      uint32 // oldest and newest feature level that the process can run at
	FeatureMax      uint32
	Purpose         string // "control", "bulk", "service" or "snapshot"
}

// HelloReply is what the receiving process says of itself.
type HelloReply struct {
	Nonce      uint64
	FeatureMin uint32
	FeatureMax uint32
}

// Gate decides on connections from other members. It is called for each new connection and for all of them by Recheck; it must
// not block. Refusals are best made by Decide or Refuse.
type Gate interface {
	Accept(Hello) (HelloReply, error)
}

// Reason says why a member refuses another.
type Reason string

// The reasons. They are part of the wire format.
const (
	ReasonWrongCluster     Reason = "wrong-cluster"
	ReasonWrongMember      Reason = "wrong-member"
	ReasonWrongIncarnation Reason = "wrong-incarnation"
	ReasonRemoved          Reason = "removed"    // the dialing member was removed from the cluster
	ReasonNotMember        Reason = "not-member" // the process that answered speaks for no member (yet)
	ReasonIncompatible     Reason = "incompatible"
)

// Refuse makes a refusal that Events.Refused gets at the other end.
func Refuse(reason Reason, format string, args ...any) error {
	return rpc.Refusal(string(reason), format, args...)
}

// Local is what Decide must know of the receiving side.
type Local struct {
	Identity
	FeatureMin, FeatureMax uint32
	// Committed is the newest membership known to be committed: an uncommitted removal may still be undone, and must not make a
	// member set its directory aside.
	Committed raft.Membership
}

// Decide is the rule by which a member accepts another (nil) or refuses it. A dialing ID above Committed.LastID is accepted, and so is one that nobody had claimed
// when the receiver last heard of it: the receiver is behind and will learn of it. Only the claim that was committed has made a directory speak for that ID.
func Decide(l Local, h Hello) error {
	switch {
	case h.Cluster != l.Cluster && l.Cluster != 0:
		return Refuse(ReasonWrongCluster, "member %v of cluster %v reached a node of cluster %v: two clusters share an address; check the peer addresses", h.From, h.Cluster, l.Cluster)
	case l.ID == 0 || l.Cluster == 0:
		return Refuse(ReasonNotMember, "the node at this address speaks for no member (incarnation %v), so not for member %v: it waits to be added or bootstrapped", l.Incarnation, h.To)
	case h.To != l.ID:
		return Refuse(ReasonWrongMember, "member %v was wanted at this address, but member %v answers: check the peer addresses", h.To, l.ID)
	case h.ToIncarnation != l.Incarnation:
		return Refuse(ReasonWrongIncarnation, "member %v was wanted with the data directory of incarnation %v, but this one is of incarnation %v", h.To, h.ToIncarnation, l.Incarnation)
	case h.FeatureMin > l.FeatureMax || h.FeatureMax < l.FeatureMin:
		return Refuse(ReasonIncompatible, "member %v runs feature levels %d to %d, member %v runs %d to %d: upgrade the older one", h.From, h.FeatureMin, h.FeatureMax, l.ID, l.FeatureMin, l.FeatureMax)
	case h.From == 0 || h.From == l.ID:
		return Refuse(ReasonWrongMember, "the dialing side says that it is member %v, and member %v answers", h.From, l.ID)
	}
	if m, there := l.Committed.Find(h.From); there {
		if m.Incarnation != h.FromIncarnation && !m.Invited() {
			return Refuse(ReasonWrongIncarnation, "member %v is bound to the data directory of incarnation %v, this one is of incarnation %v: a new directory must be added under a new ID", h.From, m.Incarnation, h.FromIncarnation)
		}
		return nil
	}
	if h.From <= l.Committed.LastID {
		return Refuse(ReasonRemoved, "member %v was removed from cluster %v: set its data directory aside and add the node as a new member", h.From, l.Cluster)
	}
	return nil
}

// The keys of the metadata. They are part of the wire format.
const (
	metaCluster    = "cluster"
	metaFrom       = "from"
	metaFromInc    = "from-incarnation"
	metaTo         = "to"
	metaToInc      = "to-incarnation"
	metaNonce      = "nonce"
	metaFeatureMin = "feature-min"
	metaFeatureMax = "feature-max"
	metaPurpose    = "purpose"
)

func (h Hello) metadata() rpc.Metadata {
	return rpc.Metadata{
		rpc.MetaKind: Kind, metaCluster: h.Cluster.String(),
		metaFrom: h.From.String(), metaFromInc: h.FromIncarnation.String(),
		metaTo: h.To.String(), metaToInc: h.ToIncarnation.String(),
		metaNonce: hex(h.Nonce), metaFeatureMin: decimal(h.FeatureMin), metaFeatureMax: decimal(h.FeatureMax),
		metaPurpose: h.Purpose,
	}
}

func hex(v uint64) string     { return strconv.FormatUint(v, 16) }
func decimal(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

// metadataReader parses values and keeps the first error.
type metadataReader struct {
	md  rpc.Metadata
	err error
}

func (r *metadataReader) number(key string, base, bits int) uint64 {
	v, err := strconv.ParseUint(r.md[key], base, bits)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("peer metadata: %q is %q, not a number", key, r.md[key])
	}
	return v
}

// ParseHello reads the metadata of a connection between members.
func ParseHello(md rpc.Metadata) (Hello, error) {
	if md[rpc.MetaKind] != Kind {
		return Hello{}, errors.New("not a connection between members")
	}
	r := metadataReader{md: md}
	h := Hello{
		Cluster: raft.ClusterID(r.number(metaCluster, 16, 64)),
		From:    raft.NodeID(r.number(metaFrom, 16, 64)), FromIncarnation: raft.Incarnation(r.number(metaFromInc, 16, 64)),
		To: raft.NodeID(r.number(metaTo, 16, 64)), ToIncarnation: raft.Incarnation(r.number(metaToInc, 16, 64)),
		Nonce:      r.number(metaNonce, 16, 64),
		FeatureMin: uint32(r.number(metaFeatureMin, 10, 32)), FeatureMax: uint32(r.number(metaFeatureMax, 10, 32)),
		Purpose: md[metaPurpose],
	}
	return h, r.err
}

func (h HelloReply) metadata() rpc.Metadata {
	return rpc.Metadata{metaNonce: hex(h.Nonce), metaFeatureMin: decimal(h.FeatureMin), metaFeatureMax: decimal(h.FeatureMax)}
}

func parseReply(md rpc.Metadata) (HelloReply, error) {
	r := metadataReader{md: md}
	reply := HelloReply{
		Nonce:      r.number(metaNonce, 16, 64),
		FeatureMin: uint32(r.number(metaFeatureMin, 10, 32)), FeatureMax: uint32(r.number(metaFeatureMax, 10, 32)),
	}
	return reply, r.err
}

// FromContext tells which member called a service, inside a handler; ok is false when the caller is not a member.
func FromContext(ctx context.Context) (hello Hello, ok bool) {
	info, ok := rpc.FromContext(ctx)
	if !ok {
		return Hello{}, false
	}
	hello, err := ParseHello(info.Metadata)
	return hello, err == nil
}

// MembersOnly is an rpc.AuthorizeFunc for services that only other members may use.
func MembersOnly(_ context.Context, service string, md rpc.Metadata, _ net.Addr) error {
	if md[rpc.MetaKind] != Kind {
		return rpc.Errorf(rpc.CodeUnauthenticated, "service %q is for members of the cluster only", service)
	}
	return nil
}
