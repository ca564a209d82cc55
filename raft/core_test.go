package raft

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/raft/tracker"
)

func TestAnyClusterSizeElectsAndApplies(t *testing.T) {
	for n := 1; n <= MaxVoters; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPump(t, n)
			p.tick(60)
			l := p.leader()
			p.propose(l, "a", "b")
			p.propose(l, "c")
			p.settle()
			for _, id := range p.ids {
				if got := normal(p.applied[id]); !slices.Equal(got, []string{"a", "b", "c"}) {
					t.Errorf("node %s applied %q", id, got)
				}
			}
		})
	}
}

func TestNothingCommitsBeforeAQuorumHasStoredIt(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.hold[1], p.hold[2], p.hold[3] = true, true, true
	before := l.Status().Commit
	p.propose(l, "x")
	p.settle()
	if l.Status().Commit != before {
		t.Fatal("committed with nothing stored")
	}
	p.release(2)
	p.settle()
	if l.Status().Commit != before {
		t.Fatal("committed with one of three stored")
	}
	p.release(3)
	p.settle()
	if l.Status().Commit != before+1 {
		t.Fatal("not committed although two followers stored it: the leader's own disk must not be waited for")
	}
	if got := normal(p.applied[1]); len(got) != 0 {
		t.Fatalf("the leader applied %q before its own disk had it", got)
	}
	p.release(1)
	p.settle()
	if got := normal(p.applied[1]); !slices.Equal(got, []string{"x"}) {
		t.Fatalf("applied %q", got)
	}
}

func TestNoMessageOfATermLeavesBeforeTheTermIsStored(t *testing.T) {
	p := newPump(t, 3)
	p.hold[1], p.hold[2] = true, true
	p.nodes[1].becomeCandidate("test", true)
	p.settle()
	if p.sent[MsgVote] != 0 {
		t.Fatal("asked for votes before the own vote was stored")
	}
	p.release(1)
	p.settle()
	if p.nodes[1].Role() != RoleLeader {
		t.Fatal("node 3 voted, so there should be a leader")
	}
	if len(p.nodes[2].gated) == 0 {
		t.Fatal("node 2 has answered although its vote is not stored")
	}
}

// Figure 8 of the paper: an entry of an earlier term is not committed by counting copies.
func TestEntriesOfEarlierTermsAreNotCommittedByCounting(t *testing.T) {
	p := newPump(t, 5)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.To > 2 && m.From == 1 }
	at := p.propose(l, "old")
	p.settle()
	p.cut = func(m Message) bool { return m.Type == MsgAppend }
	p.elect(5).becomeFollower(p.nodes[5].Term(), 0, "test")
	p.cut = func(m Message) bool {
		return m.Type == MsgAppend && slices.ContainsFunc(m.Entries, func(e Entry) bool { return e.Type == EntryEmpty && e.Term == 4 })
	}
	l = p.elect(1)
	p.settle()
	if term, _ := p.nodes[3].log.term(at); l.Status().Commit >= at {
		t.Fatalf("entry %d is committed; node 3 has it with term %d", at, term)
	}
}

func TestFollowerFarApartIsRepairedInFewRounds(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	// Node 1 alone appends many entries in several terms that no one else gets.
	p.cut = func(m Message) bool { return m.Type == MsgAppend && m.From == 1 }
	for range 2500 {
		p.propose(l, "lost", "lost", "lost", "lost")
	}
	p.settle()
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	l2 := p.elect(2)
	for range 2500 {
		p.propose(l2, "kept", "kept", "kept", "kept")
		p.settle()
	}
	p.cut = nil
	clear(p.sent)
	l2.Unreachable(1)
	p.tick(3)
	if got := p.nodes[1].Status().Last; got != l2.Status().Last {
		t.Fatalf("node 1 ends at %v, the leader at %v", got, l2.Status().Last)
	}
	if n := p.sent[MsgAppend]; n > 40 {
		t.Fatalf("%d append messages were needed", n)
	}
}

