package native

import (
	"context"
	"fmt"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// joined returns store and cluster, or the refusal of a node that has none.
func (s *service) joined() (Store, Cluster, error) {
	store, cluster := s.store(), s.cluster()
	if store == nil || cluster == nil {
		return nil, nil, errNoMember
	}
	return store, cluster, nil
}

// Members is that of wire.Service.
func (s *service) Members(ctx context.Context, r *wire.MembersRequest) (*wire.MembersReply, error) {
	store, cluster, err := s.joined()
	if err != nil {
		return &wire.MembersReply{Reply: replyOf(0, err)}, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	membership, err := cluster.Members(ctx, r.Linearizable)
	if err != nil {
		return &wire.MembersReply{Reply: replyOf(0, err)}, nil
	}
	reply := &wire.MembersReply{Self: uint64(store.Header().MemberID), Leader: uint64(store.Leader()), Members: make([]wire.Member, len(membership.Members))}
	for i, m := range membership.Members {
		reply.Members[i] = wire.Member{ID: uint64(m.ID), Name: m.Name, PeerAddress: m.PeerAddress, ClientAddress: m.ClientAddress, Learner: m.Learner}
	}
	return reply, nil
}

// MoveLeader is that of wire.Service.
func (s *service) MoveLeader(ctx context.Context, r *wire.MoveLeaderRequest) (*wire.Reply, error) {
	_, cluster, err := s.joined()
	if err == nil {
		ctx, cancel := bounded(ctx)
		defer cancel()
		err = cluster.Transfer(ctx, raft.NodeID(r.To))
	}
	reply := replyOf(0, err)
	return &reply, nil
}

// Status is that of wire.Service. A node that is no member tells its name and version, and that.
func (s *service) Status(ctx context.Context, _ *wire.Empty) (*wire.StatusReply, error) {
	reply := &wire.StatusReply{Name: s.options.Name, Version: s.options.Version}
	store, err := s.opened()
	if err != nil {
		reply.Errors = []string{err.Error()}
		return reply, nil
	}
	now, err := store.Status(ctx)
	if err != nil {
		reply.Reply = replyOf(0, err)
		return reply, nil
	}
	reply.Revision, reply.CompactedRevision = now.Revision, now.CompactedRevision
	reply.ClusterID, reply.MemberID, reply.Leader, reply.Term = uint64(now.ClusterID), uint64(now.MemberID), uint64(now.Leader), uint64(now.Term)
	reply.Learner, reply.Committed, reply.Applied = now.Learner, uint64(now.Committed), uint64(now.Applied)
	reply.FileBytes, reply.UsedBytes, reply.QuotaBytes, reply.Errors = now.FileBytes, now.UsedBytes, now.QuotaBytes, now.Errors
	return reply, nil
}

// Hash is that of wire.Service.
func (s *service) Hash(ctx context.Context, r *wire.HashRequest) (*wire.HashReply, error) {
	store, err := s.opened()
	if err != nil {
		return &wire.HashReply{Reply: replyOf(0, err)}, nil
	}
	h, err := store.HashKV(ctx, r.Revision)
	return &wire.HashReply{
		Reply: replyOf(h.Latest, err), MemberID: uint64(store.Header().MemberID), Hash: h.Hash, HashRevision: h.Revision, CompactRevision: h.CompactRevision,
	}, nil
}

// Defragment is that of wire.Service.
func (s *service) Defragment(ctx context.Context, _ *wire.Empty) (*wire.Reply, error) {
	store, err := s.opened()
	if err == nil {
		err = store.Defragment(ctx)
	}
	reply := replyOf(0, err)
	return &reply, nil
}

var alarmActions = map[string]backend.AlarmAction{
	wire.AlarmGet: backend.AlarmGet, wire.AlarmRaise: backend.AlarmRaise, wire.AlarmLower: backend.AlarmLower,
}

// Alarm is that of wire.Service.
func (s *service) Alarm(ctx context.Context, r *wire.AlarmRequest) (*wire.AlarmReply, error) {
	alarms, err := s.alarm(ctx, r)
	reply := &wire.AlarmReply{Reply: replyOf(0, err)}
	for _, a := range alarms {
		reply.Alarms = append(reply.Alarms, wire.Alarm{Member: uint64(a.Member), Type: uint8(a.Type)})
	}
	return reply, nil
}

func (s *service) alarm(ctx context.Context, r *wire.AlarmRequest) ([]kv.Alarm, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	action, known := alarmActions[r.Action]
	if !known || r.Type > uint8(kv.AlarmCorrupt) || action == backend.AlarmRaise && r.Type == uint8(kv.AlarmNone) {
		return nil, fmt.Errorf("%w: an alarm or what to do with it is unknown", kv.ErrMalformed)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return store.Alarm(ctx, backend.AlarmRequest{Action: action, Member: raft.NodeID(r.Member), Type: kv.AlarmType(r.Type)})
}
