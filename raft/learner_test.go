package raft

import (
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft/tracker"
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

// TestAFewEntriesAreALotWhenTheyAreOld has a learner lack three entries: that is nothing while they are new, and too much once an election
// timeout or two were not enough to bring them over.
func TestAFewEntriesAreALotWhenTheyAreOld(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	id := p.addLearner(l, 204)
	promote := func() error {
		_, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangePromote, ID: id}})
		return err
	}
	p.cut = func(m Message) bool { return m.From == id && m.Type == MsgAppendResponse }
	for range 3 {
		p.propose(l, "x")
	}
	p.tick(l.cfg.ElectionTicks - 1)
	if f := l.Status().Progress[id]; f.LagEntries != 3 || !f.CaughtUp {
		t.Fatalf("just committed: %+v", f)
	}
	p.tick(l.cfg.ElectionTicks + 1)
	f := l.Status().Progress[id]
	if f.LagEntries != 3 || !f.Active || f.State != "replicate" || f.CaughtUp {
		t.Fatalf("two election timeouts after they were committed: %+v", f)
	}
	if err := promote(); !errors.Is(err, ErrNotCaughtUp) {
		t.Fatalf("its promotion: %v", err)
	}
	p.cut = nil
	p.tick(4)
	if err := promote(); err != nil {
		t.Fatalf("once it has them: %v", err)
	}
}

// TestANewLeaderTakesWhatItFindsForOld elects another leader while a learner lacks entries: for how long they have been committed is not
// known to the new one.
func TestANewLeaderTakesWhatItFindsForOld(t *testing.T) {
	p := newPumpOf(t, 3, func(cfg *Config) { cfg.MaxAppendBytes = 1 }) // one entry in a message
	l := p.elect(1)
	id := p.addLearner(l, 204)
	have := p.nodes[id].log.last().Index
	p.cut = func(m Message) bool { return m.To == id && len(m.Entries) > 0 }
	for range 3 {
		p.propose(l, "x")
	}
	p.settle()
	l = p.elect(2)
	p.cut = func(m Message) bool {
		lost := m.To == id && len(m.Entries) > 0 && m.Entries[0].Index > have+1
		return lost || (m.From == id && m.Reject && l.progress[id].State == tracker.Replicate)
	}
	p.tick(5)
	if f := l.Status().Progress[id]; f.Match != have+1 || f.LagEntries != 3 || !f.Active || f.State != "replicate" || f.CaughtUp {
		t.Fatalf("after the election, %d and one more arrived: %+v", have, f)
	}
	p.cut = nil
	p.tick(10)
	if f := l.Status().Progress[id]; !f.CaughtUp {
		t.Fatalf("once it has them: %+v", f)
	}
}
