package transport

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func TestWhoIsDialed(t *testing.T) {
	at := func(index raft.Index, members ...raft.Member) raft.Membership {
		m := raft.NewMembership(members...)
		m.Index = index
		return m
	}
	a, b, c := raft.Member{ID: 1}, raft.Member{ID: 2}, raft.Member{ID: 3, Learner: true}
	voter := raft.Member{ID: 3}
	with, _, err := at(2, a, b).Apply(raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	invited, claimed := with.Members[2], with.Members[2]
	claimed.Incarnation = 33
	var none raft.Membership
	for _, x := range []struct {
		name                     string
		current, committed, told raft.Membership
		want                     []raft.NodeID
	}{
		{"all committed", at(2, a, b, c), at(2, a, b, c), none, []raft.NodeID{1, 2, 3}},
		{"a learner whose addition may be undone", at(3, a, b, c), at(2, a, b), none, []raft.NodeID{1, 2}},
		{"a voter that an old state does not know", at(9, a, b, voter), at(2, a, b), none, []raft.NodeID{1, 2, 3}},
		{"an invited member", at(3, a, b, invited), at(3, a, b, invited), none, []raft.NodeID{1, 2}},
		{"an invitation that is taken back", at(4, a, b), at(3, a, b, invited), none, []raft.NodeID{1, 2}},
		{"a claim that may be undone", at(4, a, b, claimed), at(3, a, b, invited), none, []raft.NodeID{1, 2}},
		{"a claim", at(4, a, b, claimed), at(4, a, b, claimed), none, []raft.NodeID{1, 2, 3}},
		{"a removal that may be undone", at(3, a, b), at(2, a, b, voter), none, []raft.NodeID{1, 2, 3}},
		{"a member without a log that was told", none, none, at(5, a, b, c), []raft.NodeID{1, 2, 3}},
		{"a voter that was told of another", at(2, a, b), at(2, a, b), at(5, a, b, voter), []raft.NodeID{1, 2, 3}},
		{"one that was told of what it knows", at(5, a, b, voter), at(5, a, b, voter), at(2, a, b), []raft.NodeID{1, 2, 3}},
		{"a removal that it was not told of", at(5, a, b), at(5, a, b), at(2, a, b, voter), []raft.NodeID{1, 2}},
		{"told of a claim", at(3, a, b, invited), at(3, a, b, invited), at(5, a, b, claimed), []raft.NodeID{1, 2, 3}},
		{"an invitation in force that is lost, told of a claim", at(6, a, b, invited), at(2, a, b), at(5, a, b, claimed), []raft.NodeID{1, 2, 3}},
		{"a change in force that is lost", at(6, a, b), at(2, a, b), at(5, a, b, voter), []raft.NodeID{1, 2, 3}},
		{"one in the same place", at(5, a, b), at(2, a, b), at(5, a, b, voter), []raft.NodeID{1, 2, 3}},
	} {
		got := Dialed(x.current, x.committed, x.told)
		if len(got) != len(x.want) {
			t.Errorf("%s: %+v, want %v", x.name, got, x.want)
			continue
		}
		for i := range got {
			if got[i].ID != x.want[i] {
				t.Errorf("%s: %+v, want %v", x.name, got, x.want)
			}
		}
	}
}
