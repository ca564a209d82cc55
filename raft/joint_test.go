package raft

import (
	"errors"
	"math/bits"
	"slices"
	"testing"
)

// addLearner adds a learner on a fresh node and lets it catch up.
func (p *pump) addLearner(l *Core, incarnation Incarnation) NodeID {
	p.t.Helper()
	ids, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeAddLearner, Member: Member{Incarnation: incarnation}}})
	if err != nil {
		p.t.Fatal(err)
	}
	id := ids[0]
	p.add(id, SnapshotMeta{Index: 1, Term: 1, Membership: members(len(l.electorate.all)), ClusterVersion: 1})
	p.tick(3)
	return id
}

func (p *pump) raiseVersion(l *Core, version uint32) {
	p.t.Helper()
	if _, err := l.ProposeClusterVersion(version); err != nil {
		p.t.Fatal(err)
	}
	p.settle()
}

func TestTheClusterVersionNeverGoesBack(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.Type == MsgAppendResponse } // nothing is committed, so nobody has applied it
	raised, err := l.ProposeClusterVersion(4)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint32{3, 4, 0} {
		if at, err := l.ProposeClusterVersion(version); err != nil || at != raised || l.log.last().Index != raised {
			t.Errorf("version %d behind version 4 at entry %d: entry %d, %v, the log ends at %d", version, raised, at, err, l.log.last().Index)
		}
	}
	if at, err := l.ProposeClusterVersion(5); err != nil || at != raised+1 {
		t.Errorf("version 5: entry %d, %v", at, err)
	}
	p.cut = nil
	p.tick(4)
	if v := l.Status().ClusterVersion; v != 5 {
		t.Errorf("version %d is in force", v)
	}
}

// jointPump is three voters and two learners that have caught up, at a cluster version that allows joint memberships.
func jointPump(t *testing.T) (*pump, *Core) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.addLearner(l, 204)
	p.addLearner(l, 205)
	p.raiseVersion(l, JointVersion)
	return p, l
}

func replaceTwo(l *Core) error {
	_, _, err := l.ProposeChanges(l.configIndex(), []Change{
		{Kind: ChangeRemove, ID: 2}, {Kind: ChangePromote, ID: 4}, {Kind: ChangeRemove, ID: 3}, {Kind: ChangePromote, ID: 5},
	})
	return err
}

func TestAJointChangeIsMadeAndLeftByItself(t *testing.T) {
	p, l := jointPump(t)
	before := l.configIndex()
	if err := replaceTwo(l); err != nil {
		t.Fatal(err)
	}
	if m := l.membership(); !m.Joint() || len(m.Electors()) != 5 || !l.View().Joint {
		t.Fatalf("four votes move at once: %+v", m)
	}
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 4}}); !errors.Is(err, ErrChangePending) {
		t.Fatalf("a change during a change: %v", err)
	}
	p.tick(3)
	m := l.membership()
	if m.Joint() || !slices.Equal(m.Voters(), []NodeID{1, 4, 5}) || !m.Removed(2) || !m.Removed(3) || l.configIndex() != before+3 {
		t.Fatalf("left behind: %+v", m)
	}
	p.propose(l, "x")
	p.settle()
	if got := normal(p.applied[5]); !slices.Equal(got, []string{"x"}) {
		t.Fatalf("a new voter applied %q", got)
	}
}

func TestAJointMembershipIsNotWrittenBeforeAllReadIt(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.addLearner(l, 204)
	swap := []Change{{Kind: ChangePromote, ID: 4}, {Kind: ChangeRemove, ID: 3}}
	if _, _, err := l.ProposeChanges(l.configIndex(), swap); !errors.Is(err, ErrJointVersion) {
		t.Fatalf("at cluster version 1: %v", err)
	}
	p.hold[2], p.hold[3] = true, true
	p.raiseVersion(l, JointVersion)
	if _, _, err := l.ProposeChanges(l.configIndex(), swap); !errors.Is(err, ErrJointVersion) {
		t.Fatalf("the version is not committed: %v", err)
	}
	p.hold[2], p.hold[3] = false, false
	p.tick(3)
	ids, _, err := l.ProposeChanges(l.configIndex(), swap)
	if err != nil || !slices.Equal(ids, []NodeID{4, 3}) {
		t.Fatalf("members %v, %v", ids, err)
	}
}

