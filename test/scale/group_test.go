//go:build linux && scale

package scale

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// catchUp is how long it takes a learner to hear of its leader and to have all that it has.
const catchUp = 100 * time.Millisecond

// group is a Raft group that agrees with itself at once. Its nodes answer admin calls as real ones do, by the same code.
type group struct {
	mu         sync.Mutex
	nodes      map[string]*node // by pod
	cluster    raft.ClusterID
	membership raft.Membership
	leader     raft.NodeID
	term       raft.Term
	index      raft.Index
	bootstraps int
}

func newGroup() *group { return &group{nodes: map[string]*node{}} }

// node is one of a group. It is the admin.Node that the service steers.
type node struct {
	group       *group
	name        string
	incarnation raft.Incarnation
	board       *admin.Board
	// joined is when the leader reached it for the first time.
	joined bool
}

// add makes the node of a pod, with an empty directory.
func (g *group) add(pod string) *node {
	g.mu.Lock()
	n := &node{group: g, name: pod, incarnation: raft.Incarnation(rand.Uint64() | 1), board: admin.NewBoard()}
	g.nodes[pod] = n
	g.mu.Unlock()
	g.publish()
	return n
}

// publish brings the news to whoever waits for it.
func (g *group) publish() {
	g.mu.Lock()
	nodes := make([]*node, 0, len(g.nodes))
	for _, n := range g.nodes {
		nodes = append(nodes, n)
	}
	g.mu.Unlock()
	for _, n := range nodes {
		n.board.Refresh(func() admin.Status { return n.Status(context.Background()) })
	}
}

// elect has another voter lead, by no act of the operator. It returns the pods of the old and of the new leader.
func (g *group) elect() (from, to string) {
	g.mu.Lock()
	old, _ := g.membership.Find(g.leader)
	for _, m := range g.membership.Members {
		if m.ID != g.leader && !m.Learner {
			g.leader, to = m.ID, m.Name
			g.term++
			break
		}
	}
	g.mu.Unlock()
	g.publish()
	return old.Name, to
}

// Status says what a node knows that is in touch with its leader.
func (n *node) Status(context.Context) admin.Status {
	g := n.group
	g.mu.Lock()
	defer g.mu.Unlock()
	s := admin.Status{Name: n.name, Version: "0.1.0", State: admin.StateEmpty, Incarnation: n.incarnation, NotReady: "it is no member yet"}
	me, member := g.membership.FindIncarnation(n.incarnation)
	if !member || !n.joined {
		return s
	}
	s.State, s.ClusterID, s.MemberID = admin.StateMember, g.cluster, me.ID
	s.Ready, s.NotReady = true, ""
	s.Term, s.Leader, s.Commit, s.Applied, s.LastTerm, s.LastIndex = g.term, g.leader, g.index, g.index, g.term, g.index
	s.ConfigIndex, s.ConfigCommitted = g.membership.Index, true
	s.Role = raft.RoleFollower.String()
	switch {
	case me.ID == g.leader:
		s.Role = raft.RoleLeader.String()
	case me.Learner:
		s.Role = raft.RoleLearner.String()
	}
	for _, m := range g.membership.Members {
		x := admin.MemberStatus{Member: m}
		if me.ID == g.leader {
			other := g.nodes[m.Name]
			up := other != nil && other.incarnation == m.Incarnation && other.joined
			x.Match, x.Active, x.CaughtUp = g.index, up, up
		}
		s.Members = append(s.Members, x)
	}
	return s
}

// Bootstrap makes the node the only voter; asked again it has been done.
func (n *node) Bootstrap(_ context.Context, r admin.BootstrapRequest) error {
	defer n.group.publish()
	g := n.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.Incarnation != n.incarnation:
		return rpc.Refusal(admin.ReasonIncarnation, "another incarnation was meant")
	case g.cluster == r.ClusterID && n.joined:
		return nil
	case g.cluster != 0:
		return rpc.Refusal(admin.ReasonNotEmpty, "the cluster was founded before")
	}
	g.bootstraps++
	r.Member.ID = 1
	g.cluster, g.membership, g.leader, g.term, g.index = r.ClusterID, raft.NewMembership(r.Member), 1, 1, 2
	g.membership.Index = 1
	n.joined = true
	return nil
}

// Change makes the changes as the core does, but waits for nobody.
func (n *node) Change(_ context.Context, configIndex raft.Index, changes ...raft.Change) ([]raft.NodeID, raft.Index, error) {
	g := n.group
	g.mu.Lock()
	defer g.mu.Unlock()
	me, _ := g.membership.FindIncarnation(n.incarnation)
	switch {
	case me.ID == 0 || me.ID != g.leader:
		return nil, 0, raft.ErrNotLeader
	case configIndex != g.membership.Index:
		return nil, 0, raft.ErrConfigMoved
	}
	next, ids, err := g.membership.ApplyAll(changes)
	if err != nil {
		return nil, 0, err
	}
	g.index++
	g.membership = next.Leave()
	g.membership.Index = g.index
	go g.publish()
	time.AfterFunc(catchUp, g.join)
	return ids, g.membership.Index, nil
}

// join has the leader reach the members that it had not yet.
func (g *group) join() {
	g.mu.Lock()
	for _, m := range g.membership.Members {
		if n := g.nodes[m.Name]; n != nil && n.incarnation == m.Incarnation {
			n.joined = true
		}
	}
	g.mu.Unlock()
	g.publish()
}

// Transfer hands leadership over.
func (n *node) Transfer(_ context.Context, to raft.NodeID) (raft.NodeID, error) {
	defer n.group.publish()
	g := n.group
	g.mu.Lock()
	defer g.mu.Unlock()
	me, _ := g.membership.FindIncarnation(n.incarnation)
	if me.ID == 0 || me.ID != g.leader {
		return 0, raft.ErrNotLeader
	}
	if m, ok := g.membership.Find(to); !ok || m.Learner {
		return 0, raft.ErrTransferRefused
	}
	g.leader = to
	g.term++
	return to, nil
}

// Refound is refused: nothing here loses its quorum.
func (n *node) Refound(context.Context, admin.RefoundRequest) error {
	return rpc.Refusal(admin.ReasonHasLeader, "the cluster has a leader")
}

// Abandon is refused for the same reason.
func (n *node) Abandon(context.Context, admin.AbandonRequest) error {
	return rpc.Refusal(admin.ReasonHasLeader, "the cluster has a leader")
}
