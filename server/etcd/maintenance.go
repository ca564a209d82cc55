package etcd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"hash"
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
	if err := cluster.Transfer(ctx, raft.NodeID(r.TargetID)); err != nil {
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
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) (err error) {
	store, err := s.opened()
	if err != nil {
		return err
	}
	snapshot, err := store.Snapshot(stream.Context())
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := snapshot.Close(); err == nil {
			err = closeErr
		}
	}()
	blobs := &blobWriter{stream: stream, sum: sha256.New()}
	out := bufio.NewWriterSize(blobs, blobBytes)
	n, err := snapshot.WriteTo(out)
	if err != nil {
		return err
	}
	if rest := n % snapshotAlignBytes; rest != 0 {
		if _, err := out.Write(make([]byte, snapshotAlignBytes-rest)); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return stream.Send(&pb.SnapshotResponse{Blob: blobs.sum.Sum(nil), Version: ClusterVersion})
}

// blobWriter sends what is written as messages, and sums it up.
type blobWriter struct {
	stream grpc.ServerStreamingServer[pb.SnapshotResponse]
	sum    hash.Hash
}

var _ io.Writer = (*blobWriter)(nil)

func (w *blobWriter) Write(b []byte) (int, error) {
	w.sum.Write(b)
	// RemainingBytes is not known beforehand; one is "more follows".
	if err := w.stream.Send(&pb.SnapshotResponse{Blob: b, RemainingBytes: 1, Version: ClusterVersion}); err != nil {
		return 0, err
	}
	return len(b), nil
}
