package client

import (
	"context"

	"github.com/raftkv/raftkv/client/wire"
)

// The methods of the service that are called by invoke. Naming a field of a stub that is not known yet takes a func.

func openSessionMethod(s *wire.Service) func(context.Context, *wire.SessionRequest) (*wire.SessionReply, error) {
	return s.OpenSession
}

func compactMethod(s *wire.Service) func(context.Context, *wire.CompactRequest) (*wire.Reply, error) {
	return s.Compact
}

func scrubMethod(s *wire.Service) func(context.Context, *wire.CompactRequest) (*wire.Reply, error) {
	return s.Scrub
}

func grantMethod(s *wire.Service) func(context.Context, *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.LeaseGrant
}

func revokeMethod(s *wire.Service) func(context.Context, *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.LeaseRevoke
}

func keepAliveMethod(s *wire.Service) func(context.Context, *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.LeaseKeepAlive
}

func timeToLiveMethod(s *wire.Service) func(context.Context, *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.LeaseTimeToLive
}

func leaseListMethod(s *wire.Service) func(context.Context, *wire.Empty) (*wire.LeaseListReply, error) {
	return s.LeaseList
}

func watchCreateMethod(s *wire.Service) func(context.Context, *wire.WatchRequest) (*wire.Reply, error) {
	return s.WatchCreate
}

func watchCancelMethod(s *wire.Service) func(context.Context, *wire.WatchCancel) (*wire.Reply, error) {
	return s.WatchCancel
}

func membersMethod(s *wire.Service) func(context.Context, *wire.MembersRequest) (*wire.MembersReply, error) {
	return s.Members
}

func statusMethod(s *wire.Service) func(context.Context, *wire.Empty) (*wire.StatusReply, error) {
	return s.Status
}

func moveLeaderMethod(s *wire.Service) func(context.Context, *wire.MoveLeaderRequest) (*wire.Reply, error) {
	return s.MoveLeader
}

func hashMethod(s *wire.Service) func(context.Context, *wire.HashRequest) (*wire.HashReply, error) {
	return s.Hash
}

func defragmentMethod(s *wire.Service) func(context.Context, *wire.Empty) (*wire.Reply, error) {
	return s.Defragment
}

func alarmMethod(s *wire.Service) func(context.Context, *wire.AlarmRequest) (*wire.AlarmReply, error) {
	return s.Alarm
}

func snapshotOpenMethod(s *wire.Service) func(context.Context, *wire.Empty) (*wire.SnapshotReply, error) {
	return s.SnapshotOpen
}