func TestLateCompletionDoesNotCountForReplacedEntries(t *testing.T) {
	p := newPump(t, 3)
	f := p.nodes[3]
	p.hold[3] = true
	appendFrom := func(leader NodeID, term Term, entries ...Entry) {
		if err := f.Step(Message{Type: MsgAppend, From: leader, To: 3, Term: term, Index: 1, LogTerm: 1, Entries: entries}); err != nil {
			t.Fatal(err)
		}
	}
	x := Entry{Index: 2, Term: 2, Type: EntryNormal, Data: []byte("x")}
	y := Entry{Index: 2, Term: 3, Type: EntryNormal, Data: []byte("y")}
	appendFrom(1, 2, x)
	first := f.TakeEffects().Store
	appendFrom(2, 3, y)
	second := f.TakeEffects().Store
	// The leader of term 4 has x again: the disk holds y when the first completion comes.
	appendFrom(1, 4, x)
	third := f.TakeEffects().Store
	f.Stored(first.Done())
	f.Stored(second.Done())
	if f.log.stored != 1 {
		t.Fatalf("stored is %d although entry 2 of the disk was replaced", f.log.stored)
	}
	f.Stored(third.Done())
	if f.log.stored != 2 {
		t.Fatalf("stored is %d", f.log.stored)
	}
}

func TestReadsShareARoundButNeverJoinOneUnderWay(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.Type == MsgHeartbeatResponse }
	for id := uint64(1); id <= 3; id++ {
		if err := l.ReadIndex(id); err != nil {
			t.Fatal(err)
		}
	}
	p.settle()
	if err := l.ReadIndex(4); err != nil {
		t.Fatal(err)
	}
	p.settle()
	p.cut = nil
	if err := l.Step(Message{Type: MsgHeartbeatResponse, From: 2, To: 1, Term: l.Term(), Context: l.reads.round}); err != nil {
		t.Fatal(err)
	}
	if got := len(l.out.Reads); got != 3 {
		t.Fatalf("%d reads were released by the first round, want 3", got)
	}
	p.settle()
	if got := len(p.reads[1]); got != 4 {
		t.Fatalf("%d reads were released in the end, want 4", got)
	}
}

func TestReadOnAFollower(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.propose(l, "x")
	p.settle()
	if err := p.nodes[3].ReadIndex(7); err != nil {
		t.Fatal(err)
	}
	p.settle()
	if want := []ReadResult{{7, l.Status().Commit}}; !slices.Equal(p.reads[3], want) {
		t.Fatalf("reads %v, want %v", p.reads[3], want)
	}
}

func TestADeposedLeaderAnswersNoReads(t *testing.T) {
	p := newPump(t, 3)
	old := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	p.elect(2)
	if err := old.ReadIndex(9); err != nil {
		t.Fatal(err)
	}
	p.tick(30)
	if len(p.reads[1]) != 0 || !slices.Equal(p.failed[1], []uint64{9}) {
		t.Fatalf("reads %v, failed %v", p.reads[1], p.failed[1])
	}
	if old.Role() == RoleLeader {
		t.Fatal("a leader without a quorum goes on")
	}
}

func TestAReadRoundUnderWayEndsWhenItsVotersLeave(t *testing.T) {
	p := newPump(t, 2)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.Type == MsgHeartbeatResponse }
	if err := l.ReadIndex(1); err != nil {
		t.Fatal(err)
	}
	p.settle()
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 2}}); err != nil {
		t.Fatal(err)
	}
	p.settle()
	if len(p.reads[1]) != 1 {
		t.Fatal("the read waits for a voter that is no member any more")
	}
}

func TestAPartitionedMemberDoesNotDisturbWhenItComesBack(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 3 || m.To == 3 }
	p.tick(100)
	term := l.Term()
	p.cut = nil
	p.tick(20)
	if l.Role() != RoleLeader || l.Term() != term {
		t.Fatalf("the leader is %s in term %d, was leader of term %d", l.Role(), l.Term(), term)
	}
}

func TestALearnerForgetsALeaderThatItDoesNotHear(t *testing.T) {
	p := newPump(t, 1)
	l := p.elect(1)
	ids, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeAddLearner, Member: Member{Incarnation: 200}}})
	if err != nil {
		t.Fatal(err)
	}
	id := ids[0]
	p.add(id, SnapshotMeta{Index: 1, Term: 1, Membership: members(1), ClusterVersion: 1})
	p.tick(3)
	if p.nodes[id].Leader() != 1 {
		t.Fatal("the learner knows no leader")
	}
	p.cut = func(Message) bool { return true }
	p.tick(25)
	if got := p.nodes[id]; got.Leader() != 0 || got.Role() != RoleLearner {
		t.Fatalf("cut off, the learner is %s under leader %s", got.Role(), got.Leader())
	}
}

