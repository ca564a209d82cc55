package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
)

// Answer is what one member said of its state.
type Answer struct {
	Member raft.NodeID
	// ApplyVersion is that of its build (kv.ApplyVersion).
	ApplyVersion uint32
	// Applied is the index that it has applied.
	Applied raft.Index
	// Points are checksums at some indexes, in any order.
	Points []kv.RunningHash
}

// Verdict is what the answers show.
type Verdict uint8

// The verdicts.
const (
	// NotComparable: no two members named the same index and versions, or votes are being moved.
	NotComparable Verdict = iota
	// Agree: wherever members could be compared they agreed.
	Agree
	// Differs: one member differs from all others, of which more than half of the voters agree.
	Differs
	// Conflict: members differ, and it cannot be told who is right.
	Conflict
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"not-comparable", "agree", "differs", "conflict"}[v]
}

// Finding is a verdict and what it rests on.
type Finding struct {
	Verdict Verdict
	// Member is the one that differs; zero but for Differs.
	Member raft.NodeID
	// Index is the latest at which the verdict holds, ClusterVersion the one in force there; zero for NotComparable.
	Index          raft.Index
	ClusterVersion uint32
	// Hashes are the checksums at Index, by member.
	Hashes []MemberHash
}

// MemberHash is the checksum of one member.
type MemberHash struct {
	Member raft.NodeID
	Hash   uint64
}

// String is for log lines.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Verdict.String())
	if f.Member != 0 {
		fmt.Fprintf(&b, ": member %s", f.Member)
	}
	if f.Index != 0 {
		fmt.Fprintf(&b, " at index %d:", f.Index)
	}
	for _, h := range f.Hashes {
		fmt.Fprintf(&b, " %s=%016x", h.Member, h.Hash)
	}
	return b.String()
}

// place is where checksums can be compared.
type place struct {
	index          raft.Index
	clusterVersion uint32
	applyVersion   uint32
}

// Decide compares the members of a membership by what they answered. Of several answers of one member the first counts, and those of others
// do not.
func Decide(members raft.Membership, answers []Answer) Finding {
	if members.Joint() {
		return Finding{}
	}
	places := gather(members, answers)
	var out Finding
	for _, p := range sorted(places) {
		f := judge(members, places[p])
		if f.Verdict == NotComparable {
			continue
		}
		f.Index, f.ClusterVersion = p.index, p.clusterVersion
		out = stronger(out, f)
	}
	return out
}

func gather(members raft.Membership, answers []Answer) map[place][]MemberHash {
	out := map[place][]MemberHash{}
	heard := map[raft.NodeID]bool{}
	for _, a := range answers {
		if _, known := members.Find(a.Member); !known || heard[a.Member] {
			continue
		}
		heard[a.Member] = true
		for _, x := range a.Points {
			p := place{x.Applied, x.ClusterVersion, a.ApplyVersion}
			if x.ClusterVersion >= kv.CompareVersion && !slices.ContainsFunc(out[p], func(h MemberHash) bool { return h.Member == a.Member }) {
				out[p] = append(out[p], MemberHash{a.Member, x.Hash})
			}
		}
	}
	return out
}

// sorted returns the places, the earliest first.
func sorted(places map[place][]MemberHash) []place {
	out := make([]place, 0, len(places))
	for p := range places {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.clusterVersion, b.clusterVersion), cmp.Compare(a.applyVersion, b.applyVersion))
	})
	return out
}

// judge decides on one place.
func judge(members raft.Membership, hashes []MemberHash) Finding {
	if len(hashes) < 2 {
		return Finding{}
	}
	slices.SortFunc(hashes, func(a, b MemberHash) int { return cmp.Compare(a.Member, b.Member) })
	f := Finding{Verdict: Conflict, Hashes: hashes}
	if !slices.ContainsFunc(hashes, func(h MemberHash) bool { return h.Hash != hashes[0].Hash }) {
		f.Verdict = Agree
		return f
	}
	hash, found := majority(members, hashes)
	if !found {
		return f
	}
	var others []raft.NodeID
	for _, h := range hashes {
		if h.Hash != hash {
			others = append(others, h.Member)
		}
	}
	if len(others) == 1 {
		f.Verdict, f.Member = Differs, others[0]
	}
	return f
}

// majority returns the checksum that more than half of all voters have, two at the least: one alone agrees with nobody.
func majority(members raft.Membership, hashes []MemberHash) (uint64, bool) {
	count := map[uint64]int{}
	voters := members.Voters()
	for _, h := range hashes {
		if !slices.Contains(voters, h.Member) {
			continue
		}
		if count[h.Hash]++; count[h.Hash] > 1 && 2*count[h.Hash] > len(voters) {
			return h.Hash, true
		}
	}
	return 0, false
}

// stronger joins the findings at two places, of which the second is the later: blame wins over a conflict, where members were missing, and
// that over agreement. Two members that are blamed at two places are a conflict.
func stronger(a, b Finding) Finding {
	switch {
	case a.Verdict == Differs && b.Verdict == Differs && a.Member != b.Member:
		b.Verdict, b.Member = Conflict, 0
		return b
	case a.Verdict == Differs && b.Verdict == Conflict && !explains(a.Member, b):
		return b
	case a.Verdict == Conflict && b.Verdict == Differs && !explains(b.Member, a):
		return a
	case rank(b.Verdict) >= rank(a.Verdict):
		return b
	}
	return a
}

// explains tells whether the checksums of a finding agree but for that member's.
func explains(member raft.NodeID, f Finding) bool {
	rest := slices.DeleteFunc(slices.Clone(f.Hashes), func(h MemberHash) bool { return h.Member == member })
	return !slices.ContainsFunc(rest, func(h MemberHash) bool { return h.Hash != rest[0].Hash })
}

func rank(v Verdict) int {
	return map[Verdict]int{NotComparable: 0, Agree: 1, Conflict: 2, Differs: 3}[v]
}

// Covered tells whether more than half of the voters, not counting one member, have applied an index: what that member has is not lost with it.
func Covered(members raft.Membership, without raft.NodeID, index raft.Index, answers []Answer) bool {
	voters := members.Voters()
	have := map[raft.NodeID]bool{}
	for _, a := range answers {
		if a.Member != without && a.Applied >= index && slices.Contains(voters, a.Member) {
			have[a.Member] = true
		}
	}
	return 2*len(have) > len(voters)
}