// TestAJointDecisionNeedsBothMajorities cuts off one majority or the other.
func TestAJointDecisionNeedsBothMajorities(t *testing.T) {
	for name, dead := range map[string][]NodeID{"outgoing": {2, 3}, "incoming": {4, 5}} {
		t.Run(name, func(t *testing.T) {
			p, l := jointPump(t)
			p.cut = func(m Message) bool { return slices.Contains(dead, m.From) || slices.Contains(dead, m.To) }
			if err := replaceTwo(l); err != nil {
				t.Fatal(err)
			}
			commit := l.commit
			p.propose(l, "x")
			if err := l.ReadIndex(1); err != nil {
				t.Fatal(err)
			}
			p.tick(3)
			if l.commit != commit || len(p.reads[1]) != 0 || !l.isJoint() {
				t.Fatalf("committed %d after %d, %d reads, with one majority", l.commit, commit, len(p.reads[1]))
			}
			p.tick(30)
			if l.Role() == RoleLeader {
				t.Fatal("leads without the other majority")
			}
			for _, id := range p.ids {
				if p.nodes[id].Role() == RoleLeader {
					t.Fatalf("member %s was elected by one majority", id)
				}
			}
			p.cut = nil
			p.tick(100)
			if m := p.leader().membership(); m.Joint() || len(m.Voters()) != 3 {
				t.Fatalf("after all came back: %+v", m)
			}
		})
	}
}

func TestANewLeaderCompletesACommittedJointChange(t *testing.T) {
	p, l := jointPump(t)
	if err := replaceTwo(l); err != nil {
		t.Fatal(err)
	}
	// The joint entry is stored everywhere, the leader hears of it from nobody, and is gone.
	p.cut = func(m Message) bool { return m.To == 1 }
	p.settle()
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	p.tick(100)
	n := p.leader()
	if m := n.membership(); n.id == 1 || m.Joint() || !slices.Equal(m.Voters(), []NodeID{1, 4, 5}) {
		t.Fatalf("member %s leads %+v", n.id, m)
	}
	if n.id == 2 || n.id == 3 {
		t.Fatalf("the removed member %s goes on", n.id)
	}
}

func TestALeaderThatIsReplacedLeadsToTheEnd(t *testing.T) {
	p, l := jointPump(t)
	if err := l.Transfer(4); !errors.Is(err, ErrTransferRefused) {
		t.Fatalf("hand-over to a learner: %v", err)
	}
	_, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangePromote, ID: 4}, {Kind: ChangeRemove, ID: 1}})
	if err != nil {
		t.Fatal(err)
	}
	p.tick(5)
	n := p.leader()
	if m := n.membership(); n.id == 1 || m.Joint() || !slices.Equal(m.Voters(), []NodeID{2, 3, 4}) || !m.Removed(1) {
		t.Fatalf("member %s leads %+v", n.id, m)
	}
	p.tick(60)
	if l.Role() == RoleLeader || l.Role() == RoleCandidate {
		t.Fatalf("the removed member is %s", l.Role())
	}
}

func TestALoneVoterIsReplacedInOneCall(t *testing.T) {
	p := newPump(t, 1)
	l := p.elect(1)
	id := p.addLearner(l, 300)
	p.raiseVersion(l, JointVersion)
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 1}, {Kind: ChangePromote, ID: id}}); err != nil {
		t.Fatal(err)
	}
	p.tick(5)
	if n := p.leader(); n.id != id || !slices.Equal(n.membership().Voters(), []NodeID{id}) {
		t.Fatalf("member %s leads %+v", n.id, n.membership())
	}
}

func TestAJointChangeThatIsTruncatedLeavesNoTrace(t *testing.T) {
	p, l := jointPump(t)
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	if err := replaceTwo(l); err != nil {
		t.Fatal(err)
	}
	p.tick(60)
	n := p.leader()
	p.propose(n, "x")
	p.cut = nil
	p.tick(60)
	if m := l.membership(); m.Joint() || !slices.Equal(m.Voters(), []NodeID{1, 2, 3}) || l.isJoint() {
		t.Fatalf("the old leader keeps %+v", m)
	}
}

