package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// openFor opens a session for a client through a member.
func openFor(t *testing.T, n *Node, origin, nonce uint64) uint64 {
	t.Helper()
	command := binary.BigEndian.AppendUint64([]byte("O"), origin)
	r, err := n.Propose(soon(t), binary.BigEndian.AppendUint64(command, nonce))
	if err != nil {
		t.Fatal(err)
	}
	return r.(outcome).session
}

func inSession(id, sequence, low uint64, command string) Proposed {
	h := session.Header{Session: id, Sequence: sequence, Low: low}
	data, _ := h.AppendBinary(nil)
	return Proposed{Session: id, Sequence: sequence, Data: append(data, command...)}
}

func TestABatchIsAnsweredWhole(t *testing.T) {
	c := startCluster(t, 3, nil)
	for _, n := range c.nodes {
		id := openFor(t, n, uint64(n.cfg.ID), 7)
		var batch []Proposed
		for i := range 200 {
			if i%2 == 0 {
				batch = append(batch, inSession(id, uint64(i+1), 1, fmt.Sprintf("%s-%d", n.cfg.ID, i)))
			} else {
				batch = append(batch, Proposed{Data: fmt.Appendf(nil, "%s-%d", n.cfg.ID, i)})
			}
		}
		n.ProposeAll(soon(t), batch)
		places := map[int]bool{}
		for i, p := range batch {
			if p.Err != nil || p.Result.(outcome).err != nil {
				t.Fatalf("proposal %d: %+v, %v", i, p.Result, p.Err)
			}
			places[p.Result.(outcome).position] = true
		}
		if len(places) != len(batch) {
			t.Fatalf("%d proposals got %d places", len(batch), len(places))
		}
	}
}

// A client that asks several members for the same, at once, gets the same answer from all, and it is done once.
func TestASessionOfAClientSpansMembers(t *testing.T) {
	c := startCluster(t, 3, nil)
	id := openFor(t, c.leader(), 99, 1)
	var mu sync.Mutex
	got := map[string][]int{}
	var wait sync.WaitGroup
	for _, n := range c.nodes {
		for range 3 {
			wait.Go(func() {
				batch := []Proposed{inSession(id, 1, 1, "a"), inSession(id, 2, 1, "b"), inSession(id, 3, 1, "c")}
				n.ProposeAll(soon(t), batch)
				mu.Lock()
				defer mu.Unlock()
				for i, p := range batch {
					if p.Err != nil || p.Result.(outcome).err != nil {
						t.Errorf("%+v, %v", p.Result, p.Err)
						continue
					}
					name := string("abc"[i])
					got[name] = append(got[name], p.Result.(outcome).position)
				}
			})
		}
	}
	wait.Wait()
	for name, places := range got {
		if len(places) != 9 || len(slices.Compact(places)) != 1 {
			t.Errorf("%s was applied at %v", name, places)
		}
	}
	if all := c.state[c.leader().cfg.ID].all(); len(all) != 3 {
		t.Errorf("applied: %v", all)
	}
	for _, n := range c.nodes {
		n.proposals.mu.Lock()
		if left := len(n.proposals.owned); left != 0 {
			t.Errorf("member %s still waits for %d", n.cfg.ID, left)
		}
		n.proposals.mu.Unlock()
	}
}

func TestARepeatThroughAnotherMemberAfterALeaderIsLost(t *testing.T) {
	c := startCluster(t, 3, nil)
	old := c.leader()
	id := openFor(t, c.follower(), 5, 5)
	first := []Proposed{inSession(id, 1, 1, "once")}
	old.ProposeAll(soon(t), first)
	// The client does not hear the answer, and the leader is gone.
	c.setCut(old.cfg.ID, true)
	again := []Proposed{inSession(id, 1, 1, "once"), inSession(id, 2, 1, "next")}
	c.follower().ProposeAll(soon(t), again)
	if again[0].Err != nil || again[0].Result != first[0].Result {
		t.Errorf("the repeat: %+v, %v; the first: %+v, %v", again[0].Result, again[0].Err, first[0].Result, first[0].Err)
	}
	if again[1].Err != nil || again[1].Result.(outcome).position != 2 {
		t.Errorf("the next: %+v, %v", again[1].Result, again[1].Err)
	}
}

