//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

const (
	// maxGap bounds the time from the end of a fault to the next acknowledged writes. It is as generous as a busy machine needs: how
	// long it really takes is reported.
	maxGap = patience
	// callTimeout bounds one call of the admin service.
	callTimeout = 10 * time.Second
)

// nemesis does what goes wrong. Each of its faults ends with all processes running and the network whole.
type nemesis struct {
	t       *testing.T
	cluster *cluster
	history *history
	// gaps are the longest times without an acknowledged write, by kind of fault.
	gaps map[string]time.Duration
}

// torment lets things go wrong until the time is over, or for one round of all kinds of faults.
func (n *nemesis) torment(seed uint64, duration time.Duration) {
	n.t.Helper()
	n.gaps = map[string]time.Duration{}
	began, rounds := time.Now(), len(kindsFor(len(n.cluster.nodes)))
	n.awaitWrites("before any fault", 0)
	done := 0
	for f := range schedule(seed, len(n.cluster.nodes)) {
		if duration == 0 && done >= rounds || duration != 0 && time.Since(began) >= duration {
			return
		}
		done++
		n.strike(f)
	}
}

func (n *nemesis) strike(f fault) {
	n.t.Helper()
	i := slices.IndexFunc(faultKinds, func(k faultKind) bool { return k.name == f.kind })
	from := n.history.now()
	n.t.Logf("%7.2fs %v", from.Seconds(), f)
	faultKinds[i].run(n, f)
	healed := n.history.now()
	n.awaitWrites("after: "+f.kind, healed)
	if !f.rush {
		n.cluster.awaitReady()
	}
	n.gaps[f.kind] = max(n.gaps[f.kind], n.history.longestGap(from))
}

// awaitWrites waits until the store takes writes again, some of them, so that the next fault meets clients at work.
func (n *nemesis) awaitWrites(when string, since time.Duration) {
	n.t.Helper()
	const enough = 20
	eventually(n.t, maxGap, "acknowledged writes "+when, func() error {
		if err := n.cluster.alive(); err != nil {
			return err
		}
		if count := n.history.acknowledged(since); count < enough {
			return fmt.Errorf("%d of %d", count, enough)
		}
		return nil
	})
}

func (n *nemesis) report() {
	n.t.Helper()
	var lines []string
	for _, k := range faultKinds {
		if gap, struck := n.gaps[k.name]; struck {
			lines = append(lines, fmt.Sprintf("%-40s %v", k.name, gap.Round(time.Millisecond)))
		}
	}
	n.t.Logf("longest time without an acknowledged write around each fault:\n%s", strings.Join(lines, "\n"))
}

// last lets a fault last.
func (f fault) last() { <-time.After(f.length) }

func (n *nemesis) follower(f fault) *node {
	n.t.Helper()
	followers := n.cluster.except(n.cluster.leader())
	return followers[f.victim%len(followers)]
}

func (n *nemesis) killAndRestart(nodes []*node, f fault, between func()) {
	n.t.Helper()
	n.cluster.kill(nodes...)
	between()
	f.last()
	n.cluster.start(nodes...)
}

func nothing() {}

func (n *nemesis) killAll(f fault)    { n.killAndRestart(n.cluster.nodes, f, nothing) }
func (n *nemesis) killLeader(f fault) { n.killAndRestart([]*node{n.cluster.leader()}, f, nothing) }
func (n *nemesis) killFollower(f fault) {
	n.killAndRestart([]*node{n.follower(f)}, f, nothing)
}

func (n *nemesis) killMinority(f fault) {
	n.killAndRestart([]*node{n.cluster.leader(), n.follower(f)}, f, nothing)
}

func (n *nemesis) powerLoss(f fault) { n.losePower(f, n.cluster.nodes...) }

func (n *nemesis) powerLossOfOne(f fault) {
	n.losePower(f, n.cluster.nodes[f.victim%len(n.cluster.nodes)])
}

// losePower kills nodes and leaves them half-written tails, which they must find and say that they have cut off.
func (n *nemesis) losePower(f fault, nodes ...*node) {
	n.t.Helper()
	random := rand.New(rand.NewPCG(f.seed, 0))
	torn := map[*node]int{}
	n.killAndRestart(nodes, f, func() {
		for _, x := range nodes {
			if x.loseTail(n.t, random) {
				torn[x] = len(x.log())
			}
		}
	})
	for x, before := range torn {
		eventually(n.t, patience, x.name+" repairs its log", func() error {
			if !strings.Contains(x.log()[before:], "repaired the log after a loss of power") {
				return errors.New("it does not say so")
			}
			return n.cluster.alive()
		})
	}
}

func (n *nemesis) pause(x *node, f fault) {
	n.t.Helper()
	x.process.signal(n.t, syscall.SIGSTOP)
	f.last()
	x.process.signal(n.t, syscall.SIGCONT)
}

func (n *nemesis) pauseLeader(f fault)   { n.pause(n.cluster.leader(), f) }
func (n *nemesis) pauseFollower(f fault) { n.pause(n.follower(f), f) }

func (n *nemesis) terminate(x *node) {
	n.t.Helper()
	x.process.terminate(n.t)
	n.cluster.network.shut(x.index)
	n.cluster.start(x)
}

