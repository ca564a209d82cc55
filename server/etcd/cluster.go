package etcd

import (
	"context"
	"net/url"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// urlScheme is put before a member's addresses, which etcd's messages have as URLs, unless they have secureScheme already.
const (
	urlScheme    = "http://"
	secureScheme = "https://"
)

// maxURLBytes is more than the name of a host, its port and the scheme take.
const maxURLBytes = 512

type clusterService struct {
	pb.UnimplementedClusterServer
	*Server
}

// errManaged is how a client's change of the membership is refused where an admin token guards it.
var errManaged = status.Error(codes.PermissionDenied, rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied)+
	": the members of this cluster are changed with its admin token, by the operator of its RaftCluster")

func (s *clusterService) joined() (backend.Store, Cluster, error) {
	store, cluster := s.store(), s.cluster()
	if store == nil || cluster == nil {
		return nil, nil, rpctypes.ErrGRPCStopped
	}
	return store, cluster, nil
}

// memberHeader is that of answers about members, which tell no revision.
func memberHeader(store backend.Store) *pb.ResponseHeader {
	h := store.Header()
	return &pb.ResponseHeader{ClusterId: uint64(h.ClusterID), MemberId: uint64(h.MemberID), RaftTerm: uint64(h.Term)}
}

func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	store, cluster, err := s.joined()
	if err != nil {
		return nil, err
	}
	members, err := cluster.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: memberHeader(store), Members: memberList(members)}, nil
}

// MemberAdd makes a place for the node that will start with that peer URL (package server/joining). Unlike etcd's it is no voter before it has caught up:
// until then it is a learner, though the answer says what was asked for.
func (s *clusterService) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	address, err := peerAddress(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	if s.options.Managed {
		return nil, errManaged
	}
	store, cluster, err := s.joined()
	if err != nil {
		return nil, err
	}
	invite := raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: address, Learner: r.IsLearner}}
	if err := cluster.Change(ctx, invite); err != nil {
		return nil, err
	}
	now, err := cluster.Members(ctx, true)
	if err != nil {
		return nil, rpctypes.ErrGRPCTimeout // whatever it is, the member was added
	}
	members := memberList(now)
	for i, m := range slices.Backward(now.Members) { // the newest is the last
		if m.PeerAddress == address {
			added := &pb.Member{ID: members[i].ID, PeerURLs: members[i].PeerURLs, IsLearner: r.IsLearner}
			return &pb.MemberAddResponse{Header: memberHeader(store), Member: added, Members: members}, nil
		}
	}
	return nil, rpctypes.ErrGRPCMemberNotFound // it was removed at once
}

func (s *clusterService) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	store, cluster, m, err := s.member(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if now, err := cluster.Members(ctx, false); err == nil && slices.Equal(now.Voters(), []raft.NodeID{m.ID}) {
		return nil, rpctypes.ErrGRPCMemberNotEnoughStarted
	}
	members, err := changed(ctx, cluster, raft.Change{Kind: raft.ChangeRemove, ID: m.ID})
	if err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: memberHeader(store), Members: memberList(members)}, nil
}

func (s *clusterService) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	store, cluster, m, err := s.member(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if !m.Learner {
		return nil, rpctypes.ErrGRPCMemberNotLearner
	}
	members, err := changed(ctx, cluster, raft.Change{Kind: raft.ChangePromote, ID: m.ID})
	if err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: memberHeader(store), Members: memberList(members)}, nil
}

func (s *clusterService) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	store, cluster, m, err := s.member(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	address, err := peerAddress(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	members, err := changed(ctx, cluster, raft.Change{Kind: raft.ChangeUpdate, ID: m.ID, Member: raft.Member{PeerAddress: address}})
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: memberHeader(store), Members: memberList(members)}, nil
}

// peerAddress is how the membership has a member's URL, of which there is one: host:port, with the scheme before it if by TLS.
func peerAddress(urls []string) (string, error) {
	if len(urls) != 1 || len(urls[0]) > maxURLBytes {
		return "", rpctypes.ErrGRPCMemberBadURLs
	}
	u, err := url.Parse(strings.TrimSpace(urls[0]))
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return "", rpctypes.ErrGRPCMemberBadURLs
	}
	switch u.Scheme + "://" {
	case urlScheme:
		return u.Host, nil
	case secureScheme:
		return secureScheme + u.Host, nil
	}
	return "", rpctypes.ErrGRPCMemberBadURLs
}

// member finds the member that a change is asked of, in the latest membership.
func (s *clusterService) member(ctx context.Context, id uint64) (backend.Store, Cluster, raft.Member, error) {
	if s.options.Managed {
		return nil, nil, raft.Member{}, errManaged
	}
	store, cluster, err := s.joined()
	if err != nil {
		return nil, nil, raft.Member{}, err
	}
	now, err := cluster.Members(ctx, true)
	if err != nil {
		return nil, nil, raft.Member{}, err
	}
	m, ok := now.Find(raft.NodeID(id))
	if !ok {
		return nil, nil, raft.Member{}, rpctypes.ErrGRPCMemberNotFound
	}
	return store, cluster, m, nil
}

// changed carries out a change, and returns the membership then.
func changed(ctx context.Context, cluster Cluster, change raft.Change) (raft.Membership, error) {
	if err := cluster.Change(ctx, change); err != nil {
		return raft.Membership{}, err
	}
	return cluster.Members(ctx, false)
}

func memberList(m raft.Membership) []*pb.Member {
	out := make([]*pb.Member, len(m.Members))
	for i, x := range m.Members {
		out[i] = &pb.Member{ID: uint64(x.ID), Name: x.Name, PeerURLs: []string{memberURL(x.PeerAddress)}, IsLearner: x.Learner}
		if x.ClientAddress != "" {
			out[i].ClientURLs = []string{memberURL(x.ClientAddress)}
		}
	}
	return out
}

// memberURL puts the scheme before an address that tells none, which is that of a member without TLS.
func memberURL(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return urlScheme + address
}