func TestABatchThatIsGivenUpSaysWhatIsKnown(t *testing.T) {
	c := startCluster(t, 3, nil)
	leader := c.leader()
	id := openFor(t, leader, 5, 6)
	for other := range c.nodes {
		if other != leader.cfg.ID {
			c.setCut(other, true)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	batch := []Proposed{inSession(id, 1, 1, "x"), {Data: []byte("y")}, {Data: make([]byte, raft.DefaultMaxEntryBytes)}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		leader.ProposeAll(ctx, batch)
	}()
	c.waitFor("proposals in the log", func(n *Node) bool {
		n.proposals.mu.Lock()
		defer n.proposals.mu.Unlock()
		return n == leader && len(n.proposals.owned) == 1 && n.proposals.outstanding == 1
	})
	cancel()
	<-done
	for i, p := range batch[:2] {
		if !errors.Is(p.Err, ErrUnknown) && !errors.Is(p.Err, ErrUnavailable) {
			t.Errorf("proposal %d: %v", i, p.Err)
		}
	}
	if !errors.Is(batch[2].Err, ErrTooLarge) {
		t.Errorf("the large one: %v", batch[2].Err)
	}
	leader.proposals.mu.Lock()
	defer leader.proposals.mu.Unlock()
	if len(leader.proposals.owned) != 0 || leader.proposals.outstanding != 0 {
		t.Errorf("%d and %d are still waited for", len(leader.proposals.owned), leader.proposals.outstanding)
	}
}

func TestAnExpiredSessionOfAClientIsItsOwnToJudge(t *testing.T) {
	c := startCluster(t, 1, nil)
	n := c.leader()
	if _, err := n.Propose(soon(t), []byte("opens the node's session")); err != nil {
		t.Fatal(err)
	}
	own := n.sessionID()
	batch := []Proposed{inSession(12345, 1, 1, "x"), {Data: []byte("y")}}
	n.ProposeAll(soon(t), batch)
	if batch[0].Err != nil || !errors.Is(batch[0].Result.(outcome).err, session.ErrExpired) {
		t.Errorf("in an unknown session: %+v, %v", batch[0].Result, batch[0].Err)
	}
	if batch[1].Err != nil || n.sessionID() != own {
		t.Errorf("the node's own session was touched: %v", batch[1].Err)
	}
}

// Sequence 0 is below what a session remembers from the start on, so that it would be taken for a repeat.
func TestAProposalOfASessionIsNumbered(t *testing.T) {
	c := startCluster(t, 1, nil)
	n := c.leader()
	id := openFor(t, n, 5, 7)
	batch := []Proposed{inSession(id, 0, 1, "a"), inSession(id, 1, 1, "b"), {Sequence: 2, Data: []byte("c")}, {Data: []byte("d")}}
	n.ProposeAll(soon(t), batch)
	for i, refused := range []bool{true, false, true, false} {
		if p := batch[i]; errors.Is(p.Err, ErrNotNumbered) != refused || !refused && (p.Err != nil || p.Result.(outcome).err != nil) {
			t.Errorf("proposal %d: %+v, %v", i, p.Result, p.Err)
		}
	}
	if all := c.state[n.cfg.ID].all(); !slices.Equal(all, []string{"b", "d"}) {
		t.Errorf("applied: %v", all)
	}
	only := []Proposed{inSession(id, 0, 1, "a")}
	n.ProposeAll(soon(t), only)
	if !errors.Is(only[0].Err, ErrNotNumbered) {
		t.Errorf("alone: %v", only[0].Err)
	}
}
