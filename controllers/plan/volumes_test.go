package plan

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

// wedged is a member whose pod runs and which nobody hears, for longer than the spec waits.
func (s *scene) wedged(i int) *scene {
	s.silent(i)
	s.pod(i).Running, s.pod(i).Unreachable, s.pod(i).Late, s.pod(i).Silent = true, true, true, true
	return s
}

// withLearner has that member wait for its vote.
func withLearner(s *scene, i int) *scene {
	return s.member(i, func(m *admin.MemberStatus) { m.Learner = true })
}

func TestVolumesOfUnreachableMembers(t *testing.T) {
	pod := func(s *scene, i int, f func(*Pod)) *scene { f(s.pod(i)); return s }
	check(t, []row{
		{"its volume is given up", healthy(3).wedged(2), "replace " + resources.ClaimName("demo", 2)},
		{"not before the time is over, or without consent", pod(healthy(3).wedged(2), 2, func(p *Pod) { p.Unreachable = false }), "wait MemberNotReady"},
		{"the leader hears it", healthy(3).wedged(2).member(2, func(m *admin.MemberStatus) { m.Active = true }), "wait MemberNotReady"},
		{"the leader hears the one that is to replace it, on the same claim", healthy(3).wiped(2).learner(2, 4, true).do(func(o *Observation) {
			p := o.pod(2)
			p.Node, p.NodeError, p.Running, p.Ready, p.Unreachable = nil, "refused", false, false, true
		}), "wait ChangingMembers"},
		{"while updates are paused, and the spec's template is held back", healthy(3).wedged(2).do(func(o *Observation) { o.Paused, o.Workload.Stale, o.Workload.Revision = true, true, "" }), "replace " + resources.ClaimName("demo", 2)},
		{"not while the StatefulSet is yet to take in a template, which may cure it", healthy(3).wedged(2).do(func(o *Observation) { o.Workload.Revision = "" }), "wait MemberNotReady"},
		{"another member is behind and may lack what this one has", healthy(3).wedged(2).member(1, func(m *admin.MemberStatus) { m.CaughtUp = false }), "wait QuorumAtRisk"},
		{"two at once", healthy(5).wedged(2).wedged(4), "wait QuorumAtRisk"},
		{"it has an old template: the new one may cure it", healthy(3).wedged(2).old(2), "evict demo-2"},
		{"its pod is ending", pod(healthy(3).wedged(2), 2, func(p *Pod) { p.Terminating = true }), "wait MemberNotReady"},
		{"no leader", healthy(3).wedged(2).leaderless(), "wait NoLeader"},
		{"its template has made no pod ready: a new volume would not help", healthy(3).wedged(2).old(0, 1), "put back r1"},
		{"its template has made no pod ready, and there is time left", pod(healthy(3).wedged(2).old(0, 1), 2, func(p *Pod) { p.Late = false }), "wait MemberNotReady"},
		{"others are ready with its template, which has not reached all yet: it is ill for a reason of its own", healthy(4).wedged(2).old(0), "replace " + resources.ClaimName("demo", 2)},
		{"all were ready with its template once", pod(healthy(3).wedged(2).do(func(o *Observation) { o.Good = revisionNow; o.pod(0).Ready, o.pod(1).Ready = false, false }), 2, func(*Pod) {}), "replace " + resources.ClaimName("demo", 2)},
		{"the fresh node is added, the old member stays until it has caught up", healthy(3).wiped(2), "add-learner demo-2 0"},
		{"a shrink that waits for it goes on after that", healthy(3).wedged(1).desired(2), "replace " + resources.ClaimName("demo", 1)},
		{"a learner's is given up, too", withLearner(healthy(4), 3).wedged(3), "replace " + resources.ClaimName("demo", 3)},
		{"a learner's, not before the time is over", pod(withLearner(healthy(4), 3).wedged(3), 3, func(p *Pod) { p.Unreachable = false }), "wait ChangingMembers"},
		{"a learner's, not while a voter is ill: it may hold what that has", withLearner(healthy(4), 3).wedged(3).silent(2), "wait ChangingMembers"},
		{"a learner that is catching up is only slow", pod(withLearner(healthy(4), 3).wedged(3), 3, func(p *Pod) {
			p.Node = &admin.Status{State: admin.StateMember, ClusterID: testCluster, Incarnation: incarnation(3)}
		}), "wait ChangingMembers"},
		{"the learner's new directory: the old one goes", withLearner(healthy(4), 3).wiped(3), "remove demo-3 4"},
		{"a learner that nobody hears keeps no lost voter from being replaced", withLearner(healthy(4), 3).silent(3).wiped(1), "add-learner demo-1 0"},
		{"one that is heard is waited for first", withLearner(healthy(4), 3).lagging(3).wiped(1), "wait ChangingMembers"},
		{"a pod that is not wanted goes the usual way", healthy(4).wedged(3).desired(3), "remove demo-3 4"},
	})
}

