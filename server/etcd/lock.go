package etcd

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd/v3lockpb"
)

type lockService struct {
	v3lockpb.UnimplementedLockServer
	*Server
}

// errSessionExpired is what etcd says to who has waited for a lock longer than its lease lived.
var errSessionExpired = status.Error(codes.Unknown, "mutex: session is expired")

// Lock waits at the end of the name's row until its key is at the head.
func (s *lockService) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	lease, err := session(ctx, store, r.Lease)
	if err != nil {
		return nil, err
	}
	p, err := join(ctx, store, r.Name, lease, nil)
	if err != nil {
		return nil, err
	}
	revision, err := p.wait(ctx)
	switch {
	case errors.Is(err, errLeft):
		return nil, errSessionExpired
	case err != nil:
		p.leave(ctx)
		return nil, err
	}
	return &v3lockpb.LockResponse{Header: header(store, revision), Key: p.key}, nil
}

func (s *lockService) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.DeleteRange(ctx, backend.DeleteRequest{Keys: kv.One(r.Key)})
	if err != nil {
		return nil, err
	}
	return &v3lockpb.UnlockResponse{Header: header(store, result.Revision)}, nil
}
