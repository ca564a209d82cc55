package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raftkv/raftkv/raft"
	raftnode "github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/etcd"
)

const (
	// membershipPause is the pause before a change of the membership is asked for again that came too close to another.
	membershipPause = 50 * time.Millisecond
	// advertisePause is how often a member looks whether the others know its clients' address, advertiseTimeout bounds telling them.
	advertisePause   = time.Second
	advertiseTimeout = 5 * time.Second
)

// clusterService is how a member asks the leader for a change of the membership: on behalf of a client, or of its own address.
const clusterService = "raftkv.cluster"

type clusterStub struct {
	Change   func(context.Context, *changeWish) (*changeDone, error)
	Transfer func(context.Context, *transferWish) (*changeDone, error) `rpc:"optional"`
	// Update is Change for those of kind ChangeUpdate. An older leader, which takes what a wish leaves empty for what is to be empty, does not have it.
	Update func(context.Context, *changeWish) (*changeDone, error) `rpc:"optional"`
}

// changeWish is a change that does not depend on the membership that it is made to: one of kind ChangeUpdate leaves empty what the member keeps (complete).
type changeWish struct {
	Change raft.Change `json:"change"`
}

type changeDone struct{}

// transferWish names who shall lead; zero is whoever is best.
type transferWish struct {
	To raft.NodeID `json:"to"`
}

// wishRefusals are the errors of package raft that the asking member tells apart, with the words for them on the wire.
var wishRefusals = []struct {
	is     error
	reason string
}{
	{raft.ErrNotLeader, "NotLeader"}, {raft.ErrUnsafeChange, "Unsafe"}, {raft.ErrNotCaughtUp, "NotCaughtUp"}, {raft.ErrChangePending, "ChangePending"},
	{raft.ErrAddressTaken, "AddressTaken"}, {raft.ErrClaimed, "Claimed"}, // before what they wrap
	{raft.ErrChangeRefused, "Refused"}, {raft.ErrTransferRefused, "TransferRefused"}, {raftnode.ErrTransferFailed, "TransferFailed"},
	{raftnode.ErrChangeUnknown, "ChangeUnknown"}, {etcd.ErrTooManyLearners, "TooManyLearners"},
}

func registerCluster(server *rpc.Server, c cluster) error {
	change := func(ctx context.Context, w *changeWish) (*changeDone, error) { return done(c.lead(ctx, w.Change)) }
	return rpc.Register(server, clusterService, clusterStub{
		Change: change,
		Update: change,
		Transfer: func(ctx context.Context, w *transferWish) (*changeDone, error) {
			return done(c.Transfer(ctx, w.To))
		},
	}, rpc.Authorize(transport.MembersOnly))
}

// done answers another member's wish.
func done(err error) (*changeDone, error) {
	for _, x := range wishRefusals {
		if errors.Is(err, x.is) {
			return nil, rpc.Refusal(x.reason, "%v", err)
		}
	}
	return &changeDone{}, err
}

// cluster is the replica's cluster as clients ask for it, who know nothing of the index of a membership.
type cluster struct {
	replica *replica.Replica
	// maxLearners bounds the learners that clients may add, if this member leads then.
	maxLearners int
}

func (n *node) clusterOf(r *replica.Replica) cluster { return cluster{r, n.cfg.MaxLearners} }

// Members is that of etcd.Cluster.
func (c cluster) Members(ctx context.Context, linearizable bool) (raft.Membership, error) {
	if linearizable {
		if err := c.replica.Barrier(ctx); err != nil {
			return raft.Membership{}, err
		}
	}
	return c.replica.Status().Membership, nil
}

// Change is that of etcd.Cluster: any member takes it to the leader. Where its outcome is lost, as that of a leader which removes itself may be, it is asked for
// again, of whoever leads then: every change but an invitation may be made twice. Once an outcome is lost, no later refusal says that the change was not made.
func (c cluster) Change(ctx context.Context, change raft.Change) error {
	return persist(ctx, c.replica.Done(), change.Kind, func() error { return c.change(ctx, change) })
}

// persist asks for a change until its outcome is known, ctx ends, or the replica is over.
func persist(ctx context.Context, over <-chan struct{}, kind raft.ChangeKind, ask func() error) error {
	var lost error
	for {
		err := ask()
		switch {
		case err == nil, kind == raft.ChangeInvite:
			return err
		case errors.Is(err, rpc.CodeUnavailable), errors.Is(err, raftnode.ErrChangeUnknown):
			lost = err
		case lost == nil:
			return err
		case refuses(err) && !errors.Is(err, raft.ErrNotLeader):
			return fmt.Errorf("%w (asked for again: %v)", lost, err) //nolint:errorlint // only the outcome that is lost is to be found in it
		}
		select {
		case <-ctx.Done():
			return lost
		case <-over:
			return lost
		case <-time.After(membershipPause):
		}
	}
}

// refuses tells whether an error is the answer of one that could have made the change. Any other says nothing of it: the leader that is asked may be the one that has gone.
func refuses(err error) bool {
	for _, x := range wishRefusals {
		if errors.Is(err, x.is) {
			return true
		}
	}
	return false
}

func (c cluster) change(ctx context.Context, change raft.Change) error {
	now := c.replica.Status()
	switch {
	case now.Leads():
		return c.lead(ctx, change)
	case now.Leader == 0:
		return raft.ErrNoLeader
	}
	leader, err := c.ask(ctx, now.Leader)
	if err != nil {
		return err
	}
	return leader.carry(ctx, change)
}