func TestGrowingVolumes(t *testing.T) {
	small := func(s *scene) *scene {
		return s.do(func(o *Observation) { o.Workload.SmallClaims = true })
	}
	claim := func(s *scene, i int, f func(*Claim)) *scene { f(s.o.claim(i)); return s }
	check(t, []row{
		{"the template follows once all claims were asked to grow", small(healthy(3)), "recreate"},
		{"not while one was not, since it may be refused", claim(small(healthy(3)), 1, func(c *Claim) { c.Small = true }), "nothing"},
		{"not while a template is held back, which would come into force with it", small(healthy(3)).do(func(o *Observation) { o.Paused, o.Workload.Stale, o.Workload.Revision = true, true, "" }), "nothing"},
		{"growing is waited for", claim(healthy(3), 1, func(c *Claim) { c.Growing = true }), "wait GrowingVolumes"},
		{"but a roll does not wait for it: some grow only with their pod", claim(healthy(3).old(0, 1, 2), 1, func(c *Claim) { c.Growing = true }), "evict demo-2"},
		{"a kept claim of a removed member is none of it", claim(healthy(5).desired(3).scaled(3), 3, func(c *Claim) { c.Growing = true }), "remove demo-4 5"},
		{"not while a member is ill: its pod could not be made again meanwhile", small(healthy(3)).silent(2), "wait MemberNotReady"},
		{"there is no StatefulSet: it is being made anew", healthy(3).do(func(o *Observation) { o.Workload = nil }), "wait Creating"},
	})
	d := Plan(&healthy(3).do(func(o *Observation) { o.Workload = nil }).o)
	if d.View == nil || d.Roles["demo-0"] != resources.RoleLeader {
		t.Errorf("without a StatefulSet the leader lost its label: %v", d.Roles)
	}
}

