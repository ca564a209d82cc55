package etcd

import (
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/raftkv/raftkv/server/backend"
)

// maxRenewalsPerStream bounds the renewals of one stream that are under way: each waits for the log, and they share their trips.
const maxRenewalsPerStream = 256

type leaseService struct {
	pb.UnimplementedLeaseServer
	*Server
}

func (s *leaseService) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	lease, err := store.LeaseGrant(ctx, r.ID, r.TTL)
	if err != nil {
		return nil, err
	}
	return &pb.LeaseGrantResponse{Header: header(store, lease.Revision), ID: lease.ID, TTL: lease.TTL}, nil
}

func (s *leaseService) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	revision, err := store.LeaseRevoke(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return &pb.LeaseRevokeResponse{Header: header(store, revision)}, nil
}

// LeaseKeepAlive renews leases as they are asked for. The answers of one stream may come in another order: each names its lease.
func (s *leaseService) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	store, err := s.opened()
	if err != nil {
		return err
	}
	var sending sync.Mutex
	group, ctx := errgroup.WithContext(stream.Context())
	group.SetLimit(maxRenewalsPerStream)
	for ctx.Err() == nil {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return group.Wait()
		}
		if err != nil {
			return errors.Join(group.Wait(), err)
		}
		group.Go(func() error {
			response, err := keepAlive(ctx, store, r.ID)
			if err != nil {
				return err
			}
			sending.Lock()
			defer sending.Unlock()
			return stream.Send(response)
		})
	}
	return group.Wait()
}

func keepAlive(ctx context.Context, store backend.Store, id int64) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := store.LeaseKeepAlive(ctx, id)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	return &pb.LeaseKeepAliveResponse{Header: header(store, lease.Revision), ID: id, TTL: lease.TTL}, nil
}

func (s *leaseService) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	lease, err := store.LeaseTimeToLive(ctx, r.ID, r.Keys)
	if err != nil {
		return nil, err
	}
	return &pb.LeaseTimeToLiveResponse{
		Header: header(store, lease.Revision), ID: r.ID, TTL: lease.Remaining, GrantedTTL: lease.TTL, Keys: lease.Keys,
	}, nil
}

func (s *leaseService) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	ids, revision, err := store.Leases(ctx)
	if err != nil {
		return nil, err
	}
	out := &pb.LeaseLeasesResponse{Header: header(store, revision), Leases: make([]*pb.LeaseStatus, len(ids))}
	for i, id := range ids {
		out.Leases[i] = &pb.LeaseStatus{ID: id}
	}
	return out, nil
}
