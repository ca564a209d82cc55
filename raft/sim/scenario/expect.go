package scenario

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
	"github.com/raftkv/raftkv/raft/tracker"
)

// mark is what counters are compared with.
type mark struct {
	committed raft.Index
	counts    map[string]uint64
}

// counters are what a story may count.
var counters = map[string]func(p *play) uint64{
	"messages":           func(p *play) uint64 { return sum(p.cluster.Sent().Messages) },
	"bytes":              func(p *play) uint64 { return p.cluster.Sent().Bytes },
	"entries-sent":       func(p *play) uint64 { return p.cluster.Sent().Entries },
	"appends":            sent(raft.MsgAppend),
	"heartbeats":         sent(raft.MsgHeartbeat),
	"votes":              sent(raft.MsgVote),
	"pre-votes":          sent(raft.MsgPreVote),
	"reads":              sent(raft.MsgReadIndex),
	"rejections":         func(p *play) uint64 { return p.cluster.Sent().Rejected },
	"commits":            covered(func(c sim.Coverage) uint64 { return c.EntriesCommitted }),
	"elections":          covered(func(c sim.Coverage) uint64 { return c.Elections }),
	"campaigns":          covered(func(c sim.Coverage) uint64 { return c.Campaigns }),
	"truncated":          covered(func(c sim.Coverage) uint64 { return c.EntriesTruncated }),
	"snapshots":          covered(func(c sim.Coverage) uint64 { return c.SnapshotsInstalled }),
	"failed-snapshots":   covered(func(c sim.Coverage) uint64 { return c.SnapshotsFailed }),
	"compactions":        covered(func(c sim.Coverage) uint64 { return c.Compactions }),
	"boots":              covered(func(c sim.Coverage) uint64 { return c.Boots }),
	"partitions":         covered(func(c sim.Coverage) uint64 { return c.Partitions }),
	"membership-changes": covered(func(c sim.Coverage) uint64 { return c.MembershipsCommitted }),
	"joint":              covered(func(c sim.Coverage) uint64 { return c.JointMemberships }),
	"damage":             covered(func(c sim.Coverage) uint64 { return c.DamageFound }),
	"full-stops":         covered(func(c sim.Coverage) uint64 { return c.StoppedFull }),
	"lease-reads":        covered(func(c sim.Coverage) uint64 { return c.LeaseReads }),
	"repeats":            covered(func(c sim.Coverage) uint64 { return c.RepeatsDropped }),
	"lost":               covered(func(c sim.Coverage) uint64 { return c.MessagesLost + c.MessagesCut }),
	"answered":           func(p *play) uint64 { all, _ := p.cluster.Finished(); return uint64(all) },
	"terms":              func(p *play) uint64 { return uint64(p.highestTerm()) },
}

func sum(m map[raft.MessageType]uint64) (n uint64) {
	for _, x := range m {
		n += x
	}
	return n
}

func sent(kind raft.MessageType) func(p *play) uint64 {
	return func(p *play) uint64 { return p.cluster.Sent().Messages[kind] }
}

func covered(f func(sim.Coverage) uint64) func(p *play) uint64 {
	return func(p *play) uint64 { return f(p.cluster.Coverage()) }
}

func (p *play) highestTerm() (term raft.Term) {
	for n := 1; n <= p.cluster.Size(); n++ {
		term = max(term, p.cluster.Machine(n).Status.Term)
	}
	return term
}

func (p *play) marked() mark {
	m := mark{committed: p.cluster.Committed(), counts: map[string]uint64{}}
	for name, count := range counters {
		m.counts[name] = count(p)
	}
	return m
}

// expect reads a condition, and how long it may take to come true.
func expect(a *args) action {
	holds, limit := a.condition(), time.Duration(0)
	if a.accept("within") {
		limit = a.duration()
	}
	return func(p *play) error { return p.wait(limit, holds) }
}

