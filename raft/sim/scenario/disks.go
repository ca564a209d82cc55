package scenario

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
)

// What only a cluster can do that says what its disks do, and what its leader is asked for in one call.
type directed interface {
	Stall(machine int, d time.Duration) error
	Fill(machine int, full bool) error
	Rot(machine int) error
	Changes(machine int, changes []raft.Change) ([]raft.NodeID, error)
}

var errNotDirected = errors.New("this cluster cannot do that: say simulated")

// onDirected does something to each machine that is named.
func onDirected(who machines, do func(c directed, p *play, machine int) error) action {
	return func(p *play) error {
		c, ok := p.cluster.(directed)
		if !ok {
			return errNotDirected
		}
		found, err := who.find(p)
		p.say("%v", found)
		for _, n := range found {
			if err == nil {
				err = do(c, p, n)
			}
		}
		return err
	}
}

func stall(a *args) action {
	who := a.machines()
	d := a.duration()
	return onDirected(who, func(c directed, _ *play, n int) error { return c.Stall(n, d) })
}

func fill(full bool) func(*args) action {
	return func(a *args) action {
		return onDirected(a.machines(), func(c directed, _ *play, n int) error { return c.Fill(n, full) })
	}
}

func rot(a *args) action {
	return onDirected(a.machines(), func(c directed, p *play, n int) error {
		if m := p.cluster.Machine(n); m.Member != 0 {
			p.lastMember[n] = m.Member
		}
		return c.Rot(n)
	})
}

// together reads changes, with "and" between them, that are asked for in one call.
func together(a *args) action {
	var all []change
	for {
		verb := a.word("a change")
		kind, ok := changeKinds[verb]
		if !ok {
			a.fail("%q is no change of the membership: add, promote, remove", verb)
			return nil
		}
		all = append(all, a.change(kind))
		if !a.accept("and") {
			break
		}
	}
	return func(p *play) error {
		c, ok := p.cluster.(directed)
		if !ok {
			return errNotDirected
		}
		var asked []raft.Change
		var on []int
		for _, x := range all {
			n, err := x.machine.one(p)
			if err != nil {
				return err
			}
			id := x.member(p, n)
			if id == 0 || x.kind == raft.ChangeAddLearner {
				return fmt.Errorf("machine %d: in one call members are promoted and removed", n)
			}
			asked, on = append(asked, raft.Change{Kind: x.kind, ID: id}), append(on, n)
		}
		return p.wait(patience, func(p *play) (string, error) {
			done := !p.cluster.Membership().Joint()
			for i, x := range all {
				done = done && x.done(p, on[i], asked[i].ID)
			}
			leader := p.leader(nil)
			switch {
			case done:
				return "", nil
			case leader == nil:
				return "nobody leads", nil
			}
			_, err := c.Changes(leader.Number, asked)
			var broken *sim.Violation
			switch {
			case errors.As(err, &broken):
				return "", err
			case err != nil:
				return err.Error(), nil
			}
			return "it is not committed", nil
		})
	}
}
