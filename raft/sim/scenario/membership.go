package scenario

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
)

// change is a change of the membership that a line asks for.
type change struct {
	kind    raft.ChangeKind
	machine machines
	lost    bool // the member that the machine had before its disk was lost
}

func add(a *args) action     { return a.change(raft.ChangeAddLearner).make }
func promote(a *args) action { return a.change(raft.ChangePromote).make }
func remove(a *args) action  { return a.change(raft.ChangeRemove).make }

func (a *args) change(kind raft.ChangeKind) change {
	c := change{kind: kind, lost: kind == raft.ChangeRemove && a.accept("lost")}
	c.machine = a.machines()
	return c
}

var changeKinds = map[string]raft.ChangeKind{"add": raft.ChangeAddLearner, "promote": raft.ChangePromote, "remove": raft.ChangeRemove}

// cannot reads a change that must be refused.
func cannot(a *args) action {
	verb := a.word("a change")
	kind, ok := changeKinds[verb]
	if !ok {
		a.fail("%q is no change of the membership: add, promote, remove", verb)
	}
	c := a.change(kind)
	return func(p *play) error {
		n, err := c.machine.one(p)
		if err != nil {
			return err
		}
		err = c.ask(p, n, c.member(p, n))
		var broken *sim.Violation
		if errors.As(err, &broken) {
			return err
		}
		if err == nil {
			return errors.New("the leader took the change")
		}
		p.say("%v", err)
		return nil
	}
}

// member returns the ID that is meant, zero if there is none.
func (c change) member(p *play, machine int) raft.NodeID {
	if c.lost {
		return p.lastMember[machine]
	}
	return p.cluster.Machine(machine).Member
}

func (c change) ask(p *play, machine int, id raft.NodeID) error {
	leader := p.leader(nil)
	if leader == nil {
		return errors.New("nobody leads")
	}
	return p.cluster.Change(leader.Number, c.kind, id, machine)
}

// make asks for the change until it is committed.
func (c change) make(p *play) error {
	n, err := c.machine.one(p)
	if err != nil {
		return err
	}
	id := c.member(p, n)
	if c.kind == raft.ChangeAddLearner {
		if id := p.cluster.Machine(n).Member; id != 0 {
			return fmt.Errorf("machine %d has a disk with the member %s on it", n, id)
		}
	} else if id == 0 {
		return fmt.Errorf("machine %d has no member", n)
	}
	return p.wait(patience, func(p *play) (string, error) {
		if c.done(p, n, id) {
			return "", nil
		}
		err := c.ask(p, n, id)
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

// done tells whether the committed membership is as the change wants it.
func (c change) done(p *play, machine int, id raft.NodeID) bool {
	m := p.cluster.Membership()
	switch c.kind {
	case raft.ChangeAddLearner:
		return p.cluster.Machine(machine).Member != 0
	case raft.ChangePromote:
		x, ok := m.Find(id)
		return ok && !x.Learner
	default:
		_, ok := m.Find(id)
		return !ok
	}
}
