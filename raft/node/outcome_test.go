package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What is told of a proposal that was not answered: "surely not applied" must be true.

func TestWhoIsToldSurelyNotAppliedIsRight(t *testing.T) {
	c := startCluster(t, 1, nil)
	n := c.leader()
	if _, err := n.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	denied := map[string]bool{}
	var mu sync.Mutex
	for round := range 40 {
		ctx, cancel := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		for i := range 100 {
			command := fmt.Sprintf("%d-%d", round, i)
			wait.Go(func() {
				if i == 50 {
					cancel()
				}
				if _, err := n.Propose(ctx, []byte(command)); errors.Is(err, ErrUnavailable) {
					mu.Lock()
					denied[command] = true
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		cancel()
	}
	if _, err := n.Propose(soon(t), []byte("the last")); err != nil {
		t.Fatal(err)
	}
	for _, command := range c.state[1].all() {
		if denied[command] {
			t.Errorf("%s was applied, its caller was told that it surely was not", command)
		}
	}
}

func TestAProposalIsGivenUpOrSent(t *testing.T) {
	c := startCluster(t, 1, nil)
	n := c.leader()
	if _, err := n.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	err := n.do(soon(t), func() {
		kept, left := &proposal{command: []byte("kept"), done: newWake()}, &proposal{command: []byte("left"), done: newWake()}
		waiting := []*proposal{left, kept}
		if places := n.nextBatch(waiting); len(n.batch) != 2 || places != 2 || !left.giveUp() {
			t.Errorf("a proposal that is about to be sent may be given up as surely not sent")
		}
		if n.nextBatch(waiting); len(n.batch) != 1 || n.batch[0] != kept {
			t.Errorf("a proposal that was given up is sent: %v", n.batch)
		}
		kept.unclaim()
		if kept.giveUp() {
			t.Errorf("a proposal that was surely not appended counts as sent")
		}
		if kept.claim() {
			t.Errorf("a proposal that was given up is sent later")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The first send is still on its way when the second may have been appended: that the first failed for sure says nothing.
func TestALateRefusalOfTheFirstSendSaysNothingOfTheSecond(t *testing.T) {
	c := startCluster(t, 3, nil)
	f, old := c.follower(), c.leader()
	if _, err := f.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	began, refuse, end := make(chan raft.NodeID, 16), make(chan struct{}), make(chan struct{})
	answered := make(chan struct{})
	release := sync.OnceFunc(func() { close(refuse) })
	t.Cleanup(func() { release(); close(end) })
	c.intercept(nil, func(_ context.Context, from, leader raft.NodeID) (bool, error) {
		if from != f.cfg.ID {
			return false, nil
		}
		began <- leader
		if leader == old.cfg.ID {
			<-refuse
			defer close(answered)
			return true, ErrNotAppended
		}
		<-end
		return true, errors.New("the answer was lost")
	})
	ctx, cancel := context.WithCancel(soon(t))
	outcome := make(chan error, 1)
	go func() {
		_, err := f.Propose(ctx, []byte("x"))
		outcome <- err
	}()
	if to := <-began; to != old.cfg.ID {
		t.Fatalf("sent to %s, the leader is %s", to, old.cfg.ID)
	}
	next := c.waitFor("other follower", func(n *Node) bool { return n != old && n != f })
	if _, err := old.Transfer(soon(t), next.cfg.ID); err != nil {
		t.Fatal(err)
	}
	if to := <-began; to != next.cfg.ID {
		t.Fatalf("sent again to %s, the leader is %s", to, next.cfg.ID)
	}
	// Without a leader nothing is sent a third time.
	for id := range c.nodes {
		c.setCut(id, true)
	}
	f.LeaderGone(next.cfg.ID)
	c.waitFor("no leader", func(n *Node) bool { return n == f && n.Summary().Leader == 0 })
	count := func() (forwards int) {
		if err := f.do(soon(t), func() { forwards = f.forwards }); err != nil {
			t.Fatal(err)
		}
		return forwards
	}
	before := count()
	release()
	<-answered
	c.waitFor("end of the first send", func(*Node) bool { return count() < before })
	cancel()
	if err := <-outcome; !errors.Is(err, ErrUnknown) {
		t.Errorf("the second send may have been appended, but the caller is told: %v", err)
	}
}

// A snapshot took the place of entries: a proposal may have been among them, and its session may have ended there.
func TestWhatASnapshotJumpedOverIsNotProposedAgainUnderANewSession(t *testing.T) {
	n := &Node{requests: newQueue[func()](newWake()), log: slog.New(slog.DiscardHandler)}
	ps := &n.proposals
	ps.init(newWake())
	ps.session = 7
	before, behind := &proposal{done: newWake()}, &proposal{done: newWake()}
	ps.mu.Lock()
	ps.number(before)
	ps.mu.Unlock()
	before.claim()
	ps.jump()
	ps.mu.Lock()
	ps.number(behind)
	behind.claim()
	ps.expire(n)
	ps.mu.Unlock()
	for _, f := range n.requests.take() {
		f()
	}
	select {
	case <-before.done:
		if !errors.Is(before.err, ErrUnknown) {
			t.Errorf("it may have been applied, but the caller is told: %v", before.err)
		}
	default:
		t.Error("a proposal that may have been applied is sent again under another session")
	}
	if len(n.waiting) != 1 || n.waiting[0] != behind || behind.giveUp() {
		t.Error("a proposal that was surely refused with its session is not sent again")
	}
}

func TestALeaderThatRefusesIsNotAskedAllTheTime(t *testing.T) {
	clock := &haltable{}
	c := startCluster(t, 3, func(cfg *Config) { cfg.Clock = clock })
	f := c.follower()
	if _, err := f.Propose(soon(t), []byte("opens the session")); err != nil {
		t.Fatal(err)
	}
	// A node's own read, which tells whether it has caught up, is none of those that are counted.
	c.waitFor("member that has caught up", func(n *Node) bool { return n == f && n.Summary().Ready })
	clock.halt(c, f)
	var forwards, reads atomic.Int64
	c.intercept(func(m raft.Message) bool {
		if m.Type != raft.MsgReadIndex || m.From != f.cfg.ID {
			return false
		}
		reads.Add(1)
		f.Deliver(raft.Message{Type: raft.MsgReadIndexResponse, From: m.To, To: m.From, Term: m.Term, Context: m.Context, Reject: true})
		return true
	}, func(context.Context, raft.NodeID, raft.NodeID) (bool, error) {
		forwards.Add(1)
		return true, ErrNotAppended
	})
	ctx, cancel := context.WithCancel(soon(t))
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := f.Propose(ctx, []byte("x")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a proposal that nobody took: %v", err)
		}
	})
	wait.Go(func() {
		if err := f.ReadBarrier(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a read that nobody answered: %v", err)
		}
	})
	c.waitFor("first refusal", func(n *Node) bool { return forwards.Load() > 0 && reads.Load() > 0 })
	turns(t, f, 300)
	if forwards, reads := forwards.Load(), reads.Load(); forwards > 1 || reads > 1 {
		t.Errorf("without a tick in between the leader was asked %d times to append and %d times to read", forwards, reads)
	}
	cancel()
	wait.Wait()
}