func (a *args) condition() condition {
	switch {
	case a.accept("one", "leader"):
		return of(a.among("among"), func(p *play, among []int) (string, error) { return p.lacksLeader(among), nil })
	case a.accept("no", "leader"):
		return of(a.among("among"), noLeader)
	case a.accept("leader"):
		return a.leaderIs()
	case a.accept("all", "applied", "equal"):
		return of(a.among("among"), func(p *play, among []int) (string, error) { return p.lacksEquality(among) })
	case a.accept("no", "agreement"):
		return noAgreement
	case a.accept("all", "answered"):
		return unanswered(0)
	case a.accept("voters"):
		return a.members(false)
	case a.accept("learners"):
		return a.members(true)
	case a.accept("log"):
		return a.logLength()
	case a.accept("linearizable"):
		return func(p *play) (string, error) { return "", p.cluster.Check() }
	}
	return a.comparison()
}

// of applies a condition to the machines that are meant at the time.
func of(who machines, holds func(p *play, found []int) (string, error)) condition {
	return func(p *play) (string, error) {
		found, err := who.find(p)
		if err != nil {
			return "", err
		}
		return holds(p, found)
	}
}

// lacksLeader tells why these machines do not have a leader that all of them follow that it reaches.
func (p *play) lacksLeader(among []int) string {
	l := p.leader(among)
	if l == nil {
		return "nobody leads"
	}
	if !l.Status.CommittedInTerm {
		return fmt.Sprintf("machine %d leads term %d, but has committed nothing in it", l.Number, l.Status.Term)
	}
	for _, n := range among {
		m := p.cluster.Machine(n)
		if _, member := l.Status.Membership.Find(m.Member); !member || !m.Up || m.Paused || !p.reach(n, l.Number) {
			continue
		}
		if m.Status.Leader != l.Member || m.Status.Term != l.Status.Term {
			return fmt.Sprintf("machine %d leads term %d, machine %d is %s in term %d of leader %s", l.Number, l.Status.Term, n, m.Status.Role, m.Status.Term, m.Status.Leader)
		}
	}
	return ""
}

func noLeader(p *play, among []int) (string, error) {
	if l := p.leader(among); l != nil {
		return fmt.Sprintf("machine %d leads term %d", l.Number, l.Status.Term), nil
	}
	return "", nil
}

func (a *args) leaderIs() condition {
	switch {
	case a.accept("changed"):
		return func(p *play) (string, error) {
			if l := p.leader(nil); l == nil || l.Member == p.led {
				return fmt.Sprintf("the leader of term %d was %s, and no other leads now", p.term, p.led), nil
			}
			return "", nil
		}
	case a.accept("unchanged"):
		return func(p *play) (string, error) {
			if l := p.leader(nil); l == nil || l.Member != p.led || l.Status.Term != p.term {
				return fmt.Sprintf("the leader of term %d was %s, and is not any more", p.term, p.led), nil
			}
			return "", nil
		}
	}
	a.demand("is")
	want := !a.accept("not")
	return of(a.machines(), func(p *play, found []int) (string, error) {
		l := p.leader(nil)
		switch {
		case l == nil:
			return "nobody leads", nil
		case slices.Contains(found, l.Number) != want:
			return fmt.Sprintf("machine %d leads term %d", l.Number, l.Status.Term), nil
		}
		return "", nil
	})
}

// lacksEquality tells why members (all that run, for nil) do not have all that is committed, or are not the same.
func (p *play) lacksEquality(among []int) (string, error) {
	if among == nil {
		among = p.those(func(m sim.Machine) bool { return m.Up })
	}
	var members []int
	committed, membership := p.cluster.Committed(), p.cluster.Membership()
	for _, n := range among {
		m := p.cluster.Machine(n)
		if _, ok := membership.Find(m.Member); !ok {
			continue // it was removed
		}
		if !m.Up {
			return fmt.Sprintf("machine %d is down", n), nil
		}
		if m.Applied != committed || m.Status.Last.Index != committed {
			return fmt.Sprintf("machine %d has applied %d of %d committed entries, its log ends at %d", n, m.Applied, committed, m.Status.Last.Index), nil
		}
		members = append(members, n)
	}
	if len(members) == 0 {
		return "none of them is a member that runs", nil
	}
	var first uint64
	for i, n := range members {
		sum, err := p.cluster.StateHash(n)
		switch {
		case err != nil:
			return "", err
		case i == 0:
			first = sum
		case sum != first:
			return fmt.Sprintf("machines %d and %d have different states at %d", members[0], n, committed), nil
		}
	}
	return "", nil
}

