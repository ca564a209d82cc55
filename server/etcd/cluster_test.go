package etcd

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// changes is a cluster that notes what it is asked for.
type changes struct {
	now   raft.Membership
	asked []raft.Change
}

func (c *changes) Members(context.Context, bool) (raft.Membership, error) { return c.now, nil }
func (c *changes) Transfer(context.Context, raft.NodeID) error            { return nil }

func (c *changes) Change(_ context.Context, change raft.Change) error {
	c.asked = append(c.asked, change)
	return nil
}

// TestAPeerURLIsAllThatAnUpdateNames: the rest may have been changed since it was read.
func TestAPeerURLIsAllThatAnUpdateNames(t *testing.T) {
	c := &changes{now: raft.NewMembership(raft.Member{ID: 2, Incarnation: 22, Name: "b", PeerAddress: "b:1", ClientAddress: "b:2"})}
	s := &clusterService{Server: New(func() backend.Store { return &still{} }, func() Cluster { return c }, Options{})}
	defer s.Stop(t.Context())
	if _, err := s.MemberUpdate(t.Context(), &pb.MemberUpdateRequest{ID: 2, PeerURLs: []string{"https://c:1"}}); err != nil {
		t.Fatal(err)
	}
	want := raft.Change{Kind: raft.ChangeUpdate, ID: 2, Member: raft.Member{PeerAddress: "https://c:1"}}
	if len(c.asked) != 1 || c.asked[0] != want {
		t.Errorf("%+v, want %+v", c.asked, want)
	}
}
