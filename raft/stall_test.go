package raft

import "testing"

func TestALeaderWhoseDiskStandsStillHandsOver(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.tick(3)
	p.hold[1] = true
	p.propose(l, "x")
	p.settle()
	var transitions []Transition
	p.watch = func(id NodeID, e Effects) {
		if id == 1 {
			transitions = append(transitions, e.Transitions...)
		}
	}
	p.tick(l.cfg.StorageStallTicks - 1)
	if l.Role() != RoleLeader {
		t.Fatalf("the leader is %s before the deadline", l.Role())
	}
	p.tick(1)
	if n := p.leader(); n.id == 1 || l.Role() == RoleLeader {
		t.Fatalf("member %s leads although its disk stands still", n.id)
	}
	if len(transitions) == 0 || transitions[0].Trigger != TriggerStorageStalled {
		t.Fatalf("transitions %+v", transitions)
	}
	if s := l.Status(); !s.StorageStalled || s.StorageWaitTicks < uint64(l.cfg.StorageStallTicks) || s.UnstoredRequests == 0 {
		t.Fatalf("status %+v", s)
	}
	// Nobody else is there any more: it stands for election only when its disk works again.
	p.cut = func(m Message) bool { return m.From == 2 || m.To == 2 }
	for range 10 {
		p.tick(10)
		if l.Role() == RoleCandidate || l.Role() == RolePreCandidate {
			t.Fatal("a member whose disk stands still stands for election")
		}
	}
	p.hold[1] = false
	p.release(1)
	p.tick(60)
	p.leader()
}

func TestAStalledDiskWithoutASuccessorChangesNothing(t *testing.T) {
	p := newPump(t, 1)
	l := p.elect(1)
	p.hold[1] = true
	p.propose(l, "x")
	p.tick(10 * l.cfg.StorageStallTicks)
	if l.Role() != RoleLeader || l.transferTo != 0 {
		t.Fatalf("the only member is %s", l.Role())
	}
	p.hold[1] = false
	p.release(1)
	p.settle()
	if got := normal(p.applied[1]); len(got) != 1 {
		t.Fatalf("applied %q", got)
	}
}

func TestAHandOverOfAStalledLeaderIsTriedAgainOnlyNowAndThen(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.tick(3)
	p.hold[1] = true
	p.propose(l, "x")
	p.cut = func(m Message) bool { return m.Type == MsgTimeoutNow }
	clear(p.sent)
	p.tick(l.cfg.StorageStallTicks + 10*l.cfg.ElectionTicks)
	if n := p.sent[MsgTimeoutNow]; n < 2 || n > 6 {
		t.Fatalf("%d requests to take over in ten election timeouts", n)
	}
}