func (n *nemesis) terminateLeader(fault)     { n.terminate(n.cluster.leader()) }
func (n *nemesis) terminateFollower(f fault) { n.terminate(n.follower(f)) }

// disturb changes the ways between pairs of nodes for a while.
func (n *nemesis) disturb(f fault, l link, pairs ...[2]int) {
	n.cluster.network.set(l, pairs...)
	f.last()
	n.cluster.network.heal()
}

func (n *nemesis) waysFrom(x *node) (out [][2]int) {
	for _, o := range n.cluster.except(x) {
		out = append(out, [2]int{x.index, o.index})
	}
	return out
}

func (n *nemesis) waysTo(x *node) (out [][2]int) {
	for _, w := range n.waysFrom(x) {
		out = append(out, [2]int{w[1], w[0]})
	}
	return out
}

func (n *nemesis) cutLeader(f fault) {
	n.disturb(f, link{cut: true}, n.waysFrom(n.cluster.leader())...)
}

func (n *nemesis) cutFollower(f fault) {
	n.disturb(f, link{cut: true}, n.waysFrom(n.follower(f))...)
}

func (n *nemesis) cutPair(f fault) {
	a := n.cluster.nodes[f.victim%len(n.cluster.nodes)]
	b := n.cluster.nodes[(f.victim+1)%len(n.cluster.nodes)]
	n.disturb(f, link{cut: true}, [2]int{a.index, b.index})
}

func (n *nemesis) stallFromLeader(f fault) {
	n.disturb(f, link{stalled: true}, n.waysFrom(n.cluster.leader())...)
}

func (n *nemesis) stallToLeader(f fault) {
	n.disturb(f, link{stalled: true}, n.waysTo(n.cluster.leader())...)
}

func (n *nemesis) delayAll(f fault) {
	const delay = 30 * time.Millisecond
	var all [][2]int
	for _, x := range n.cluster.nodes {
		all = append(all, n.waysFrom(x)...)
	}
	n.disturb(f, link{delay: delay}, all...)
}

// wipeFollower takes a member's disk away. The node must come back as nobody; then it is taken in as a new member.
func (n *nemesis) wipeFollower(f fault) {
	n.t.Helper()
	c := n.cluster
	c.awaitReady() // a member less for a while: the others must be there
	x := n.follower(f)
	before, err := c.status(x)
	if err != nil {
		n.t.Fatal(err)
	}
	c.kill(x)
	if err := os.RemoveAll(x.dataDir); err != nil {
		n.t.Fatal(err)
	}
	c.start(x)
	var empty admin.Status
	eventually(n.t, patience, "the wiped node waits to be added", func() (err error) {
		if empty, err = c.status(x); err == nil && empty.State != admin.StateEmpty {
			return fmt.Errorf("its state is %q", empty.State)
		}
		return err
	})
	if empty.MemberID != 0 || empty.Incarnation == before.Incarnation || empty.Ready {
		n.t.Errorf("a node without its disk speaks for member %v, incarnation %v (before: %v, %v), ready %v",
			empty.MemberID, empty.Incarnation, before.MemberID, before.Incarnation, empty.Ready)
	}
	if client := newClient(false); client != nil {
		if r := client.do(context.Background(), x, "GET", "chaos/any", "", nil); r.outcome == answered {
			n.t.Errorf("a node without its disk answers a linearizable read with %d", r.status)
		}
	}
	added := n.change(raft.Change{Kind: raft.ChangeAddLearner, Member: raft.Member{
		Name: x.name, PeerAddress: x.advertised, ClientAddress: x.client, Incarnation: empty.Incarnation,
	}})
	if added == before.MemberID {
		n.t.Errorf("the ID %v of the lost member was given out again", added)
	}
	// One change for both, so that the cluster is never left with a voter less.
	n.change(raft.Change{Kind: raft.ChangePromote, ID: added}, raft.Change{Kind: raft.ChangeRemove, ID: before.MemberID})
	eventually(n.t, patience, "the wiped node is a voter", func() error {
		s, err := c.status(x)
		if err != nil {
			return err
		}
		for _, m := range s.Members {
			if m.ID == added && !m.Learner && s.MemberID == added && s.Ready {
				return nil
			}
		}
		return fmt.Errorf("it is %s %v with the members %v", s.State, s.MemberID, s.Members)
	})
}

// change asks the leader for membership changes until they are made, as the operator does: each time on a fresh look. It returns the ID
// that the first one concerns.
func (n *nemesis) change(changes ...raft.Change) (id raft.NodeID) {
	n.t.Helper()
	eventually(n.t, patience, fmt.Sprintf("membership changes %v", changes), func() error {
		leader := n.cluster.leader()
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		service, closeService, err := n.cluster.admin(ctx, leader)
		if err != nil {
			return err
		}
		defer closeService()
		s, err := service.Status(ctx, &admin.StatusRequest{})
		if err != nil {
			return err
		}
		response, err := service.ChangeMembership(ctx, &admin.ChangeRequest{ConfigIndex: s.ConfigIndex, Changes: changes})
		switch {
		case err == nil:
			id = response.IDs[0]
		case rpc.ReasonOf(err) == admin.ReasonRefused:
			n.t.Fatalf("the leader refuses %v: %v", changes, err)
		}
		return err
	})
	return id
}