func TestWhatWaitsForASlowDiskIsBounded(t *testing.T) {
	p := newPump(t, 3)
	p.hold[1] = true
	c := p.nodes[1]
	c.becomeCandidate("test", true)
	if err := c.Step(Message{Type: MsgHeartbeat, From: 2, To: 1, Term: c.Term()}); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := c.Step(Message{Type: MsgHeartbeat, From: 2, To: 1, Term: c.Term(), Context: uint64(i)}); err != nil {
			t.Fatal(err)
		}
		_ = c.ReadIndex(uint64(i))
		c.TakeEffects()
	}
	if n := len(c.gated); n > 8+maxGatedReads {
		t.Fatalf("%d messages wait for the disk", n)
	}
}

func TestASoleVoterWaitsForNobody(t *testing.T) {
	p := newPump(t, 1)
	p.tick(1)
	if p.nodes[1].Role() != RoleLeader {
		t.Fatalf("the only voter is %s after a tick", p.nodes[1].Role())
	}
}

func TestAFollowerThatKnowsTheLeaderGoneDoesNotWaitForATimeout(t *testing.T) {
	p := newPump(t, 3)
	p.elect(1)
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	for _, id := range []NodeID{2, 3} {
		p.nodes[id].LeaderGone(3) // not the leader: of no account
		if p.nodes[id].Leader() != 1 {
			t.Fatal("forgot a leader that is not gone")
		}
		p.nodes[id].LeaderGone(1)
	}
	p.tick(p.nodes[2].cfg.ElectionTicks/2 + 1)
	if l := p.leader(); l.id == 1 || l.Term() == p.nodes[1].Term() {
		t.Fatal("no new leader within half an election timeout")
	}
}

func TestTransfer(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	if err := l.Transfer(3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Propose([][]byte{nil}); !errors.Is(err, ErrTransferring) {
		t.Fatalf("proposal during the hand-over: %v", err)
	}
	p.settle()
	if p.nodes[3].Role() != RoleLeader || l.Role() != RoleFollower {
		t.Fatalf("node 3 is %s, node 1 %s", p.nodes[3].Role(), l.Role())
	}
}

func TestMembershipFromOneToThreeAndBack(t *testing.T) {
	p := newPump(t, 1)
	l := p.elect(1)
	base := SnapshotMeta{Index: 1, Term: 1, Membership: members(1), ClusterVersion: 1}
	for i := 2; i <= 3; i++ {
		ids, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeAddLearner, Member: Member{Incarnation: Incarnation(100 + i)}}})
		if err != nil || !slices.Equal(ids, []NodeID{NodeID(i)}) {
			t.Fatalf("learner %d: IDs %v, %v", i, ids, err)
		}
		id := ids[0]
		p.add(id, base)
		p.tick(3)
		if _, _, err := l.ProposeChanges(l.configIndex()-1, []Change{{Kind: ChangePromote, ID: id}}); !errors.Is(err, ErrConfigMoved) {
			t.Fatalf("a change decided on an older membership: %v", err)
		}
		if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangePromote, ID: id}}); err != nil {
			t.Fatal(err)
		}
		p.settle()
	}
	if got := l.Status().Membership.Voters(); len(got) != 3 {
		t.Fatalf("voters %v", got)
	}
	p.propose(l, "x")
	p.settle()
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 1}}); err != nil {
		t.Fatal(err)
	}
	p.settle()
	p.tick(3)
	if l.Role() == RoleLeader || p.leader().id == 1 {
		t.Fatal("the removed leader goes on")
	}
	if got := p.leader().Status().Membership; len(got.Voters()) != 2 || !got.Removed(1) {
		t.Fatalf("membership %+v", got)
	}
}

func TestARemovedLeaderStandsAgainUntilItsRemovalIsCommitted(t *testing.T) {
	p := newPump(t, 2)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 1}}); err != nil {
		t.Fatal(err)
	}
	p.tick(40)
	if l.Role() == RoleLeader {
		t.Fatal("leads without a quorum")
	}
	p.cut = nil
	p.tick(60)
	if got := p.leader(); got.id != 2 || len(got.Status().Membership.Members) != 1 {
		t.Fatalf("member %s leads %+v", got.id, got.Status().Membership)
	}
	p.tick(60)
	if l.Role() == RoleLeader || l.Role() == RolePreCandidate {
		t.Fatalf("the removed member is %s", l.Role())
	}
}

