package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// TestStopOfALeaderLosesNoRequest stops a leader under load: whoever was taken is answered, by the successor's log if need be,
// and whoever was not may ask elsewhere. Nobody is left in doubt.
func TestStopOfALeaderLosesNoRequest(t *testing.T) {
	const callers, rounds = 64, 3
	for round := range rounds {
		c := startCluster(t, 3, nil)
		leader := c.leader()
		var wait sync.WaitGroup
		var mu sync.Mutex
		applied, denied := map[string]bool{}, map[string]bool{}
		began := make(chan struct{}, callers)
		for caller := range callers {
			wait.Go(func() {
				for i := 0; ; i++ {
					command := fmt.Sprintf("caller %d: %d", caller, i)
					_, err := leader.Propose(soon(t), []byte(command))
					mu.Lock()
					switch {
					case err == nil:
						applied[command] = true
					case errors.Is(err, ErrStopped) || errors.Is(err, ErrUnavailable):
						denied[command] = true
					default:
						t.Errorf("round %d: a request at a leader that is stopped: %v", round, err)
					}
					mu.Unlock()
					if i == 0 {
						began <- struct{}{}
					}
					if err != nil {
						return
					}
				}
			})
		}
		for range callers {
			<-began
		}
		leader.Stop(soon(t))
		wait.Wait()
		next := c.waitFor("successor", func(n *Node) bool { return n != leader && n.Summary().CommittedInTerm })
		if err := next.ReadBarrier(soon(t)); err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, command := range c.state[next.cfg.ID].all() {
			found[command] = true
			if denied[command] {
				t.Errorf("round %d: %s was applied, its caller was told that it surely was not", round, command)
			}
		}
		for command := range applied {
			if !found[command] {
				t.Errorf("round %d: %s was acknowledged and is lost", round, command)
			}
		}
	}
}

// TestANodeThatHasStoppedRefuses finds nobody who waits for an answer that nobody gives.
func TestANodeThatHasStoppedRefuses(t *testing.T) {
	c := startCluster(t, 1, nil)
	n := c.leader()
	n.Stop(soon(t))
	if _, err := n.Propose(context.Background(), []byte("x")); !errors.Is(err, ErrStopped) {
		t.Errorf("a proposal to a node that has stopped: %v", err)
	}
	if err := n.ReadBarrier(context.Background()); !errors.Is(err, ErrStopped) {
		t.Errorf("a read of a node that has stopped: %v", err)
	}
}

// TestAFailedDiskAnswersWhoWaits breaks the disk under load: nobody goes on waiting.
func TestAFailedDiskAnswersWhoWaits(t *testing.T) {
	const callers = 32
	c := startCluster(t, 1, nil)
	n := c.leader()
	outcomes := make(chan error, callers)
	for range callers {
		go func() {
			for {
				if _, err := n.Propose(context.Background(), []byte("x")); err != nil {
					outcomes <- err
					return
				}
			}
		}()
	}
	log := c.logs[n.cfg.ID]
	log.mu.Lock()
	log.broken = errors.New("the disk is broken")
	log.mu.Unlock()
	for range callers {
		if err := <-outcomes; !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrStopped) {
			t.Errorf("a proposal at a node whose disk has failed: %v", err)
		}
	}
	if err := <-n.Fatal(); !errors.Is(err, log.broken) {
		t.Errorf("the node says of its end: %v", err)
	}
}

// TestWhatIsAskedOfTheLoopRunsOrItsCallerIsTold ends a wait in the moment in which its answer comes, and before it can come.
func TestWhatIsAskedOfTheLoopRunsOrItsCallerIsTold(t *testing.T) {
	for name, want := range map[string]error{"the caller gives up": context.Canceled, "the node stops": ErrStopped} {
		t.Run(name, func(t *testing.T) {
			begin := func() (n *Node, caller context.Context, end func()) {
				n = &Node{requests: newQueue[func()](newWake())}
				n.ctx, n.cancel = context.WithCancel(t.Context())
				caller, end = context.WithCancel(t.Context())
				if errors.Is(want, ErrStopped) {
					end = n.cancel
				}
				return n, caller, end
			}
			n, caller, end := begin()
			end()
			if err := n.do(caller, func() { t.Error("it ran, though its caller was told that it had not") }); !errors.Is(err, want) {
				t.Errorf("before it could run: %v", err)
			}
			for _, f := range n.requests.take() {
				f()
			}
			for range 100 { // of two things that have both happened a select sees either
				n, caller, end := begin()
				go func() {
					<-n.requests.wake
					n.requests.take()[0]()
				}()
				if err := n.do(caller, end); err != nil {
					t.Fatalf("it ran, and its caller is told: %v", err)
				}
			}
		})
	}
}
