package etcd

import (
	"context"
	"regexp"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// etcdVersion is how a version is written, with the patch level or without.
var etcdVersion = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([-+].*)?$`)

// Downgrade answers as an etcd that can go back to no version that is asked for. What raftkv goes back to is decided by its members' builds, without
// this call.
func (s *maintenanceService) Downgrade(_ context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if !etcdVersion.MatchString(r.Version) {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case pb.DowngradeRequest_CANCEL: // nothing is under way, which is no error for etcd
		store, err := s.opened()
		if err != nil {
			return nil, err
		}
		return &pb.DowngradeResponse{Header: header(store, 0), Version: strings.TrimSuffix(ClusterVersion, ".0")}, nil
	}
	return nil, status.Error(codes.Unknown, "etcdserver: unknown method")
}