func TestChangesThatWouldCostTheQuorumAreRefused(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 3 || m.To == 3 }
	p.tick(20)
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 2}}); !errors.Is(err, ErrUnsafeChange) {
		t.Fatalf("removal of the last follower that is alive: %v", err)
	}
	if _, _, err := l.ProposeChanges(l.configIndex(), []Change{{Kind: ChangeRemove, ID: 3}}); err != nil {
		t.Fatalf("removal of the dead follower: %v", err)
	}
}

// TestARefusedSnapshotIsNotSentAgainAtOnce: each costs a view of the whole state, and a follower may refuse them for as long as its disk
// stands still.
func TestARefusedSnapshotIsNotSentAgainAtOnce(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 3 || m.To == 3 }
	p.propose(l, "missed")
	p.settle()
	l.Compact(l.Status().Applied)
	p.cut = nil
	most := snapshotRetryElections * l.cfg.ElectionTicks
	var at []int
	for now := range 10 * most {
		p.tick(1)
		if len(p.snaps[1]) > 0 {
			at, p.snaps[1] = append(at, now), nil
			l.SnapshotSent(3, SnapshotMeta{}, false)
		}
	}
	if len(at) < 9 || len(at) > 20 {
		t.Fatalf("snapshots to a follower that refuses them at ticks %v", at)
	}
	for i := 2; i < len(at); i++ {
		before, gap := at[i-1]-at[i-2], at[i]-at[i-1]
		if gap > most+l.cfg.HeartbeatTicks || gap < min(2*before, most)-l.cfg.HeartbeatTicks {
			t.Fatalf("snapshots to a follower that refuses them at ticks %v, the most between two is %d", at, most)
		}
	}
}

func TestFollowerBehindTheCompactedLogGetsASnapshot(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.cut = func(m Message) bool { return m.From == 3 || m.To == 3 }
	for i := range 20 {
		p.propose(l, fmt.Sprint(i))
	}
	p.settle()
	l.Compact(l.Status().Applied)
	p.cut = nil
	p.tick(5)
	if !slices.Equal(p.snaps[1], []NodeID{3}) {
		t.Fatalf("snapshots to send: %v", p.snaps[1])
	}
	s := l.Status()
	meta := SnapshotMeta{Index: s.Applied, Term: s.Term, Membership: s.Membership, ClusterVersion: 1}
	if err := p.nodes[3].Step(Message{Type: MsgSnapshot, From: 1, To: 3, Term: s.Term, Snapshot: &meta}); err != nil {
		t.Fatal(err)
	}
	l.SnapshotSent(3, meta, true)
	p.settle()
	p.propose(l, "after")
	p.tick(3)
	if got := normal(p.applied[3]); !slices.Equal(got, []string{"after"}) {
		t.Fatalf("applied behind the snapshot: %q", got)
	}
	if got := l.progress[3]; got.State != tracker.Replicate {
		t.Fatalf("node 3 is in state %s", got.State)
	}
}

func TestADiskBehindTheStateMachineIsRefused(t *testing.T) {
	applied := SnapshotMeta{Index: 10, Term: 2, Membership: members(1)}
	cfg := Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, Random: func(int) int { return 0 }}
	for name, init := range map[string]Initial{
		"log ends before":   {Applied: applied, LogStart: Position{8, 2}, Entries: []Entry{{Index: 9, Term: 2}}},
		"log starts behind": {Applied: applied, LogStart: Position{11, 2}},
		"other term":        {Applied: applied, LogStart: Position{9, 1}, Entries: []Entry{{Index: 10, Term: 1}}},
		"hole":              {Applied: applied, LogStart: Position{9, 2}, Entries: []Entry{{Index: 10, Term: 2}, {Index: 12, Term: 2}}},
	} {
		if _, err := New(cfg, init); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestProposalsAreBounded(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	l.cfg.MaxUncommittedBytes, l.cfg.MaxEntryBytes = 4096, 2048
	p.cut = func(m Message) bool { return m.Type == MsgAppend }
	if _, _, err := l.Propose([][]byte{make([]byte, 2049)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large: %v", err)
	}
	var err error
	n := 0
	for ; err == nil; n++ {
		_, _, err = l.Propose([][]byte{make([]byte, 1024)})
	}
	if !errors.Is(err, ErrBusy) || n > 5 {
		t.Fatalf("after %d proposals: %v", n, err)
	}
	p.cut = nil
	p.tick(5)
	if _, _, err := l.Propose([][]byte{make([]byte, 1024)}); err != nil {
		t.Fatalf("after the backlog was committed: %v", err)
	}
}
