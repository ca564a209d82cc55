package etcd

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestCallsBeyondTheBoundWaitInTheClient until one of the connection ends.
func TestCallsBeyondTheBoundWaitInTheClient(t *testing.T) {
	ctx := within(t)
	_, c := serveWith(t, &still{leader: 1}, Options{MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second, MaxStreams: 1})
	// A client learns the bound with the first answer.
	if _, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	only, end := context.WithCancel(ctx)
	defer end()
	watches, err := pb.NewWatchClient(c).Watch(only)
	if err != nil {
		t.Fatal(err)
	}
	if err := watches.Send(&pb.WatchRequest{}); err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := pb.NewMaintenanceClient(c).Status(brief, &pb.StatusRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("beside the only call that there may be: %v", err)
	}
	end()
	if _, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{}); err != nil {
		t.Errorf("after it: %v", err)
	}
}
