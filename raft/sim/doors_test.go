package sim

import (
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// TestAVoterThatWasAwayIsToldWhoLeads: what random worlds seldom come to is staged here. That members tell only learners of each other, as they once did, is found.
func TestAVoterThatWasAwayIsToldWhoLeads(t *testing.T) {
	for _, bug := range []mutant{0, tellLearnersOnly} {
		c, err := Direct(Setup{Seed: 7, Voters: 3, Spares: 1})
		if err != nil {
			t.Fatal(err)
		}
		c.w.opts.mutant = bug
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		until := func(what string, holds func() bool) bool {
			t.Helper()
			for range 300 {
				if holds() {
					return true
				}
				must(c.Run(100 * time.Millisecond))
			}
			t.Logf("%s: not within half a minute", what)
			return false
		}
		must(c.do(func() { c.w.openDoors(c.w.root.child(labelDoors)) }))
		leader := 0
		leads := func() bool {
			for n := range c.Size() {
				if c.Machine(n+1).Leads() && c.Machine(n+1).Status.CommittedInTerm {
					leader = n + 1
				}
			}
			return leader != 0
		}
		if !until("one leads", leads) {
			t.FailNow()
		}
		away, newcomer := 1+leader%3, 4
		must(c.Crash(away))
		if !until("the newcomer is added", func() bool { return c.Change(leader, raft.ChangeAddLearner, 0, newcomer) == nil }) {
			t.FailNow()
		}
		if !until("the newcomer is promoted", func() bool {
			member := c.Machine(newcomer).Member
			return member != 0 && c.Change(leader, raft.ChangePromote, member, 0) == nil && len(c.Membership().Voters()) == 4
		}) {
			t.FailNow()
		}
		if !until("the newcomer leads", func() bool {
			_ = c.Transfer(leader, newcomer) // it may be refused until the promotion is stored there
			return c.Machine(newcomer).Leads()
		}) {
			t.FailNow()
		}
		must(c.Restart(away))
		follows := until("whoever was away follows", func() bool {
			m := c.Machine(away)
			return m.Up && m.Applied == c.Committed() && m.Status.Leader == c.Machine(newcomer).Member
		})
		if follows != (bug == 0) {
			t.Errorf("mutant %d: whoever was away follows the newcomer: %t", bug, follows)
		}
	}
}
