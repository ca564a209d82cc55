package server

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/raftkv/raftkv/raft"
	raftnode "github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/etcd"
)

func TestWhatEtcdRefusesItsClients(t *testing.T) {
	m := raft.NewMembership(
		raft.Member{ID: 1, Incarnation: 11, Name: "a", PeerAddress: "a:1"}, raft.Member{ID: 2, Incarnation: 22, Name: "b", PeerAddress: "https://b:1"},
		raft.Member{ID: 3, Incarnation: 33, Name: "a", PeerAddress: "a:1", Learner: true}, // which is to replace the first
	)
	voter, _, err := m.Apply(raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	learner, _, err := voter.Apply(raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "d:1", Learner: true}})
	if err != nil {
		t.Fatal(err)
	}
	update := func(id raft.NodeID, address string) raft.Change {
		return raft.Change{Kind: raft.ChangeUpdate, ID: id, Member: raft.Member{PeerAddress: address}}
	}
	invite := func(address string, learner bool) raft.Change {
		return raft.Change{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: address, Learner: learner}}
	}
	for _, x := range []struct {
		name   string
		to     raft.Membership
		change raft.Change
		most   int
		want   error
	}{
		{"an address that is free", m, update(1, "e:1"), 1, nil},
		{"another member's address", m, update(1, "b:1"), 1, raft.ErrAddressTaken},
		{"another member's, which has TLS there", m, update(2, "https://a:1"), 1, raft.ErrAddressTaken},
		{"an invited one's address", voter, update(1, "https://c:1"), 1, raft.ErrAddressTaken},
		{"its own address, with TLS from now on", m, update(2, "b:1"), 1, nil},
		{"its own address, which its successor has too", m, update(1, "a:1"), 1, nil},
		{"the successor's own", m, update(3, "https://a:1"), 1, nil},
		{"an address for nobody", m, update(9, "e:1"), 1, nil},
		{"a learner beside one", m, invite("e:1", true), 1, etcd.ErrTooManyLearners},
		{"a learner beside one, of two", m, invite("e:1", true), 2, nil},
		{"a learner beside who is to vote", voter, invite("e:1", true), 2, nil},
		{"a third learner", learner, invite("e:1", true), 2, etcd.ErrTooManyLearners},
		{"a learner at a member's address", learner, invite("d:1", true), 2, raft.ErrAddressTaken},
		{"a learner where there may be none", m, invite("e:1", true), 0, etcd.ErrTooManyLearners},
		{"who is to vote", learner, invite("e:1", false), 0, nil},
		{"a removal", learner, raft.Change{Kind: raft.ChangeRemove, ID: 1}, 0, nil},
	} {
		if err := admit(x.to, x.change, x.most); !errors.Is(err, x.want) || err != nil && x.want == nil {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
	}
}