// carry asks a leader for a change.
func (s *clusterStub) carry(ctx context.Context, change raft.Change) error {
	ask := s.Change
	if change.Kind == raft.ChangeUpdate {
		ask = s.Update
	}
	_, err := ask(ctx, &changeWish{change})
	return asked(err)
}

// ask gives what a member can be asked for.
func (c cluster) ask(ctx context.Context, member raft.NodeID) (*clusterStub, error) {
	caller, err := c.replica.Caller(member)
	if err != nil {
		return nil, err
	}
	stub := new(clusterStub)
	return stub, rpc.BindContext(ctx, caller, clusterService, stub)
}

// asked gives the error of another member its own name.
func asked(err error) error {
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		for _, x := range wishRefusals {
			if refusal.Reason == x.reason {
				return fmt.Errorf("%w: %s", x.is, refusal.Message)
			}
		}
	}
	return err
}

// lead makes a change on the leader. It asks again when the membership has moved on, since the wish does not depend on it.
func (c cluster) lead(ctx context.Context, change raft.Change) error {
	for {
		err := c.attempt(ctx, c.replica.Status(), change)
		if !errors.Is(err, raft.ErrConfigMoved) && !errors.Is(err, raft.ErrChangePending) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(membershipPause):
		}
	}
}

// attempt makes a change to the membership that now tells, and to no other: so what complete and admit have found holds for the one that the change is made to.
func (c cluster) attempt(ctx context.Context, now replica.Status, change raft.Change) error {
	change = complete(now.Membership, change)
	if err := admit(now.Membership, change, c.maxLearners); err != nil {
		switch {
		case !now.Leads():
			return raft.ErrNotLeader
		case !now.ConfigCommitted:
			return raft.ErrChangePending // what speaks against it may be gone with its leader
		}
		return err
	}
	_, _, err := c.replica.Change(ctx, now.ConfigIndex, change)
	return err
}

// complete fills in what an update leaves empty with what the member has: package raft replaces all of it. Whoever asks for one address read the others of a membership that may have
// been changed since, and must not put them back.
func complete(m raft.Membership, change raft.Change) raft.Change {
	if change.Kind != raft.ChangeUpdate {
		return change
	}
	old, _ := m.Find(change.ID) // whoever is no member any more is package raft's to refuse
	x := &change.Member
	x.Name, x.PeerAddress, x.ClientAddress = cmp.Or(x.Name, old.Name), cmp.Or(x.PeerAddress, old.PeerAddress), cmp.Or(x.ClientAddress, old.ClientAddress)
	return change
}

// admit refuses what package raft would carry out and etcd refuses its clients: an address that another member has, and a learner past the bound. Who is to vote is no learner
// to them, though it is one here until it has caught up; only from its start on nobody can tell any more.
func admit(m raft.Membership, change raft.Change, maxLearners int) error {
	if change.Kind != raft.ChangeUpdate && change.Kind != raft.ChangeInvite {
		return nil
	}
	address, learners, taken := withoutScheme(change.Member.PeerAddress), 0, false
	for _, x := range m.Members {
		same := withoutScheme(x.PeerAddress) == address
		if change.Kind == raft.ChangeUpdate && x.ID == change.ID && same {
			return nil // an address that it keeps may be another's too: of the member that replaces it
		}
		taken = taken || same
		if x.Learner && !x.InvitedToVote() {
			learners++
		}
	}
	switch {
	case taken:
		return raft.ErrAddressTaken
	case change.Kind == raft.ChangeInvite && change.Member.Learner && learners >= maxLearners:
		return fmt.Errorf("%w: the cluster has %d, and the leader's --max-learners is %d", etcd.ErrTooManyLearners, learners, maxLearners)
	}
	return nil
}

// withoutScheme is an address as host:port: one port is one process.
func withoutScheme(address string) string {
	if _, after, found := strings.Cut(address, "://"); found {
		return after
	}
	return address
}

// Transfer is that of etcd.Cluster. As with etcd, it is for the leader.
func (c cluster) Transfer(ctx context.Context, to raft.NodeID) error {
	_, err := c.replica.Transfer(ctx, to)
	return err
}

// advertise tells the cluster the address that clients reach this member by, which a static cluster's members do not know of each other.
// Where there is an admin token, whoever has it says who is where.
func (n *node) advertise(ctx context.Context, r *replica.Replica) {
	if n.cfg.AdvertiseClient == "" || n.cfg.AdminTokenFile != "" {
		return
	}
	c := n.clusterOf(r)
	pause := time.NewTicker(advertisePause)
	defer pause.Stop()
	for {
		changed := r.Changed()
		now := r.Status()
		if self, ok := now.Membership.Find(now.Identity.MemberID); ok && now.Ready && self.ClientAddress != n.cfg.AdvertiseClient {
			limited, cancel := context.WithTimeout(ctx, advertiseTimeout)
			if err := c.Change(limited, reachedAt(self.ID, n.cfg.AdvertiseClient)); err != nil {
				n.logger.Debug("the cluster could not be told the clients' address yet", "error", err)
			}
			cancel()
			changed = nil // what was just tried is not tried again at once
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-pause.C:
		}
	}
}

// reachedAt says where clients reach a member, and nothing else of it.
func reachedAt(id raft.NodeID, client string) raft.Change {
	return raft.Change{Kind: raft.ChangeUpdate, ID: id, Member: raft.Member{ClientAddress: client}}
}
