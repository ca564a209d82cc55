package raft

import (
	"errors"
	"fmt"
	"testing"
)

func TestALearnerGetsOnlyWhatIsCommitted(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	id := p.addLearner(l, 204)
	last := func() Index { return p.nodes[id].log.last().Index }

	p.cut = func(m Message) bool { return m.From == 2 || m.From == 3 } // the voters do not answer
	at := p.propose(l, "x")
	p.tick(3)
	if l.commit >= at || p.nodes[2].log.last().Index < at || last() >= at {
		t.Fatalf("committed %d, a voter's log ends at %d, the learner's at %d; proposed %d", l.commit, p.nodes[2].log.last().Index, last(), at)
	}
	p.cut = nil
	p.tick(3)
	if last() < at || len(p.applied[id]) == 0 || p.applied[id][len(p.applied[id])-1].Index < at {
		t.Fatalf("entry %d is committed, the learner's log ends at %d", at, last())
	}
}

// TestALearnerKeepsNobodyFromBeingElected has the old leader's log say that the learner has a vote, and a newer leader that the old one does
// not know of talk to nobody but the learner, before it is lost. Two of three voters are left, and the learner.
func TestALearnerKeepsNobodyFromBeingElected(t *testing.T) {
	p := newPump(t, 3)
	old := p.elect(1)
	id := p.addLearner(old, 204)
	alone := func(x NodeID) func(Message) bool { return func(m Message) bool { return m.From == x || m.To == x } }

	p.cut = alone(1)
	if _, _, err := old.ProposeChanges(old.configIndex(), []Change{{Kind: ChangePromote, ID: id}}); err != nil {
		t.Fatal(err)
	}
	p.settle()
	p.cut = func(m Message) bool { return alone(1)(m) || (m.Type == MsgAppend && m.To == 3) }
	p.elect(2)
	p.tick(3)

	p.cut = alone(2)
	p.tick(100)
	l := p.leader()
	at := p.propose(l, "x")
	p.tick(3)
	if l.commit < at {
		t.Fatalf("member %s leads and has committed %d, proposed was %d", l.id, l.commit, at)
	}
}

func TestALearnerHasCaughtUpHoweverMuchIsOnItsWayToTheVoters(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	id := p.addLearner(l, 204)
	mute := func(m Message) bool { return m.From == 2 || m.From == 3 }
	p.cut = func(m Message) bool { return mute(m) && m.Type == MsgAppendResponse }
	for i := range 2 * PromoteLagEntries {
		p.propose(l, fmt.Sprint(i))
	}
	p.settle()
	if behind := l.Status().Progress[id].LagEntries; behind < PromoteLagEntries {
		t.Fatalf("only %d entries are not committed", behind)
	}
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangePromote, ID: id}}); err != nil {
		t.Fatalf("a learner that has all that is committed: %v", err)
	}
	p.cut = nil
	p.tick(5)
	if l.commit != l.log.last().Index || p.nodes[id].commit != l.commit {
		t.Fatalf("the leader has committed %d of %d, the new voter knows of %d", l.commit, l.log.last().Index, p.nodes[id].commit)
	}

	late := p.addLearner(l, 205)
	p.cut = func(m Message) bool { return m.To == late && m.Type == MsgAppend }
	for i := range 2 * PromoteLagEntries {
		p.propose(l, fmt.Sprint(i))
	}
	p.settle()
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangePromote, ID: late}}); !errors.Is(err, ErrNotCaughtUp) {
		t.Fatalf("a learner that lacks %d committed entries: %v", 2*PromoteLagEntries, err)
	}
}