// TestAnOutcomeThatIsLostIsNotCalledRefused, whatever is answered when it is asked for again.
func TestAnOutcomeThatIsLostIsNotCalledRefused(t *testing.T) {
	gone, unknown := rpc.Errorf(rpc.CodeUnavailable, "the connection is lost"), raftnode.ErrChangeUnknown
	for name, x := range map[string]struct {
		kind    raft.ChangeKind
		answers []error // the last one for ever
		want    error
		not     error
		asked   int
	}{
		"made":                                {raft.ChangeRemove, []error{nil}, nil, nil, 1},
		"refused":                             {raft.ChangeRemove, []error{raft.ErrUnsafeChange}, raft.ErrUnsafeChange, nil, 1},
		"nobody leads":                        {raft.ChangeRemove, []error{raft.ErrNoLeader}, raft.ErrNoLeader, nil, 1},
		"lost, and made":                      {raft.ChangeRemove, []error{gone, raft.ErrNoLeader, raft.ErrNotLeader, nil}, nil, nil, 4},
		"the leader stepped down, and made":   {raft.ChangeRemove, []error{unknown, raft.ErrNoLeader, nil}, nil, nil, 3},
		"lost, and who has gone is asked":     {raft.ChangeRemove, []error{gone, errors.New("no such peer"), nil}, nil, nil, 3},
		"lost, and refused":                   {raft.ChangePromote, []error{gone, raft.ErrChangePending}, rpc.CodeUnavailable, raft.ErrChangePending, 2},
		"the leader stepped down and refused": {raft.ChangePromote, []error{unknown, raft.ErrUnsafeChange}, unknown, raft.ErrUnsafeChange, 2},
		"lost for ever":                       {raft.ChangeRemove, []error{gone}, rpc.CodeUnavailable, nil, 0},
		"an invitation that is lost":          {raft.ChangeInvite, []error{gone}, rpc.CodeUnavailable, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*membershipPause)
				defer cancel()
				asked := 0
				err := persist(ctx, nil, x.kind, func() error {
					asked++
					return x.answers[min(asked, len(x.answers))-1]
				})
				if !errors.Is(err, x.want) || (err == nil) != (x.want == nil) || x.not != nil && errors.Is(err, x.not) || x.asked > 0 && asked != x.asked {
					t.Errorf("%v after %d questions", err, asked)
				}
			})
		})
	}
	over := make(chan struct{})
	close(over)
	if err := persist(t.Context(), over, raft.ChangeRemove, func() error { return gone }); !errors.Is(err, rpc.CodeUnavailable) {
		t.Errorf("where the replica is over: %v", err)
	}
}

// idle is a state machine of nothing.
type idle struct{}

func (idle) Apply(batch []replica.Command) [][]byte { return make([][]byte, len(batch)) }
func (idle) Snapshot(io.Writer) error               { return nil }
func (idle) Restore(io.Reader) error                { return nil }

// TestAWishForOneAddressKeepsTheOther, also where that was changed after the wish was made: it may wait for an earlier change, and for a leader.
func TestAWishForOneAddressKeepsTheOther(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := replica.Open(replica.Config{
		Dir: t.TempDir(), Name: "a", Alone: true, StateMachine: idle{}, InitialCluster: []replica.Member{{Name: "a", PeerAddress: "a:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	if err := r.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	c, id := cluster{r, 1}, r.Status().Identity.MemberID
	moved := func(to string) raft.Change {
		return raft.Change{Kind: raft.ChangeUpdate, ID: id, Member: raft.Member{PeerAddress: to}}
	}
	late := reachedAt(id, "client:1")
	for _, x := range []struct {
		wish         raft.Change
		peer, client string
	}{
		{moved("b:1"), "b:1", ""},
		{late, "b:1", "client:1"},
		{moved("https://b:1"), "https://b:1", "client:1"},
		{reachedAt(id, "client:2"), "https://b:1", "client:2"},
	} {
		if err := c.lead(ctx, x.wish); err != nil {
			t.Fatal(err)
		}
		self, _ := r.Status().Membership.Find(id)
		if self.Name != "a" || self.PeerAddress != x.peer || self.ClientAddress != x.client {
			t.Errorf("after %+v: %+v", x.wish.Member, self)
		}
	}
	if err := c.lead(ctx, reachedAt(id+1, "client:1")); !errors.Is(err, raft.ErrChangeRefused) {
		t.Errorf("an address for nobody: %v", err)
	}
}

// TestNoUpdateIsAskedOfALeaderThatWouldTakeWhatItLeavesOut as empty: an older build has only Change.
func TestNoUpdateIsAskedOfALeaderThatWouldTakeWhatItLeavesOut(t *testing.T) {
	for kind := raft.ChangeAddLearner; kind <= raft.ChangeClaim; kind++ {
		var asked string
		ask := func(what string) func(context.Context, *changeWish) (*changeDone, error) {
			return func(context.Context, *changeWish) (*changeDone, error) {
				asked += what
				return &changeDone{}, nil
			}
		}
		leader := clusterStub{Change: ask("Change"), Update: ask("Update")}
		if err := leader.carry(t.Context(), raft.Change{Kind: kind}); err != nil || (asked == "Update") != (kind == raft.ChangeUpdate) {
			t.Errorf("%s: %s, %v", kind, asked, err)
		}
	}
}
