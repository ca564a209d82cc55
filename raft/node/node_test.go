package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

func TestEveryMemberTakesProposalsAndReads(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := startCluster(t, size, nil)
			var wait sync.WaitGroup
			for id, n := range c.nodes {
				for i := range 50 {
					wait.Add(1)
					go func() {
						defer wait.Done()
						if _, err := n.Propose(soon(t), fmt.Appendf(nil, "%s-%d", id, i)); err != nil {
							t.Error(err)
						}
					}()
				}
			}
			wait.Wait()
			for id, n := range c.nodes {
				if err := n.ReadBarrier(soon(t)); err != nil {
					t.Fatal(err)
				}
				got := c.state[id].all()
				slices.Sort(got)
				if len(got) != 50*size || len(slices.Compact(got)) != 50*size {
					t.Fatalf("member %s has %d commands, want %d distinct ones", id, len(got), 50*size)
				}
			}
		})
	}
}

func TestProposalsOutliveALeader(t *testing.T) {
	c := startCluster(t, 3, nil)
	old := c.leader()
	asker := c.follower()
	c.setCut(old.cfg.ID, true)
	if _, err := asker.Propose(soon(t), []byte("through")); err != nil {
		t.Fatal(err)
	}
	if now := c.leader(); now == old {
		t.Fatal("the cut leader still counts")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := old.Propose(ended, []byte("lost")); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknown) {
		t.Fatalf("a proposal to the cut leader: %v", err)
	}
	c.setCut(old.cfg.ID, false)
	if err := old.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got := c.state[old.cfg.ID].all(); !slices.Contains(got, "through") {
		t.Fatalf("the old leader has %q", got)
	}
}

func TestARetriedForwardIsAppliedOnce(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	if _, err := f.Propose(soon(t), []byte("first")); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.loseForwards = true
	c.mu.Unlock()
	var want []string
	for i := range 20 {
		command := fmt.Sprintf("again-%d", i)
		want = append(want, command)
		if _, err := f.Propose(soon(t), []byte(command)); err != nil {
			t.Fatal(err)
		}
	}
	// Retries may still be under way: a barrier behind a last proposal of the leader has them all.
	if _, err := c.leader().Propose(soon(t), []byte("last")); err != nil {
		t.Fatal(err)
	}
	for _, command := range want {
		n := 0
		for _, got := range c.state[c.leader().cfg.ID].all() {
			if got == command {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s was applied %d times", command, n)
		}
	}
}

func TestWithoutALeaderTheCallerLearnsThatNothingWasApplied(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	for id := range c.nodes {
		c.setCut(id, true)
	}
	c.waitFor("node without a leader", func(n *Node) bool { return n == f && n.Summary().Leader == 0 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Propose(ctx, []byte("x")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("proposal: %v", err)
	}
	if err := f.ReadBarrier(ctx); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("read: %v", err)
	}
}

func TestAFollowerFarBehindIsBroughtUpBySnapshot(t *testing.T) {
	c := startCluster(t, 3, func(cfg *Config) { cfg.SnapshotEntries = 50 })
	f := c.follower()
	c.setCut(f.cfg.ID, true)
	l := c.leader()
	for i := range 300 {
		if _, err := l.Propose(soon(t), fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.setCut(f.cfg.ID, false)
	if err := f.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got := c.state[f.cfg.ID].all(); len(got) != 300 {
		t.Fatalf("the follower has %d commands", len(got))
	}
	s, err := f.Status(soon(t))
	if err != nil || s.LogStart.Index < 50 {
		t.Fatalf("the follower's log starts behind %v: it got no snapshot (%v)", s.LogStart, err)
	}
}

// triggers remembers why members became candidates.
type triggers struct {
	noObserver
	mu   sync.Mutex
	seen []string
}

func (o *triggers) Transition(t raft.Transition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.To == raft.RoleCandidate {
		o.seen = append(o.seen, t.Trigger)
	}
}

func TestStopHandsLeadershipOver(t *testing.T) {
	o := &triggers{}
	c := startCluster(t, 3, func(cfg *Config) { cfg.Observer = o; cfg.ElectionTimeout = 2 * time.Second })
	l := c.leader()
	l.Stop(soon(t))
	c.waitFor("next leader", func(n *Node) bool { return n != l && n.Summary().Role == raft.RoleLeader })
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Contains(o.seen, raft.TriggerHandedOver) {
		t.Fatalf("there was no hand-over: %q", o.seen)
	}
	if _, err := l.Propose(soon(t), []byte("x")); !errors.Is(err, ErrStopped) {
		t.Fatalf("a proposal to a stopped node: %v", err)
	}
}

func TestAFailedDiskStopsTheNode(t *testing.T) {
	c := startCluster(t, 3, nil)
	l := c.leader()
	if _, err := l.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	c.logs[l.cfg.ID].mu.Lock()
	c.logs[l.cfg.ID].broken = broken
	c.logs[l.cfg.ID].mu.Unlock()
	if _, err := l.Propose(soon(t), []byte("x")); !errors.Is(err, ErrUnknown) {
		t.Fatalf("proposal: %v", err)
	}
	if err := <-l.Fatal(); !errors.Is(err, broken) {
		t.Fatalf("the node stopped because of %v", err)
	}
}

func TestMembershipChangesAreAnsweredWhenCommitted(t *testing.T) {
	c := startCluster(t, 3, nil)
	l := c.leader()
	s := l.Summary()
	ids, index, err := l.Change(soon(t), s.ConfigIndex, raft.Change{Kind: raft.ChangeAddLearner, Member: raft.Member{Incarnation: 99}})
	if err != nil || ids[0] != 4 {
		t.Fatalf("added %v at %d: %v", ids, index, err)
	}
	if _, _, err := l.Change(soon(t), s.ConfigIndex, raft.Change{Kind: raft.ChangeRemove, ID: ids[0]}); !errors.Is(err, raft.ErrConfigMoved) {
		t.Fatalf("a change decided on the membership before: %v", err)
	}
	if _, _, err := l.Change(soon(t), index, raft.Change{Kind: raft.ChangeRemove, ID: ids[0]}); err != nil {
		t.Fatal(err)
	}
}

func TestChangesOfSeveralVotesAreAnsweredWhenTheJointPhaseIsOver(t *testing.T) {
	c := startCluster(t, 3, nil)
	l := c.leader()
	leaving := c.follower()
	both := []raft.Change{{Kind: raft.ChangeRemove, ID: leaving.cfg.ID}, {Kind: raft.ChangeRemove, ID: l.cfg.ID}}
	if _, _, err := l.Change(soon(t), l.Summary().ConfigIndex, both...); !errors.Is(err, raft.ErrJointVersion) {
		t.Fatalf("before every member is known to read a joint membership: %v", err)
	}
	if err := l.RaiseClusterVersion(soon(t), raft.JointVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Propose(soon(t), []byte("the version is committed before this")); err != nil {
		t.Fatal(err)
	}
	ids, index, err := l.Change(soon(t), l.Summary().ConfigIndex, both...)
	if err != nil && !errors.Is(err, ErrChangeUnknown) {
		t.Fatal(err)
	}
	if err == nil && (!slices.Equal(ids, []raft.NodeID{leaving.cfg.ID, l.cfg.ID}) || index == 0) {
		t.Fatalf("changed %v at %d", ids, index)
	}
	c.waitFor("only the third member is left, and leads", func(n *Node) bool {
		s := n.Summary()
		return s.Role == raft.RoleLeader && s.ConfigCommitted && !s.Membership.Joint() && slices.Equal(s.Membership.Voters(), []raft.NodeID{n.cfg.ID})
	})
}
