package raft

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// invited adds a member by its address, and returns the membership with it.
func invited(t *testing.T, m Membership, x Member) (Membership, Member) {
	t.Helper()
	next, id, err := m.Apply(Change{Kind: ChangeInvite, Member: x})
	if err != nil {
		t.Fatal(err)
	}
	added, there := next.Find(id)
	if !there || id <= m.LastID {
		t.Fatalf("member %s of %+v", id, next)
	}
	return next, added
}

func claimOf(x Member, inc Incarnation) Change {
	return Change{Kind: ChangeClaim, ID: x.ID, Member: Member{Incarnation: inc, Name: "new", PeerAddress: x.PeerAddress}}
}

func TestAnInvitedMemberIsNobodyUntilItIsClaimed(t *testing.T) {
	for _, stays := range []bool{true, false} {
		m, x := invited(t, members(3), Member{PeerAddress: "host:2380", Learner: stays, Name: "ignored", Incarnation: 7})
		if !x.Invited() || x.InvitedToVote() == stays || !x.Learner || x.Name != "" || x.Votes() || m.Validate() != nil {
			t.Fatalf("%+v", x)
		}
		raw, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back Membership
		if err := back.UnmarshalBinary(raw); err != nil || !back.Equal(m) || raw[0] != membershipFormat {
			t.Fatalf("in format %d it came back as %+v: %v", raw[0], back, err)
		}
		if _, _, err := m.Apply(Change{Kind: ChangePromote, ID: x.ID}); !errors.Is(err, ErrNotCaughtUp) {
			t.Errorf("its promotion: %v", err)
		}
		// By way of a joint membership neither.
		if _, _, err := m.ApplyAll([]Change{{Kind: ChangePromote, ID: x.ID}, {Kind: ChangeRemove, ID: 1}}); !errors.Is(err, ErrNotCaughtUp) {
			t.Errorf("its promotion in the place of another: %v", err)
		}
		claimed, id, err := m.Apply(claimOf(x, 500))
		y, _ := claimed.Find(x.ID)
		if err != nil || id != x.ID || y.Invited() || y.InvitedToVote() || y.Incarnation != 500 || y.Name != "new" || !y.Learner || claimed.Validate() != nil {
			t.Fatalf("%+v, %v", y, err)
		}
		again, _, err := claimed.Apply(claimOf(x, 500))
		if err != nil || !again.Equal(claimed) {
			t.Errorf("claimed again by the same: %+v, %v", again, err)
		}
		if _, _, err := claimed.Apply(claimOf(x, 501)); !errors.Is(err, ErrClaimed) {
			t.Errorf("claimed by another: %v", err)
		}
		voter, _, err := claimed.Apply(Change{Kind: ChangePromote, ID: x.ID})
		if err != nil || len(voter.Voters()) != 4 {
			t.Fatalf("%+v, %v", voter, err)
		}
		if _, _, err := voter.Apply(claimOf(x, 501)); !errors.Is(err, ErrClaimed) {
			t.Errorf("a voter claimed by another: %v", err)
		}
	}
}

