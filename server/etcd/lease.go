package etcd

import (
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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
	ctx, cancel := context.WithCancelCause(stream.Context())
	k := &keeper{stream: stream, store: store, end: cancel, slots: make(chan struct{}, maxRenewalsPerStream)}
	// Receiving ends only when the call does, and the call ends when this method returns, which may be for a reason of ours.
	go k.receive(ctx)
	<-ctx.Done()
	k.close()
	if cause := context.Cause(ctx); !errors.Is(cause, io.EOF) {
		return cause
	}
	return nil
}

// keeper is one stream of renewals.
type keeper struct {
	stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]
	store  backend.Store
	end    context.CancelCauseFunc
	slots  chan struct{}

	mu     sync.Mutex // guards sending
	closed bool
}

// receive takes requests until the client has ended its side and all are answered, or the stream has ended.
func (k *keeper) receive(ctx context.Context) {
	var renewing sync.WaitGroup
	for {
		r, err := k.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				renewing.Wait()
			}
			k.end(err)
			return
		}
		select {
		case k.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		renewing.Go(func() {
			defer func() { <-k.slots }()
			if err := k.renew(ctx, r.ID); err != nil {
				k.end(err)
			}
		})
	}
}

func (k *keeper) renew(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := k.store.LeaseKeepAlive(ctx, id)
	if err != nil {
		return refusal(err)
	}
	response := &pb.LeaseKeepAliveResponse{Header: header(k.store, lease.Revision), ID: id, TTL: lease.TTL}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	return k.stream.Send(response)
}

// close lets nothing be sent any more.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
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