// lacksAcknowledgement tells which follower's answers a leader still waits for: it would send what it did not hear of again.
func (p *play) lacksAcknowledgement() string {
	l := p.leader(nil)
	if l == nil {
		return ""
	}
	for n := 1; n <= p.cluster.Size(); n++ {
		m := p.cluster.Machine(n)
		f, follows := l.Status.Progress[m.Member]
		if follows && m.Up && !m.Paused && p.reach(n, l.Number) && (f.LagEntries > 0 || f.State != tracker.Replicate.String()) {
			return fmt.Sprintf("the leader, machine %d, has not heard that machine %d has everything", l.Number, n)
		}
	}
	return ""
}

func noAgreement(p *play) (string, error) {
	if now := p.cluster.Committed(); now != p.mark.committed {
		return fmt.Sprintf("%d entries were committed", now-p.mark.committed), nil
	}
	return "", nil
}

func unanswered(want int) condition {
	return func(p *play) (string, error) {
		if n := p.unanswered(); n != want {
			return fmt.Sprintf("%d of %d operations are not answered", n, len(p.started)), nil
		}
		return "", nil
	}
}

func (a *args) members(learners bool) condition {
	check := func(p *play, want []int) (string, error) {
		var got []int
		for _, x := range p.cluster.Membership().Members {
			if x.Learner == learners {
				got = append(got, p.cluster.MachineOf(x.ID))
			}
		}
		sort.Ints(got)
		if !slices.Equal(got, want) {
			return fmt.Sprintf("they are %v (0: its disk is lost)", got), nil
		}
		return "", nil
	}
	if a.accept("none") {
		return func(p *play) (string, error) { return check(p, nil) }
	}
	return of(a.machines(), check)
}

var relations = map[string]func(a, b uint64) bool{
	"<":  func(a, b uint64) bool { return a < b },
	"<=": func(a, b uint64) bool { return a <= b },
	"=":  func(a, b uint64) bool { return a == b },
	"!=": func(a, b uint64) bool { return a != b },
	">=": func(a, b uint64) bool { return a >= b },
	">":  func(a, b uint64) bool { return a > b },
}

func (a *args) relation() func(a, b uint64) bool {
	w := a.word("a relation")
	r := relations[w]
	if r == nil {
		a.fail("%q is no relation: <, <=, =, !=, >=, >", w)
	}
	return r
}

func (a *args) logLength() condition {
	fits, n := a.relation(), a.value()
	a.demand("on")
	return of(a.machines(), func(p *play, found []int) (string, error) {
		for _, x := range found {
			if got := p.cluster.Machine(x).LogEntries(); !fits(got, n) {
				return fmt.Sprintf("machine %d has %d entries", x, got), nil
			}
		}
		return "", nil
	})
}

// comparison reads one of a register, of a counter, or of operations that wait.
func (a *args) comparison() condition {
	name := a.word("a condition")
	if isRegister(name) {
		return a.registerIs(register(name[0] - 'a'))
	}
	if a.accept("unanswered") {
		n, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			a.fail("%q is not a number of operations", name)
		}
		return unanswered(int(n))
	}
	count := counters[name]
	if count == nil {
		var names []string
		for x := range counters {
			names = append(names, x)
		}
		sort.Strings(names)
		a.fail("%q is no condition and no counter; the counters are %s", name, strings.Join(names, ", "))
	}
	fits, n := a.relation(), a.value()
	return func(p *play) (string, error) {
		if got := count(p) - p.mark.counts[name]; !fits(got, n) {
			return fmt.Sprintf("%s: %d", name, got), nil
		}
		return "", nil
	}
}

func (a *args) registerIs(r register) condition {
	fits, want := a.relation(), a.value()
	a.demand("on")
	return of(a.machines(), func(p *play, found []int) (string, error) {
		for _, n := range found {
			if !p.cluster.Machine(n).Up {
				return fmt.Sprintf("machine %d is down", n), nil
			}
			got, err := p.cluster.Register(n, int(r))
			if err != nil {
				return "", err
			}
			if !fits(got, want) {
				return fmt.Sprintf("machine %d has %s = %d", n, r, got), nil
			}
		}
		return "", nil
	})
}