func TestInvitationsThatAreRefused(t *testing.T) {
	m := members(3)
	m.Members[0].PeerAddress, m.Members[1].PeerAddress = "a:2380", "https://b:2380"
	m, x := invited(t, m, Member{PeerAddress: "c:2380", Learner: true})
	seven := members(MaxVoters)
	for _, c := range []struct {
		name   string
		of     Membership
		change Change
		want   error
	}{
		{"at a member's address", m, Change{Kind: ChangeInvite, Member: Member{PeerAddress: "a:2380"}}, ErrAddressTaken},
		{"at one that has TLS", m, Change{Kind: ChangeInvite, Member: Member{PeerAddress: "b:2380"}}, ErrAddressTaken},
		{"at another invited one's", m, Change{Kind: ChangeInvite, Member: Member{PeerAddress: "https://c:2380"}}, ErrAddressTaken},
		{"at no address", m, Change{Kind: ChangeInvite}, ErrChangeRefused},
		{"an eighth voter", seven, Change{Kind: ChangeInvite, Member: Member{PeerAddress: "d:2380"}}, ErrChangeRefused},
		{"a claim from another address", m, Change{Kind: ChangeClaim, ID: x.ID, Member: Member{Incarnation: 500, PeerAddress: "d:2380"}}, ErrChangeRefused},
		{"a claim by nobody", m, Change{Kind: ChangeClaim, ID: x.ID, Member: Member{PeerAddress: "c:2380"}}, ErrChangeRefused},
		{"a claim by a member", m, claimOf(x, 101), ErrChangeRefused},
		{"a claim by the invitation", m, claimOf(x, x.Incarnation), ErrChangeRefused},
		{"a claim of a member", m, Change{Kind: ChangeClaim, ID: 1, Member: Member{Incarnation: 500, PeerAddress: "a:2380"}}, ErrClaimed},
		{"a claim of none", m, Change{Kind: ChangeClaim, ID: 99, Member: Member{Incarnation: 500, PeerAddress: "c:2380"}}, ErrChangeRefused},
	} {
		if next, _, err := c.of.Apply(c.change); !errors.Is(err, c.want) || !next.Equal(c.of) {
			t.Errorf("%s: %+v, %v", c.name, next, err)
		}
	}
	if _, _, err := seven.Apply(Change{Kind: ChangeInvite, Member: Member{PeerAddress: "d:2380", Learner: true}}); err != nil {
		t.Errorf("a learner beside seven voters: %v", err)
	}
	gone, _, err := m.Apply(Change{Kind: ChangeRemove, ID: x.ID})
	if err != nil || !gone.Removed(x.ID) {
		t.Fatalf("%+v, %v", gone, err)
	}
	if _, _, err := gone.Apply(claimOf(x, 500)); !errors.Is(err, ErrChangeRefused) {
		t.Errorf("a claim of one that was taken away: %v", err)
	}
	if _, y := invited(t, gone, Member{PeerAddress: "c:2380"}); y.ID == x.ID {
		t.Error("an ID was given twice")
	}
}

// TestAnIDIsClaimedOnce makes random changes, and remembers for each ID the first directory that it was bound to.
func TestAnIDIsClaimedOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	claims := 0
	for range 200 {
		m := members(1 + random.IntN(3))
		for i := range m.Members {
			m.Members[i].PeerAddress = m.Members[i].Name
		}
		bound := map[NodeID]Incarnation{}
		for range 100 {
			id, inc := m.Members[random.IntN(len(m.Members))].ID, Incarnation(1000+random.IntN(8))
			at := []string{"p", "q", "r"}[random.IntN(3)]
			c := [...]Change{
				{Kind: ChangeInvite, Member: Member{PeerAddress: at, Learner: random.IntN(2) == 0}},
				{Kind: ChangeClaim, ID: id, Member: Member{Incarnation: inc, PeerAddress: at}},
				{Kind: ChangeAddLearner, Member: Member{Incarnation: inc, Name: "other"}},
				{Kind: ChangePromote, ID: id},
				{Kind: ChangeRemove, ID: id},
			}[random.IntN(5)]
			next, _, err := m.Apply(c)
			if err != nil {
				continue
			}
			if next.Joint() || next.Validate() != nil {
				t.Fatalf("%+v made %+v", c, next)
			}
			m = next
			for _, x := range m.Members {
				switch first := bound[x.ID]; {
				case x.Invited() && (first != 0 || !x.Learner):
					t.Fatalf("%+v made %+v", c, m)
				case !x.Invited() && first == 0:
					bound[x.ID] = x.Incarnation
					if c.Kind == ChangeClaim {
						claims++
					}
				case !x.Invited() && first != x.Incarnation:
					t.Fatalf("%+v bound member %s to %s, it was bound to %s: %+v", c, x.ID, x.Incarnation, first, m)
				}
			}
		}
	}
	if claims < 200 {
		t.Errorf("%d members were claimed in 200 runs", claims)
	}
}
