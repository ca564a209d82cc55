package etcd

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd/v3electionpb"
)

type electionService struct {
	v3electionpb.UnimplementedElectionServer
	*Server
}

// What etcd says, but for a candidate whose lease has ended while it waited, which etcd would call elected.
var (
	errMissingLeaderKey  = status.Error(codes.Unknown, `"leader" field must be provided`)
	errElectionNotLeader = status.Error(codes.Unknown, "election: not leader")
	errElectionNoLeader  = status.Error(codes.Unknown, "election: no leader")
	errCandidateExpired  = status.Error(codes.Unknown, "election: session is expired")
)

// Campaign waits at the end of the name's row until its key is at the head.
func (s *electionService) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	lease, err := session(ctx, store, r.Lease)
	if err != nil {
		return nil, err
	}
	p, err := join(ctx, store, r.Name, lease, r.Value)
	if err != nil {
		return nil, err
	}
	if p.had != nil && !bytes.Equal(p.had.Value, r.Value) {
		if p.revision, err = p.proclaim(ctx, r.Value); err != nil {
			p.leave(ctx)
			return nil, err
		}
	}
	revision, err := p.wait(ctx)
	switch {
	case errors.Is(err, errLeft):
		return nil, errCandidateExpired
	case err != nil:
		p.leave(ctx)
		return nil, err
	}
	return &v3electionpb.CampaignResponse{Header: header(store, revision), Leader: &v3electionpb.LeaderKey{
		Name: r.Name, Key: p.key, Rev: signed(p.created), Lease: lease,
	}}, nil
}

// proclaim changes the value of a key that is in its row.
func (p *place) proclaim(ctx context.Context, value []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	put := kv.PutOp(p.key, value)
	put.Lease = p.lease
	result, err := p.store.Txn(ctx, backend.TxnRequest{OutcomeOnly: true, Txn: kv.Txn{Compares: []kv.Compare{p.unchanged()}, Success: []kv.Op{put}}})
	if err == nil && !result.Succeeded {
		err = errElectionNotLeader
	}
	return result.Revision, err
}

// resume finds the place that a leader's key tells of.
func (s *electionService) resume(ctx context.Context, leader *v3electionpb.LeaderKey) (*place, error) {
	if leader == nil {
		return nil, errMissingLeaderKey
	}
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	lease, err := session(ctx, store, leader.Lease)
	if err != nil {
		return nil, err
	}
	return &place{store: store, row: rowOf(leader.Name), key: leader.Key, lease: lease, created: unsigned(leader.Rev)}, nil
}

func (s *electionService) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	p, err := s.resume(ctx, r.Leader)
	if err != nil {
		return nil, err
	}
	revision, err := p.proclaim(ctx, r.Value)
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ProclaimResponse{Header: header(p.store, revision)}, nil
}

// Resign deletes the leader's key. It does nothing if that is not there any more.
func (s *electionService) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	p, err := s.resume(ctx, r.Leader)
	if err != nil {
		return nil, err
	}
	result, err := p.store.Txn(ctx, backend.TxnRequest{OutcomeOnly: true, Txn: kv.Txn{
		Compares: []kv.Compare{p.unchanged()}, Success: []kv.Op{kv.DeleteOp(kv.One(p.key))},
	}})
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ResignResponse{Header: header(p.store, result.Revision)}, nil
}

func (s *electionService) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	leader, revision, err := head(ctx, store, rowOf(r.Name))
	switch {
	case err != nil:
		return nil, err
	case leader == nil:
		return nil, errElectionNoLeader
	}
	return &v3electionpb.LeaderResponse{Header: header(store, revision), Kv: keyValue(leader)}, nil
}

// head returns the first key of a row, nil if it is empty.
func head(ctx context.Context, store backend.Store, row []byte) (*kv.KeyValue, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result, err := store.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{
		Keys: kv.Prefix(row), Limit: 1, Sort: kv.SortAscending, Target: kv.SortByCreate,
	}})
	if err != nil || len(result.Items) == 0 {
		return nil, result.Revision, err
	}
	return &result.Items[0], result.Revision, nil
}

// Observe tells who leads and each value that it proclaims, until the caller has enough.
func (s *electionService) Observe(r *v3electionpb.LeaderRequest, stream grpc.ServerStreamingServer[v3electionpb.LeaderResponse]) error {
	store, err := s.opened()
	if err != nil {
		return err
	}
	ctx, row := stream.Context(), rowOf(r.Name)
	tell := func(x *kv.KeyValue, revision uint64) error {
		return stream.Send(&v3electionpb.LeaderResponse{Header: header(store, revision), Kv: keyValue(x)})
	}
	for {
		leader, revision, err := head(ctx, store, row)
		if err != nil {
			return err
		}
		if leader == nil {
			// Whoever comes first leads.
			if leader, err = first(ctx, store, row, revision+1); err != nil {
				return err
			}
			if leader == nil {
				continue
			}
			revision = leader.ModRevision
		}
		if err := tell(leader, revision); err != nil {
			return err
		}
		// Not from behind its last write, which may be long ago, in history that is compacted.
		if err := follow(ctx, store, leader.Key, revision+1, tell); err != nil {
			return err
		}
	}
}

// first waits for the first write to an empty row; nil means that the row has to be looked at again.
func first(ctx context.Context, store backend.Store, row []byte, from uint64) (leader *kv.KeyValue, err error) {
	err = watchEvents(ctx, store, watch.Request{Keys: kv.Prefix(row), StartRevision: from, NoDelete: true}, func(e *kv.Event, _ uint64) (bool, error) {
		leader = &e.KV
		return false, nil
	})
	return leader, err
}

// follow tells what is written to a leader's key until it is deleted, or has to be looked at again.
func follow(ctx context.Context, store backend.Store, key []byte, from uint64, tell func(*kv.KeyValue, uint64) error) error {
	return watchEvents(ctx, store, watch.Request{Keys: kv.One(key), StartRevision: from}, func(e *kv.Event, revision uint64) (bool, error) {
		if e.Type == kv.EventDelete {
			return false, nil
		}
		return true, tell(&e.KV, revision)
	})
}

// watchEvents gives events to see until it wants no more, or history that is needed is compacted.
func watchEvents(ctx context.Context, store backend.Store, r watch.Request, see func(e *kv.Event, revision uint64) (more bool, err error)) error {
	stream, err := store.Watch()
	if err != nil {
		return err
	}
	defer stream.Close()
	r.ID = watch.AutoID
	if _, err := stream.Watch(r); err != nil {
		return err
	}
	for {
		response, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		for i := range response.Events {
			if more, err := see(&response.Events[i], response.Revision); err != nil || !more {
				return err
			}
		}
		if response.Canceled {
			return nil
		}
	}
}
