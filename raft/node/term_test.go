package node

import (
	"errors"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What a leader has proposed for its own term only is not forwarded to its successor, who may have decided otherwise meanwhile.
func TestAProposalForATermIsNotSentToALaterLeader(t *testing.T) {
	c := startCluster(t, 3, nil)
	old := c.leader()
	if _, err := old.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	term := old.Summary().Term
	// It goes on leading, and nothing that it appends reaches anyone.
	c.intercept(func(m raft.Message) bool { return m.Type == raft.MsgAppend && m.Term == term }, nil)
	outcome := make(chan error, 1)
	go func() {
		_, err := old.ProposeInTerm(soon(t), term, []byte("stale"))
		outcome <- err
	}()
	c.waitFor("proposal in the leader's log", func(n *Node) bool {
		n.proposals.mu.Lock()
		defer n.proposals.mu.Unlock()
		return n == old && n.proposals.outstanding == 1
	})
	c.setCut(old.cfg.ID, true)
	next := c.waitFor("next leader", func(n *Node) bool {
		return n != old && n.Summary().Role == raft.RoleLeader && n.Summary().CommittedInTerm
	})
	c.setCut(old.cfg.ID, false)
	if err := <-outcome; !errors.Is(err, ErrUnknown) {
		t.Errorf("the proposal of a leader of the past: %v", err)
	}
	last := func(n *Node) {
		t.Helper()
		if _, err := n.Propose(soon(t), []byte("last")); err != nil {
			t.Fatal(err)
		}
		if got := c.state[n.cfg.ID].all(); slices.Contains(got, "stale") {
			t.Errorf("a later leader was sent it: %q", got)
		}
	}
	last(old) // forwarded behind whatever else it forwards
	last(next)
}

func TestAProposalForATermIsTakenByItsLeaderAlone(t *testing.T) {
	clock := &haltable{}
	c := startCluster(t, 3, func(cfg *Config) { cfg.Clock = clock })
	for _, n := range c.nodes {
		if _, err := n.Propose(soon(t), []byte("opens the session")); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		clock.halt(c, n) // nobody stands for election any more
	}
	l, f := c.leader(), c.follower()
	term := l.Summary().Term
	for _, x := range []struct {
		what string
		n    *Node
		term raft.Term
		want error
	}{
		{"its leader", l, term, nil},
		{"another member", f, term, ErrUnavailable},
		{"an earlier term", l, term - 1, ErrUnavailable},
		{"a later term", l, term + 1, ErrUnavailable},
		{"no term", l, 0, ErrUnavailable},
	} {
		if _, err := x.n.ProposeInTerm(soon(t), x.term, []byte(x.what)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	if got := c.state[l.cfg.ID].all(); got[len(got)-1] != "its leader" {
		t.Errorf("applied: %q", got)
	}
}
