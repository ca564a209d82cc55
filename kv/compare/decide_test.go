package compare

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
)

const version = kv.CompareVersion

func membership(voters, learners int) raft.Membership {
	var members []raft.Member
	for i := range voters + learners {
		members = append(members, raft.Member{ID: raft.NodeID(i + 1), Learner: i >= voters})
	}
	return raft.NewMembership(members...)
}

func says(member raft.NodeID, points ...kv.RunningHash) Answer {
	return Answer{Member: member, ApplyVersion: 1, Points: points}
}

func at(index raft.Index, hash uint64) kv.RunningHash {
	return kv.RunningHash{Applied: index, ClusterVersion: version, Hash: hash}
}

func TestDecide(t *testing.T) {
	older := kv.RunningHash{Applied: 10, ClusterVersion: version - 1, Hash: 9}
	newer := kv.RunningHash{Applied: 10, ClusterVersion: version + 1, Hash: 9}
	otherBuild := says(3, at(10, 9))
	otherBuild.ApplyVersion = 2
	for _, x := range []struct {
		name             string
		voters, learners int
		answers          []Answer
		verdict          Verdict
		member           raft.NodeID
		index            raft.Index
	}{
		{"nobody answers", 3, 0, nil, NotComparable, 0, 0},
		{"alone", 1, 0, []Answer{says(1, at(10, 1))}, NotComparable, 0, 0},
		{"the same", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 1))}, Agree, 0, 10},
		{"the latest place is told", 3, 0, []Answer{says(1, at(20, 2), at(10, 1)), says(2, at(10, 1), at(20, 2)), says(3, at(10, 1))}, Agree, 0, 20},
		{"one of three differs", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 9))}, Differs, 3, 10},
		{"the leader differs", 3, 0, []Answer{says(1, at(10, 9)), says(2, at(10, 1)), says(3, at(10, 1))}, Differs, 1, 10},
		{"one of five differs, two are silent", 5, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 9))}, Conflict, 0, 10},
		{"one of five differs, one is silent", 5, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 9)), says(4, at(10, 1))}, Differs, 3, 10},
		{"two of five differ in the same way", 5, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 1)), says(4, at(10, 9)), says(5, at(10, 9))}, Conflict, 0, 10},
		{"two of five differ, each in its way", 5, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 1)), says(4, at(10, 8)), says(5, at(10, 9))}, Conflict, 0, 10},
		{"two voters", 2, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 9))}, Conflict, 0, 10},
		{"all three differ", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 2)), says(3, at(10, 3))}, Conflict, 0, 10},
		{"two of three differ, the third is silent", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 9))}, Conflict, 0, 10},
		{"a half is no majority", 4, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 9))}, Conflict, 0, 10},
		{"who is behind is not compared", 3, 0, []Answer{says(1, at(20, 1)), says(2, at(20, 1)), says(3, at(10, 9))}, Agree, 0, 20},
		{"nor is another cluster version", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, newer)}, Agree, 0, 10},
		{"nor is one that is too low", 3, 0, []Answer{says(1, older), says(2, at(10, 1)), says(3, older)}, NotComparable, 0, 0},
		{"nor is another build", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), otherBuild}, Agree, 0, 10},
		{"nor is a stranger", 3, 0, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(9, at(10, 9))}, Agree, 0, 10},
		{"one vote each", 3, 0, []Answer{says(1, at(10, 1)), says(3, at(10, 9)), says(3, at(10, 1)), says(1, at(10, 9)), says(3, at(10, 9))}, Conflict, 0, 10},
		{"a learner that differs", 3, 1, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(4, at(10, 9))}, Differs, 4, 10},
		{"a voter alone", 1, 1, []Answer{says(1, at(10, 1)), says(2, at(10, 9))}, Conflict, 0, 10},
		{"two voters and a learner that differs", 2, 1, []Answer{says(1, at(10, 1)), says(2, at(10, 1)), says(3, at(10, 9))}, Differs, 3, 10},
		{"learners are no majority", 3, 3, []Answer{says(1, at(10, 9)), says(4, at(10, 1)), says(5, at(10, 1)), says(6, at(10, 1))}, Conflict, 0, 10},
		{"an earlier place where all are", 3, 0, []Answer{says(1, at(10, 1), at(20, 2)), says(2, at(10, 1)), says(3, at(10, 9), at(20, 8))}, Differs, 3, 10},
		{"a later agreement of others", 3, 0, []Answer{says(1, at(10, 1), at(20, 2)), says(2, at(10, 1), at(20, 2)), says(3, at(10, 9))}, Differs, 3, 10},
		{"two are blamed", 5, 0, []Answer{
			says(1, at(10, 1), at(20, 2)), says(2, at(10, 1), at(20, 2)), says(3, at(10, 1), at(20, 2)), says(4, at(10, 9)), says(5, at(20, 9))}, Conflict, 0, 20},
		{"one is blamed, and others differ", 5, 0, []Answer{
			says(1, at(10, 1), at(20, 2)), says(2, at(10, 1)), says(3, at(10, 1)), says(4, at(10, 9)), says(5, at(20, 9))}, Conflict, 0, 20},
		{"others differ, and one is blamed", 5, 0, []Answer{
			says(1, at(20, 1), at(10, 2)), says(2, at(20, 1)), says(3, at(20, 1)), says(4, at(20, 9)), says(5, at(10, 9))}, Conflict, 0, 10},
	} {
		f := Decide(membership(x.voters, x.learners), x.answers)
		if f.Verdict != x.verdict || f.Member != x.member || f.Index != x.index {
			t.Errorf("%s: %v", x.name, f)
		}
	}
}

