package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// blobBytes is what one message of a snapshot holds.
	blobBytes = 64 << 10
	// snapshotAlignBytes: etcd's tools take a file for one with a checksum at its end if its length is a multiple of this and a checksum.
	snapshotAlignBytes = 512
)

type maintenanceService struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

func (s *maintenanceService) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	now, err := store.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.StatusResponse{
		Header: header(store, now.Revision), Version: Version, StorageVersion: ClusterVersion, Leader: uint64(now.Leader), IsLearner: now.Learner,
		RaftTerm: uint64(now.Term), RaftIndex: uint64(now.Committed), RaftAppliedIndex: uint64(now.Applied), Errors: now.Errors,
		DbSize: now.FileBytes, DbSizeInUse: now.UsedBytes, DbSizeQuota: now.QuotaBytes, DowngradeInfo: &pb.DowngradeInfo{},
	}, nil
}

func (s *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.HashKV(ctx, 0)
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: header(store, result.Latest), Hash: result.Hash}, nil
}

func (s *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	result, err := store.HashKV(ctx, unsigned(r.Revision))
	if err != nil {
		return nil, err
	}
	compacted := signed(result.CompactRevision)
	if compacted == 0 {
		compacted = -1 // what never compacted is to etcd
	}
	return &pb.HashKVResponse{Header: header(store, result.Latest), Hash: result.Hash, CompactRevision: compacted, HashRevision: signed(result.Revision)}, nil
}

func (s *maintenanceService) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	if err := store.Defragment(ctx); err != nil {
		return nil, err
	}
	return &pb.DefragmentResponse{}, nil // etcd's has no header
}

func (s *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	store, cluster := s.store(), s.cluster()
	if store == nil || cluster == nil {
		return nil, rpctypes.ErrGRPCStopped
	}
	to := raft.NodeID(r.TargetID)
	if to == 0 {
		// Whoever is best, to the cluster; to etcd a member that does not exist, which its leader says and others do not.
		if now, err := store.Status(ctx); err != nil || now.Leader != now.MemberID {
			return nil, rpctypes.ErrGRPCNotLeader
		}
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if err := cluster.Transfer(ctx, to); err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil // etcd's has no header
}

func (s *maintenanceService) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	store, err := s.opened()
	if err != nil {
		return nil, err
	}
	action, okAction := alarmActions[r.Action]
	kind, okKind := alarmTypes[r.Alarm]
	if !okAction || !okKind {
		return nil, kv.ErrMalformed
	}
	alarms, err := store.Alarm(ctx, backend.AlarmRequest{Action: action, Member: raft.NodeID(r.MemberID), Type: kind})
	if err != nil {
		return nil, err
	}
	out := &pb.AlarmResponse{Header: header(store, 0)}
	for _, a := range alarms {
		out.Alarms = append(out.Alarms, &pb.AlarmMember{MemberID: uint64(a.Member), Alarm: pb.AlarmType(a.Type)})
	}
	return out, nil
}

var alarmActions = map[pb.AlarmRequest_AlarmAction]backend.AlarmAction{
	pb.AlarmRequest_GET: backend.AlarmGet, pb.AlarmRequest_ACTIVATE: backend.AlarmRaise, pb.AlarmRequest_DEACTIVATE: backend.AlarmLower,
}

var alarmTypes = map[pb.AlarmType]kv.AlarmType{
	pb.AlarmType_NONE: kv.AlarmNone, pb.AlarmType_NOSPACE: kv.AlarmNoSpace, pb.AlarmType_CORRUPT: kv.AlarmCorrupt,
}

// Snapshot streams the state, padded with zeros, and then the SHA-256 of all that, as etcd's tools expect it.
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	store, err := s.opened()
	if err != nil {
		return err
	}
	snapshot, err := s.snapshots.Open(stream.Context(), store, blobBytes)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	sum, sent := sha256.New(), 0
	send := func(blob []byte) error {
		sum.Write(blob)
		sent += len(blob)
		// RemainingBytes is not known beforehand; one is "more follows".
		return stream.Send(&pb.SnapshotResponse{Blob: blob, RemainingBytes: 1, Version: ClusterVersion})
	}
	for {
		blob, err := snapshot.Next(stream.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = send(blob)
		}
		if err != nil {
			return err
		}
	}
	if rest := sent % snapshotAlignBytes; rest != 0 {
		if err := send(make([]byte, snapshotAlignBytes-rest)); err != nil {
			return err
		}
	}
	return stream.Send(&pb.SnapshotResponse{Blob: sum.Sum(nil), Version: ClusterVersion})
}