func TestAnUpdateThatFails(t *testing.T) {
	late := func(s *scene, i int) *scene {
		s.silent(i)
		s.pod(i).Late = true
		return s
	}
	growing := func() *scene {
		s := healthy(3).old(0, 1, 2).desired(5)
		s.o.Workload.Replicas = 5
		s.addEmptyPod(3)
		s.addEmptyPod(4)
		s.learner(3, 4, false)
		s.pod(3).Late, s.pod(4).Late = true, true
		return s
	}
	unready := func(i int) func(o *Observation) { return func(o *Observation) { o.pod(i).Ready = false } }
	putBack := func(s *scene) *scene {
		return s.do(func(o *Observation) { o.Workload.Revision, o.Workload.Stale, o.Workload.Failed = "", true, revisionNow })
	}
	check(t, []row{
		{"it stops, and what dies comes back with the last good template", late(healthy(3).old(0, 1), 2), "put back r1"},
		{"no pod is ready with an older one: there is nothing to put back", late(healthy(3).old(0, 1), 2).do(unready(0)).do(unready(1)), "stalled UpdateFailed"},
		{"the new one has made a pod ready: it is good, too", late(healthy(4).old(0), 2), "stalled UpdateFailed"},
		{"it was put back", putBack(late(healthy(3).old(0, 1), 2)), "stalled UpdateFailed"},
		{"and the pod came back with it", putBack(healthy(3).old(0, 1, 2)), "stalled UpdateFailed"},
		{"and so did others, which are still to become ready", putBack(late(healthy(3).old(0, 1, 2), 2)), "stalled UpdateFailed"},
		{"the pod became ready after all: the template is applied again", putBack(healthy(3).old(0, 1)), "wait Updating"},
		{"more members get the last good one", putBack(late(healthy(3).old(0, 1), 2)).desired(4), "scale 4"},
		{"paused since: the StatefulSet holds it anyway", putBack(late(healthy(3).old(0, 1), 2)).do(func(o *Observation) { o.Paused = true }), "wait MemberNotReady"},
		{"not before the time is over", healthy(3).old(0, 1).silent(2), "wait MemberNotReady"},
		{"nor is another pod that is ill touched: the template has proved bad", late(healthy(5).old(0, 1, 2), 4).silent(2), "stalled UpdateFailed"},
		{"nor once the last good one was put back", putBack(late(healthy(5).old(0, 1, 2, 3), 4).silent(2)), "stalled UpdateFailed"},
		{"only pods that are to be removed have an older one", late(healthy(3).old(1, 2), 0).leaderIs(1).desired(1), "put back r1"},
		{"no pod is left to spare from it", late(healthy(3), 2), "wait MemberNotReady"},
		{"the spec is being put back: nothing stalls, so that it is applied", late(healthy(3).old(0, 1), 2).do(func(o *Observation) { o.Workload.Revision, o.Workload.Stale = "", true }), "wait MemberNotReady"},
		{"the spec is back: the pod is restarted at once", late(healthy(3), 2).old(2), "delete demo-2"},
		{"also if it runs", late(healthy(3), 2).do(func(o *Observation) { o.pod(2).Running = true }).old(2), "evict demo-2"},
		{"an empty node waits to be added and a learner to catch up: that is not their template's doing", growing(), "wait ChangingMembers"},
		{"paused", late(healthy(3).old(0, 1), 2).do(func(o *Observation) { o.Paused = true }), "wait MemberNotReady"},
		{"its volume is gone: the member is replaced all the same", late(healthy(3).old(0, 1), 1).wiped(2), "add-learner demo-2 0"},
		{"without a leader, a pod that answers nobody is restarted on the old template again", healthy(1).wedged(0).old(0), "evict demo-0"},
		{"not one that runs and did not answer just now", late(healthy(1), 0).old(0).do(func(o *Observation) { o.pod(0).Running = true }), "wait NoLeader"},
		{"not one that answers, whatever is said of it", healthy(3).leaderless().old(0).do(func(o *Observation) { o.pod(0).Running, o.pod(0).Ready = false, false }), "wait NoLeader"},
	})
	good := func(s *scene) *scene { return s.do(func(o *Observation) { o.Good = revisionOld }) }
	gone := func(s *scene) *scene { return good(s).do(func(o *Observation) { o.GoodGone = true }) }
	check(t, []row{
		{"the only voter's: the pod that dies comes back with what was good", good(late(healthy(1), 0)), "put back r1"},
		{"the only voter's, and it runs", good(healthy(1).wedged(0)), "put back r1"},
		{"the only voter's, which runs and did not answer just now", good(late(healthy(1), 0).do(func(o *Observation) { o.pod(0).Running = true })), "wait NoLeader"},
		{"the only voter's, put back", good(putBack(late(healthy(1), 0))), "stalled UpdateFailed"},
		{"the only voter's, not before the time is over", good(healthy(1).silent(0)), "wait NoLeader"},
		{"the only voter was ready with this template: it fails for another reason", late(healthy(1), 0).do(func(o *Observation) { o.Good = revisionNow }), "wait NoLeader"},
		{"the only voter, of which nothing is known", late(healthy(1), 0), "wait NoLeader"},
		{"the only voter answers: its directory tells more than its template", good(late(healthy(1), 0)).wiped(0), "stalled NoMemberLeft"},
		{"the spec is back", good(late(healthy(1), 0)).old(0), "delete demo-0"},
		{"of two, the quorum is gone", good(late(healthy(2).old(0), 1).leaderless().do(unready(0))), "put back r1"},
		{"of two, and nothing is known of an older one", late(healthy(2).old(0), 1).leaderless().do(unready(0)), "stalled UpdateFailed"},
		{"a quorum is lost for good: that comes first", good(late(healthy(3).old(0), 1).wiped(2).leaderless()).do(func(o *Observation) { o.claim(1).Lost = true }), "stalled QuorumLost"},
		{"without a leader no pod gets a template that nobody has answered with", healthy(3).leaderless().old(0, 1).silent(2).silent(1), "wait QuorumUnreachable"},
		{"once one has, the next gets it", healthy(3).leaderless().old(0, 1).silent(1), "delete demo-1"},
		{"one has, and another that has it does not, for a reason of its own: the next gets it", healthy(4).leaderless().old(0, 1).silent(3).silent(1), "delete demo-1"},
		{"a pod of the new template that is ending is not waited for", healthy(3).leaderless().old(0, 1).silent(1).silent(2).do(func(o *Observation) { o.pod(2).Terminating = true }), "delete demo-1"},
		{"what was good is not kept any more", gone(late(healthy(1), 0)), "stalled UpdateFailed"},
		{"what was good is not kept any more, but a pod has another old one and is ready", gone(late(healthy(3).old(0, 1), 2)), "put back r1"},
		{"a ready pod that lost the label of its revision says nothing of it", late(healthy(3).old(0, 1), 2).do(func(o *Observation) { o.pod(0).Revision, o.pod(1).Revision = "", "" }), "stalled UpdateFailed"},
		{"all are on the new one, which has made none ready", good(late(healthy(3), 2).do(unready(0)).do(unready(1))), "put back r1"},
	})
	for _, c := range []struct {
		s         *scene
		says, not string
	}{
		{good(late(healthy(1), 0)), "come back with the last good template", "not kept"},
		{gone(late(healthy(1), 0)), "the last good template is not kept any more, so that pods that are deleted come back with this one", "come back with the last good"},
	} {
		if d := Plan(&c.s.o); d.Stalled == nil || !strings.Contains(d.Stalled.Message, c.says) || strings.Contains(d.Stalled.Message, c.not) {
			t.Errorf("got %v, want that it says %q", d.Stalled, c.says)
		}
	}
	both := Plan(&good(late(healthy(3).old(0), 1).silent(2).leaderless()).o)
	if both.Stalled == nil || !strings.Contains(both.Stalled.Message, "1 of 3 voters answer") || !strings.Contains(both.Stalled.Message, "no member leads") {
		t.Errorf("a quorum that is out of reach is not told beside a failed update: %v", both.Stalled)
	}
	if d := Plan(&healthy(3).o); d.Good != revisionNow {
		t.Errorf("all is well, and revision %q is recorded as good", d.Good)
	}
	for name, s := range map[string]*scene{"one is old": healthy(3).old(1), "one is not ready": healthy(3).do(unready(2)), "one is missing": healthy(3).silent(2).without(2),
		"one is too many": healthy(3).do(func(o *Observation) { o.Workload.Replicas = 4 }), "unseen": healthy(3).do(func(o *Observation) { o.Workload.Revision = "" })} {
		if d := Plan(&s.o); d.Good != "" {
			t.Errorf("%s: revision %s is recorded as good", name, d.Good)
		}
	}
	d := Plan(&late(healthy(3).old(0, 1), 2).do(func(o *Observation) { o.pod(2).Trouble = "ErrImagePull: no such image" }).o)
	if !d.Hold || d.Stalled == nil || !strings.Contains(d.Stalled.Message, "ErrImagePull") {
		t.Errorf("got %+v", d)
	}
	// Whatever else goes on, the failed template stays out of the StatefulSet until a pod is ready with it.
	for name, c := range map[string]struct {
		s    *scene
		hold bool
	}{
		"alone":            {putBack(late(healthy(3).old(0, 1), 2)), true},
		"growing":          {putBack(late(healthy(3).old(0, 1), 2)).desired(4), true},
		"a member is lost": {putBack(late(healthy(3).old(0, 1), 1).wiped(2)), true},
		"without a leader": {putBack(late(healthy(3).old(0, 1), 2)).leaderless(), true},
		"ready after all":  {putBack(healthy(3).old(0, 1)), false},
	} {
		if d := Plan(&c.s.o); d.Hold != c.hold {
			t.Errorf("%s: the template is held back: %v, want %v", name, d.Hold, c.hold)
		}
	}
}