func TestNothingIsComparedWhileVotesMove(t *testing.T) {
	m := membership(3, 0)
	m.Members[0].OutgoingVoter, m.Members[0].Leaving = true, true
	if !m.Joint() {
		t.Fatal("not joint")
	}
	if f := Decide(m, []Answer{says(1, at(10, 9)), says(2, at(10, 1)), says(3, at(10, 1))}); f.Verdict != NotComparable {
		t.Error(f)
	}
}

// TestOnlyTheMinorityOfOneIsEverBlamed draws clusters in which some members have gone wrong, each at some index, and are seen by part of
// their points: a healthy member is blamed only if more than half of the voters are wrong in the same way.
func TestOnlyTheMinorityOfOneIsEverBlamed(t *testing.T) {
	const rounds, indexes = 20_000, 6
	found := map[Verdict]int{}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		voters := 1 + r.IntN(7)
		m := membership(voters, r.IntN(3))
		wrongFrom := map[raft.NodeID]int{}
		for range r.IntN(3) {
			wrongFrom[m.Members[r.IntN(len(m.Members))].ID] = 1 + r.IntN(indexes)
		}
		var answers []Answer
		for _, x := range m.Members {
			if r.IntN(4) == 0 {
				continue // silent
			}
			a := Answer{Member: x.ID, ApplyVersion: 1}
			for i := 1; i <= indexes; i++ {
				if r.IntN(3) == 0 {
					continue
				}
				hash := uint64(i)
				if from, wrong := wrongFrom[x.ID]; wrong && i >= from {
					hash = uint64(i)<<32 | uint64(x.ID) // it never gets right again
				}
				a.Points = append(a.Points, at(raft.Index(i), hash))
			}
			answers = append(answers, a)
		}
		f := Decide(m, answers)
		found[f.Verdict]++
		_, wrong := wrongFrom[f.Member]
		switch f.Verdict {
		case Differs:
			if !wrong {
				t.Fatalf("seed %d: a healthy member is blamed: %v", seed, f)
			}
			agree := 0
			for _, h := range f.Hashes {
				if h.Hash == uint64(f.Index) && slices.Contains(m.Voters(), h.Member) {
					agree++
				} else if h.Member != f.Member && h.Hash != uint64(f.Index) {
					t.Fatalf("seed %d: more than one differs: %v", seed, f)
				}
			}
			if 2*agree <= voters {
				t.Fatalf("seed %d: %d of %d voters agree: %v", seed, agree, voters, f)
			}
		case Conflict:
			if len(wrongFrom) == 0 {
				t.Fatalf("seed %d: a conflict without cause: %v", seed, f)
			}
		}
	}
	for _, v := range []Verdict{NotComparable, Agree, Differs, Conflict} {
		if found[v] < rounds/100 {
			t.Errorf("%v was found %d times of %d", v, found[v], rounds)
		}
	}
}

func TestASuspicionIsConfirmedByTheSameFindingInARow(t *testing.T) {
	blamed := func(m raft.NodeID) Finding { return Finding{Verdict: Differs, Member: m} }
	for _, x := range []struct {
		name     string
		findings []Finding
		want     bool
	}{
		{"once", []Finding{blamed(3)}, false},
		{"three times", []Finding{blamed(3), blamed(3), blamed(3)}, true},
		{"with a pause", []Finding{blamed(3), {}, blamed(3), {}, blamed(3)}, true},
		{"a pause does not count", []Finding{blamed(3), blamed(3), {}}, false},
		{"agreement in between", []Finding{blamed(3), blamed(3), {Verdict: Agree}, blamed(3)}, false},
		{"another member", []Finding{blamed(3), blamed(3), blamed(2)}, false},
		{"a conflict", []Finding{{Verdict: Conflict}, {Verdict: Conflict}, {Verdict: Conflict}}, true},
		{"a conflict in between", []Finding{blamed(3), blamed(3), {Verdict: Conflict}, blamed(3)}, false},
	} {
		var s Suspicion
		confirmed := false
		for _, f := range x.findings {
			confirmed = s.Note(f)
		}
		if confirmed != x.want {
			t.Errorf("%s: confirmed %v", x.name, confirmed)
		}
	}
}

func TestWhatAMemberHasIsCoveredByAMajorityOfOthers(t *testing.T) {
	has := func(m raft.NodeID, applied raft.Index) Answer { return Answer{Member: m, Applied: applied} }
	for _, x := range []struct {
		voters  int
		answers []Answer
		want    bool
	}{
		{3, []Answer{has(1, 10), has(2, 11), has(3, 10)}, true},
		{3, []Answer{has(1, 10), has(2, 9), has(3, 10)}, false},
		{3, []Answer{has(1, 10), has(1, 10), has(3, 10)}, false},
		{3, []Answer{has(2, 10), has(4, 10), has(3, 10)}, false}, // 4 is a learner
		{4, []Answer{has(1, 10), has(2, 10), has(3, 10)}, false}, // two of four
	} {
		if got := Covered(membership(x.voters, 2), 3, 10, x.answers); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
}
