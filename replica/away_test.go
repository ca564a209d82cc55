package replica

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica/identity"
)

// A voter comes back from before the leader was added, or its place was claimed. It hears the leader, so it stands for nothing, and can only be brought on if it learns
// whom to answer.
func TestAVoterFollowsALeaderThatItHasNotHeardOf(t *testing.T) {
	for _, invited := range []bool{false, true} {
		t.Run(fmt.Sprintf("invited before: %t", invited), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			all := trioThatElects(t, time.Second)
			all[0].propose(ctx, "x")
			d := newStation(t, "d")
			d.cfg.ElectionTimeout = time.Second
			d.start()
			newcomer := raft.Member{Name: "d", Incarnation: d.replica.Status().Identity.Incarnation, PeerAddress: d.replica.Address()}
			var place raft.NodeID
			if invited {
				place = changeBy(ctx, t, all, raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: newcomer.PeerAddress}})
				eventually(t, "all know of the invitation", func() bool {
					for _, s := range all {
						if _, there := s.replica.Status().Membership.Find(place); !there || !s.replica.Status().ConfigCommitted {
							return false
						}
					}
					return true
				})
			}
			away := all[2]
			away.kill()
			if invited {
				changeBy(ctx, t, all, raft.Change{Kind: raft.ChangeClaim, ID: place, Member: newcomer})
			}
			id := addTo(ctx, t, all, newcomer)
			if invited && id != place {
				t.Fatalf("member %s was claimed, the directory is member %s", place, id)
			}
			eventually(t, "the newcomer leads", func() bool {
				if !d.replica.Status().Leads() {
					_, _ = leaderOf(t, append(all, d)).replica.Transfer(ctx, id)
				}
				return d.replica.Status().Leads()
			})
			away.start()
			if got := away.count(ctx, "x"); got != 1 {
				t.Errorf("after its return x = %d", got)
			}
		})
	}
}

// changeBy has whoever leads make a change, and returns the member that it concerns.
func changeBy(ctx context.Context, t *testing.T, all []*station, change raft.Change) (id raft.NodeID) {
	t.Helper()
	eventually(t, change.Kind.String(), func() bool {
		leader := leaderOf(t, all).replica
		ids, _, err := leader.Change(ctx, leader.Status().ConfigIndex, change)
		if errors.Is(err, raft.ErrAddressTaken) { // by the same change, whose answer was lost
			members := leader.Status().Membership.Members
			ids, err = []raft.NodeID{members[len(members)-1].ID}, nil
		}
		if err == nil {
			id = ids[0]
		}
		return err == nil
	})
	return id
}

// Who was away dials the newcomer as soon as a member has told it, whether that knew of the newcomer before they were connected or hears of it later.
func TestAMemberIsToldOfOthersThatItDoesNotKnow(t *testing.T) {
	for _, x := range []struct {
		name string
		// first says that the two are connected before the newcomer is added.
		first bool
		// invited says that whoever was away has heard of the newcomer's invitation.
		invited bool
		// other is how many changes whoever was away has in its log that will never be committed.
		other raft.Index
	}{
		{"before", false, false, 0},
		{"later", true, false, 0},
		{"claimed", false, true, 0},
		{"another membership at the same index", false, false, 1},
		{"another membership at a higher index", true, false, 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			knows, at1 := openDoor(t, identity.Identity{Incarnation: 11, ClusterID: 7, MemberID: 1}, true)
			away, at2 := openDoor(t, identity.Identity{Incarnation: 22, ClusterID: 7, MemberID: 2}, true)
			_, at3 := openDoor(t, identity.Identity{Incarnation: 33, ClusterID: 7, MemberID: 3}, true)
			old := raft.NewMembership(raft.Member{ID: 1, Incarnation: 11, PeerAddress: at1}, raft.Member{ID: 2, Incarnation: 22, PeerAddress: at2})
			if x.invited {
				var err error
				if old, _, err = old.Apply(raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: at3}}); err != nil {
					t.Fatal(err)
				}
			}
			old.Index = 5
			with := raft.NewMembership(append(old.Clone().Members[:2], raft.Member{ID: 3, Incarnation: 33, PeerAddress: at3})...)
			with.Index = 8
			lost := old.Clone()
			if x.other > 0 {
				lost = raft.NewMembership(append(lost.Members, raft.Member{ID: 3, Incarnation: 44, PeerAddress: at3, Learner: true})...)
				lost.Index = with.Index - 1 + x.other
			}
			away.setMembership(lost, old)
			if x.first {
				knows.setMembership(old, old)
				eventually(t, "the two are connected", func() bool { return connectedTo(knows, 2) })
			}
			knows.setMembership(with, with)
			eventually(t, "the newcomer is dialled", func() bool { return connectedTo(away, 3) })
		})
	}
}

func connectedTo(d *door, id raft.NodeID) bool {
	for _, p := range d.transport.Stats().Peers {
		if p.ID == id {
			return p.Connected
		}
	}
	return false
}

// The other way round: the newcomer is let in by who has heard of its invitation only, and of nobody else that goes by its ID afterwards.
func TestWhoClaimedAnInvitationIsLetIn(t *testing.T) {
	d, _ := openDoor(t, identity.Identity{Incarnation: 22, ClusterID: 7, MemberID: 2}, true)
	members := raft.NewMembership(raft.Member{ID: 1, Incarnation: 11}, raft.Member{ID: 2, Incarnation: 22})
	invited, id, err := members.Apply(raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	claimed, _, err := invited.Apply(raft.Change{Kind: raft.ChangeClaim, ID: id, Member: raft.Member{Incarnation: 33, PeerAddress: "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	invited.Index, claimed.Index = 5, 6
	hello := transport.Hello{Cluster: 7, From: id, FromIncarnation: 33, To: 2, ToIncarnation: 22, FeatureMin: 1, FeatureMax: 1}
	d.setMembership(invited, invited)
	if _, err := d.Accept(hello); err != nil {
		t.Errorf("whose claim is not known yet: %v", err)
	}
	d.setMembership(claimed, claimed)
	if _, err := d.Accept(hello); err != nil {
		t.Errorf("who has claimed it: %v", err)
	}
	hello.FromIncarnation = 34
	if _, err := d.Accept(hello); err == nil {
		t.Error("another directory was let in under a claimed ID")
	}
}
