package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// authService says that authentication is off, which clients ask before anything else.
type authService struct {
	pb.UnimplementedAuthServer
	*Server
}

func (s *authService) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	// The revision of rights that never changed.
	return &pb.AuthStatusResponse{Header: header(store, 0), AuthRevision: 1}, nil
}

func (s *authService) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}