// TestElectoratesAgainstBruteForce compares quorums, elections and commitment of every pair of small configurations with the
// words of the paper: a majority of the one and a majority of the other.
func TestElectoratesAgainstBruteForce(t *testing.T) {
	const n = 5
	count := func(set, of uint) int { return bits.OnesCount(set & of) }
	majority := func(set, of uint) bool { return 2*count(set, of) > bits.OnesCount(of) }
	for before := uint(1); before < 1<<n; before++ {
		for after := uint(1); after < 1<<n; after++ {
			m := configuration(n, before)
			next := configuration(n, after)
			next.LastID, m.LastID = n, n
			joint := bits.OnesCount(before^after) > 1
			in := next
			if joint {
				in = m.joint(next)
			}
			if err := in.Validate(); err != nil || in.Joint() != joint {
				t.Fatalf("%05b to %05b: %+v, %v", before, after, in, err)
			}
			if left := in.Leave(); !slices.Equal(left.Voters(), next.Voters()) || left.Joint() || len(left.Members) != len(next.Members) {
				t.Fatalf("%05b to %05b leaves %+v", before, after, left)
			}
			e := electorateOf(in)
			decides := func(set uint) bool { return majority(set, after) && (!joint || majority(set, before)) }
			for yes := range uint(1 << n) {
				has := func(id NodeID) bool { return yes&(1<<(id-1)) != 0 }
				if got := in.HasQuorum(has); got != decides(yes) {
					t.Fatalf("%05b to %05b: %05b is a quorum: %v", before, after, yes, got)
				}
				votes := map[NodeID]bool{}
				for id := NodeID(1); id <= n; id++ {
					if has(id) {
						votes[id] = true
					} else if id%2 == 0 {
						votes[id] = false
					}
				}
				open := yes
				for id := NodeID(1); id <= n; id += 2 {
					open |= 1 << (id - 1)
				}
				want := "pending"
				if decides(yes) {
					want = "won"
				} else if !decides(open) {
					want = "lost"
				}
				if got := []string{"pending", "won", "lost"}[e.tally(votes)]; got != want {
					t.Fatalf("%05b to %05b: votes %v are %s, want %s", before, after, votes, got, want)
				}
			}
			matchOf := func(id NodeID) uint64 { return uint64(id*id*7) % 11 }
			best := uint64(0)
			for value := uint64(1); value < 11; value++ {
				var set uint
				for id := NodeID(1); id <= n; id++ {
					if matchOf(id) >= value {
						set |= 1 << (id - 1)
					}
				}
				if decides(set) {
					best = value
				}
			}
			if got := e.reached(matchOf); got != best {
				t.Fatalf("%05b to %05b: a quorum has reached %d, want %d", before, after, got, best)
			}
		}
	}
}

// configuration has the voters of the set and no one else.
func configuration(n int, set uint) Membership {
	var all []Member
	for i := 1; i <= n; i++ {
		if set&(1<<(i-1)) != 0 {
			all = append(all, Member{ID: NodeID(i), Incarnation: Incarnation(i)})
		}
	}
	return NewMembership(all...)
}

// TestChangeListsAgainstPlainSets makes every list of up to three removals and promotions and compares with sets.
func TestChangeListsAgainstPlainSets(t *testing.T) {
	base := configuration(4, 0b1111)
	for learners := range uint(1 << 4) {
		if learners == 0b1111 {
			continue
		}
		m := base.Clone()
		for i := range m.Members {
			m.Members[i].Learner = learners&(1<<i) != 0
		}
		for code := range 8 * 8 * 8 {
			var list []Change
			voters, gone := 0b1111&^learners, uint(0)
			legal := true
			for k := range 3 {
				step := code >> (3 * k) & 7
				bit := uint(1) << (step & 3)
				id := NodeID(step&3) + 1
				if step < 4 {
					list = append(list, Change{Kind: ChangeRemove, ID: id})
					voters, gone = voters&^bit, gone|bit
				} else {
					list = append(list, Change{Kind: ChangePromote, ID: id})
					legal = legal && gone&bit == 0
					voters |= bit
				}
			}
			legal = legal && voters != 0
			next, ids, err := m.ApplyAll(list)
			if (err == nil) != legal {
				t.Fatalf("%+v of %+v: %v, legal: %v", list, m, err, legal)
			}
			if err != nil {
				continue
			}
			moved := bits.OnesCount(voters ^ (0b1111 &^ learners))
			final := next.Leave()
			if len(ids) != 3 || next.Joint() != (moved > 1) || !slices.Equal(final.Voters(), configuration(4, voters).Voters()) || len(final.Members) != 4-bits.OnesCount(gone) {
				t.Fatalf("%+v of %+v gives %+v", list, m, next)
			}
			raw, err := next.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			var back Membership
			if err := back.UnmarshalBinary(raw); err != nil || !back.Equal(next) {
				t.Fatalf("%+v came back as %+v: %v", next, back, err)
			}
			if joint := raw[0] == membershipFormatJoint; joint != next.Joint() {
				t.Fatalf("%+v is written in format %d", next, raw[0])
			}
			if next.Joint() {
				if _, _, err := next.ApplyAll(list); !errors.Is(err, ErrChangeRefused) {
					t.Fatalf("a change of a joint membership: %v", err)
				}
			}
		}
	}
}
