package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// brief is a decision in one line: the step's kind and object, or what is waited for, or why it stalls.
func brief(d Decision) string {
	switch t := d.Step.(type) {
	case RecordBootstrap:
		return fmt.Sprintf("record %s %s", t.Bootstrap.Pod, t.Bootstrap.Incarnation)
	case RunBootstrap:
		return fmt.Sprintf("bootstrap %s %s", t.Bootstrap.Pod, t.Member.Incarnation)
	case ChangeMembers:
		return fmt.Sprintf("%s %s %s", t.Kind(), t.Name, t.Changes[0].ID)
	case Withdraw:
		return "withdraw " + t.Pod
	case Transfer:
		return "transfer " + t.Name
	case Scale:
		return fmt.Sprintf("scale %d", t.To)
	case Restart:
		if t.Evict {
			return "evict " + t.Pod
		}
		return "delete " + t.Pod
	case ForceDelete:
		return "force " + t.Pod
	case RecordRecovery:
		return fmt.Sprintf("record recovery %s %s", t.Recovery.Pod, t.Recovery.Incarnation)
	case RunRecovery:
		return fmt.Sprintf("recover %s %s", t.Recovery.Pod, t.Recovery.Incarnation)
	case Abandon:
		return fmt.Sprintf("abandon %s %s", t.Pod, t.ClusterID)
	case RecordHibernation:
		return fmt.Sprintf("record rest %d", t.Pods)
	case ReplaceVolume:
		return "replace " + t.Claim
	case RecreateWorkload:
		return "recreate"
	case PutBack:
		return "put back " + t.Revision
	}
	switch {
	case d.Stalled != nil:
		return "stalled " + d.Stalled.Reason
	case d.Hibernated:
		return "hibernated"
	case d.Adopt != 0:
		return "adopt " + d.Adopt.String()
	case d.Waiting != nil:
		return "wait " + d.Waiting.Reason
	}
	return "nothing"
}

type row struct {
	name string
	s    *scene
	want string
}

func check(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			d := Plan(&r.s.o)
			if got := brief(d); got != r.want {
				t.Errorf("got %q, want %q (stalled %v, waiting %v)", got, r.want, d.Stalled, d.Waiting)
			}
			if _, harmless := d.Step.(PutBack); d.Stalled != nil && d.Step != nil && !harmless {
				t.Errorf("a stalled cluster gets no step, got %v", d.Step)
			}
			if d.Step != nil && d.Step.String() == "" {
				t.Error("a step has to say what it does")
			}
		})
	}
}

func recorded(s *scene) *scene {
	return s.do(func(o *Observation) {
		o.Bootstrap = &Bootstrap{ClusterID: testCluster, Pod: podName(0), Incarnation: incarnation(0)}
	})
}

func TestFounding(t *testing.T) {
	member := func(s *scene, i int, id raft.ClusterID) *scene {
		n := s.pod(i).Node
		n.State, n.ClusterID = admin.StateMember, id
		return s
	}
	claim := func(s *scene, i int, bound bool) *scene {
		s.o.Claims = append(s.o.Claims, Claim{Ordinal: i, Name: resources.ClaimName("demo", i), Bound: bound})
		return s
	}
	unanswered := func(s *scene, i int) *scene {
		s.pod(i).Node, s.pod(i).NodeError = nil, "i/o timeout"
		return s
	}
	check(t, []row{
		{"no StatefulSet yet", fresh(3).do(func(o *Observation) { o.Workload = nil }), "wait Creating"},
		{"all empty: the decision is recorded first", fresh(3), "record demo-0 a0"},
		{"a single one", fresh(1), "record demo-0 a0"},
		{"one pod is missing", fresh(3).without(2), "wait Bootstrapping"},
		{"unknown is not empty", unanswered(fresh(3), 1), "wait Bootstrapping"},
		{"a pod that is ending does not count", fresh(3).do(func(o *Observation) { o.pod(1).Terminating = true }), "wait Bootstrapping"},
		{"a node that is being removed is not empty", fresh(3).do(func(o *Observation) { o.pod(1).Node.State = admin.StateRemoved }), "wait Bootstrapping"},
		{"a retained claim without a pod may hold data", claim(fresh(3), 4, true), "stalled UnaccountedClaim"},
		{"a claim that never had a volume holds none", claim(fresh(3), 4, false), "record demo-0 a0"},
		{"retained data goes on", member(fresh(3), 2, testCluster), "adopt c1"},
		{"retained data goes on: not before the others have said what they hold, which may be what took its place", unanswered(member(fresh(3), 2, testCluster), 0), "wait Bootstrapping"},
		{"retained data goes on: one whose volume is lost says nothing any more", unanswered(member(fresh(3), 2, testCluster), 0).do(func(o *Observation) { o.claim(0).Lost = true }), "adopt c1"},
		{"retained data goes on: one that never had a volume holds nothing", unanswered(member(fresh(3), 2, testCluster), 0).do(func(o *Observation) { o.claim(0).Bound = false }), "adopt c1"},
		{"retained data goes on: its members have a leader, which need not answer", healthy(3).unrecorded().silent(0), "adopt c1"},
		{"retained data goes on: a quorum of its members answers", healthy(3).leaderless().unrecorded().silent(0), "adopt c1"},
		{"retained data goes on: no quorum of its members answers", healthy(3).leaderless().unrecorded().silent(0).silent(1), "wait Bootstrapping"},
		{"retained data goes on: a pod that does not run gets the template that may cure it", healthy(3).leaderless().unrecorded().silent(0).silent(1).old(1), "delete demo-1"},
		{"retained data goes on: but not where it may run", healthy(3).leaderless().unrecorded().silent(0).silent(1).old(1).do(func(o *Observation) { o.pod(1).Unheard = true }), "wait Bootstrapping"},
		{"retained data goes on: nor where its claim would go with it", healthy(3).leaderless().unrecorded().silent(0).silent(1).old(1).doomed(1), "wait Bootstrapping"},
		{"retained data goes on: not before its other members have said what they hold, of which some have claims and no pods", reappliedWith(healthy(3).leaderless(), 1), "scale 3"},
		{"retained data goes on: those whose claims are no more are not waited for", reappliedWith(noClaim(noClaim(healthy(3).leaderless(), 1), 2), 1), "adopt c1"},
		{"retained data goes on: a quorum has pods", reappliedWith(healthy(3).leaderless(), 2), "adopt c1"},
		{"retained data of two clusters", member(member(fresh(3), 2, testCluster), 1, 0xc2), "stalled ConflictingData"},
		{"recorded: only that incarnation is asked", recorded(fresh(3)), "bootstrap demo-0 a0"},
		{"recorded, another pod does not answer: goes on all the same", recorded(unanswered(fresh(3), 2)), "bootstrap demo-0 a0"},
		{"recorded, the pod does not answer", recorded(unanswered(fresh(3), 0)), "wait Bootstrapping"},
		{"recorded, the pod does not exist", recorded(fresh(3).without(0)), "wait Bootstrapping"},
		{"recorded, the incarnation vanished", recorded(fresh(3)).do(func(o *Observation) { o.pod(0).Node.Incarnation = 0xee }), "stalled BootstrapNodeLost"},
		{"recorded and done", member(recorded(fresh(3)), 0, testCluster), "adopt c1"},
		{"recorded, but data of another cluster appears", member(recorded(fresh(3)), 1, 0xc2), "stalled ForeignData"},
		{"recorded for a pod of another name", recorded(fresh(3)).do(func(o *Observation) { o.Bootstrap.Pod = "other-0" }), "stalled InvalidStatus"},
		{"more pods are asked for before it is founded", fresh(3).desired(5), "scale 5"},
		{"fewer pods are asked for before it is founded: the volumes of those that go would be nobody's", fresh(3).desired(1), "record demo-0 a0"},
		{"fewer, but the last pod does not tell what it holds", unanswered(fresh(3), 2).desired(1), "wait Bootstrapping"},
		{"fewer, and the last pod never had a volume", unanswered(fresh(3), 2).desired(1).do(func(o *Observation) { o.Claims[2].Bound = false }), "scale 2"},
		{"recorded: the number of pods waits", recorded(fresh(3)).desired(1), "bootstrap demo-0 a0"},
		{"a bad template is replaced", fresh(3).old(0, 1, 2).silentAll(), "delete demo-0"},
		{"a bad template is replaced, but not where a pod may run", fresh(3).old(0, 1, 2).silentAll().do(func(o *Observation) { o.pod(0).Unheard = true }), "delete demo-1"},
		{"a child goes with an earlier RaftCluster of the name", fresh(3).do(func(o *Observation) { o.Earlier = []string{"Service demo goes"} }), "wait Creating"},
		{"a child is someone else's", fresh(3).do(func(o *Observation) { o.Foreign = []string{"Service demo exists"} }), "stalled ChildNotOwned"},
	})
}

// reappliedWith is a cluster whose RaftCluster was deleted, and applied again with so many pods.
func reappliedWith(s *scene, pods int) *scene { return s.unrecorded().desired(pods).scaled(pods) }

func (s *scene) silentAll() *scene {
	for i := range s.o.Pods {
		s.silent(s.o.Pods[i].Ordinal)
	}
	return s
}

func TestRecordedBootstrapIsWhatIsRun(t *testing.T) {
	d := Plan(&fresh(3).o)
	r := d.Step.(RecordBootstrap)
	if r.Bootstrap.ClusterID != testNewCluster {
		t.Errorf("recorded cluster %s, want the drawn %s", r.Bootstrap.ClusterID, testNewCluster)
	}
	d = Plan(&recorded(fresh(3)).o)
	b := d.Step.(RunBootstrap)
	want := raft.Member{Incarnation: incarnation(0), Name: "demo-0",
		PeerAddress: "demo-0.demo-peers.ns.svc:2380", ClientAddress: "demo-0.demo-peers.ns.svc:2379"}
	if b.Bootstrap.ClusterID != testCluster || b.Member != want {
		t.Errorf("got %+v", b)
	}
}

func TestMembers(t *testing.T) {
	grown := func(n, to int) *scene {
		s := healthy(n).desired(to)
		s.o.Workload.Replicas = to
		for i := n; i < to; i++ {
			s.addEmptyPod(i)
		}
		return s
	}
	unanswered := func(i int) func(o *Observation) {
		return func(o *Observation) { o.pod(i).Node, o.pod(i).NodeError, o.pod(i).Ready = nil, "i/o timeout", false }
	}
	check(t, []row{
		{"all is well", healthy(3), "nothing"},
		{"a single member is well", healthy(1), "nothing"},
		{"a change is being committed", healthy(3).do(func(o *Observation) { o.pod(0).Node.ConfigCommitted = false }), "wait ChangingMembers"},

		{"grow: pods first", healthy(3).desired(5), "scale 5"},
		{"grow: then a learner", grown(3, 5), "add-learner demo-3 0"},
		{"grow: one at a time", grown(3, 5).learner(3, 4, false), "wait ChangingMembers"},
		{"grow: caught up gets a vote", grown(3, 5).learner(3, 4, true), "promote demo-3 4"},
		{"grow: from one", grown(1, 3), "add-learner demo-1 0"},
		{"grow: a vote that would cost the quorum waits", grown(3, 5).learner(3, 4, true).silent(1).silent(2), "wait QuorumAtRisk"},
		{"grow: with one voter away the learner still gets its vote", grown(3, 5).learner(3, 4, true).silent(2), "promote demo-3 4"},
		{"grow: no vote for a learner whose pod is gone, though the leader heard it a moment ago", grown(3, 5).learner(3, 4, true).without(3), "wait ChangingMembers"},
		{"grow: no vote for a learner that follows nobody", grown(3, 5).learner(3, 4, true).do(func(o *Observation) { o.pod(3).Node.Leader = 0 }), "wait ChangingMembers"},
		{"grow: the pod does not answer", grown(3, 5).do(func(o *Observation) { o.pod(3).Node = nil; o.pod(4).Node = nil }), "wait ChangingMembers"},
		{"grow: the pod is ending", grown(3, 4).do(func(o *Observation) { o.pod(3).Terminating = true }), "wait ChangingMembers"},
		{"grow: the directory of a removed member is not added", grown(3, 4).do(func(o *Observation) {
			o.pod(3).Node.State, o.pod(3).Node.ClusterID = admin.StateMember, testCluster
		}), "wait ChangingMembers"},
		{"grow: nor one that is about to be set aside", grown(3, 4).do(func(o *Observation) { o.pod(3).Node.State = admin.StateRemoved }), "wait ChangingMembers"},
		{"grow: data of another cluster", grown(3, 4).do(func(o *Observation) {
			o.pod(3).Node.State, o.pod(3).Node.ClusterID = admin.StateMember, 0xc2
		}), "stalled ForeignData"},
		{"a learner whose directory is no more is taken out", grown(3, 4).learner(3, 4, false).do(func(o *Observation) {
			o.pod(3).Node = &admin.Status{State: admin.StateEmpty, Incarnation: 0xcc}
		}), "remove demo-3 4"},
		{"a learner that is not wanted any more: clients first", grown(3, 4).learner(3, 4, true).desired(3), "withdraw demo-3"},
		{"a learner that is not wanted any more is taken out", grown(3, 4).learner(3, 4, true).desired(3).withdrawn(3, true), "remove demo-3 4"},
		{"a learner that is not wanted any more and not ready serves nobody", grown(3, 4).learner(3, 4, false).desired(3), "remove demo-3 4"},

		{"replace: the new directory is a learner first", healthy(3).wiped(1), "add-learner demo-1 0"},
		{"replace: it has to catch up", healthy(3).wiped(1).learner(1, 4, false), "wait ChangingMembers"},
		{"replace: caught up, the old ID goes first", healthy(3).wiped(1).learner(1, 4, true), "remove demo-1 2"},
		{"replace: in one joint change where all know it", healthy(3).wiped(1).learner(1, 4, true).joint(), "replace demo-1 4"},
		{"replace: not before it has caught up", healthy(3).wiped(1).learner(1, 4, false).joint(), "wait ChangingMembers"},
		{"replace: not while too few others are there", healthy(5).wiped(1).learner(1, 6, true).joint().silent(2).silent(3), "wait QuorumAtRisk"},
		{"replace: while two sets of voters decide nothing else is begun", healthy(3).wiped(1).learner(1, 4, true).joint().view(func(m []admin.MemberStatus) []admin.MemberStatus {
			m[1].OutgoingVoter, m[1].Leaving, m[1].Learner = true, true, true
			return m
		}), "wait ChangingMembers"},
		{"replace: then the new one gets its vote", healthy(3).wiped(1).learner(1, 4, true).view(withoutID(2)), "promote demo-1 4"},
		{"replace: not while removing would cost the quorum", healthy(4).wiped(1).learner(1, 5, true).silent(2).silent(3), "wait QuorumAtRisk"},
		{"replace before grow", grown(4, 5).wiped(1), "add-learner demo-1 0"},
		{"replace before shrink", healthy(5).wiped(1).desired(3), "add-learner demo-1 0"},
		{"replace: a voter was promoted before the old one went", healthy(3).wiped(1).learner(1, 4, true).view(func(m []admin.MemberStatus) []admin.MemberStatus {
			m[len(m)-1].Learner = false
			return m
		}), "remove demo-1 2"},
		{"replace: the wiped one is beyond what is asked for", healthy(4).wiped(3).desired(3), "remove demo-3 4"},
		{"a node that is only silent is not replaced", healthy(3).silent(1), "wait MemberNotReady"},

		{"shrink: first no client is sent to the highest member any more", healthy(5).desired(3), "withdraw demo-4"},
		{"shrink: that takes a while", healthy(5).desired(3).withdrawn(4, false), "wait ChangingMembers"},
		{"shrink: then it goes", healthy(5).desired(3).withdrawn(4, true), "remove demo-4 5"},
		{"shrink: one that leads again meanwhile hands over again", healthy(5).desired(3).withdrawn(4, true).leaderIs(4), "transfer demo-0"},
		{"shrink: nobody is taken out of the Service in vain", healthy(5).desired(3).silent(1), "wait QuorumAtRisk"},
		{"shrink: a pod made anew meanwhile serves again", healthy(5).desired(3).withdrawn(4, true).do(func(o *Observation) { o.pod(4).Withdrawn, o.pod(4).Forgotten = false, false }), "withdraw demo-4"},
		{"shrink: a pod that is not ready serves nobody", healthy(5).desired(3).do(func(o *Observation) { o.pod(4).Ready = false }), "remove demo-4 5"},
		{"shrink: a pod that does not answer, but is ready, may serve", healthy(5).desired(3).do(func(o *Observation) { o.pod(4).Node = nil }), "withdraw demo-4"},
		{"shrink: then its pod", healthy(5).desired(3).view(withoutID(5)), "scale 4"},
		{"shrink: the leader hands over first", healthy(5).desired(3).leaderIs(4), "transfer demo-0"},
		{"shrink: nobody is fit to take over", healthy(5).desired(3).leaderIs(4).silent(0).silent(1).lagging(2), "wait QuorumAtRisk"},
		{"shrink: a member that is away may go if a quorum stays", healthy(5).desired(3).silent(4), "remove demo-4 5"},
		{"shrink: not if that costs the quorum", healthy(5).desired(3).leaderIs(2).silent(0).silent(1), "wait QuorumAtRisk"},
		{"shrink: not while one that is to stay is ill, since fewer members bear the loss of fewer", healthy(5).desired(3).silent(1), "wait QuorumAtRisk"},
		{"shrink: not to fewer voters than are asked for, while one that is to stay is no member yet", healthy(4).view(withoutID(3)).desired(3).do(unanswered(2)), "wait QuorumAtRisk"},
		{"shrink: to as many, of whatever ordinals", healthy(5).view(withoutID(3)).desired(3).do(unanswered(2)), "withdraw demo-4"},
		{"shrink: nor is the leader moved for it", healthy(5).desired(3).leaderIs(4).silent(1), "wait QuorumAtRisk"},
		{"shrink: the ill one is replaced first", healthy(5).desired(3).wedged(1), "replace data-demo-1"},
		{"shrink: members that are away go first", healthy(5).desired(3).silent(3), "remove demo-3 4"},
		{"shrink: one whose data is lost goes before one that works", healthy(3).desired(1).wiped(1), "remove demo-1 2"},
		{"shrink: 3 to 1", healthy(3).desired(1).withdrawn(2, true), "remove demo-2 3"},
		{"shrink: 2 to 1", healthy(2).desired(1).withdrawn(1, true), "remove demo-1 2"},
		{"shrink: 2 to 1 with the leader going", healthy(2).desired(1).leaderIs(1), "transfer demo-0"},
		{"shrink: a pod that is not needed any more is ending", healthy(3).do(func(o *Observation) {
			o.Pods = append(o.Pods, Pod{Ordinal: 3, Name: podName(3), UID: "uid-3", Revision: revisionNow, Terminating: true})
		}), "wait Scaling"},
		{"shrink: what another cluster left is kept", leftByOthers(healthy(3)), "wait Scaling"},
		{"shrink: what another cluster left is kept, as the StatefulSet knows", leftByOthers(healthy(3)).do(func(o *Observation) { o.Workload.KeepsClaims = true }), "scale 3"},
		{"shrink: pods that never were members go", healthy(3).do(func(o *Observation) { o.Workload.Replicas = 5 }), "scale 4"},
		{"shrink: members without a pod go, too", healthy(5).desired(3).silent(3).silent(4).without(3).without(4).do(func(o *Observation) { o.Workload.Replicas = 3 }), "remove demo-4 5"},
		{"a member of a foreign name is left alone", healthy(3).view(func(m []admin.MemberStatus) []admin.MemberStatus {
			return append(m, admin.MemberStatus{Member: raft.Member{ID: 9, Incarnation: 9, Name: "guest"}, Active: true, CaughtUp: true})
		}), "nothing"},
		{"while paused members are still replaced", healthy(3).wiped(1).do(func(o *Observation) { o.Paused = true }), "add-learner demo-1 0"},
	})
}

// leftByOthers adds a pod that nobody asks for, on a claim with data of another cluster.
func leftByOthers(s *scene) *scene {
	s.addEmptyPod(3)
	s.pod(3).Node.State, s.pod(3).Node.ClusterID = admin.StateMember, 0xc2
	s.o.Workload.Replicas = 4
	return s
}

func withoutID(id raft.NodeID) func([]admin.MemberStatus) []admin.MemberStatus {
	return func(members []admin.MemberStatus) []admin.MemberStatus {
		var out []admin.MemberStatus
		for _, m := range members {
			if m.ID != id {
				out = append(out, m)
			}
		}
		return out
	}
}

func (s *scene) lagging(i int) *scene {
	s.pod(i).Ready = false
	return s.member(i, func(m *admin.MemberStatus) { m.CaughtUp = false })
}

func TestMembershipCallsCarryWhatTheyWereDecidedOn(t *testing.T) {
	d := Plan(&healthy(3).wiped(1).o)
	c := d.Step.(ChangeMembers)
	if c.Leader != "demo-0" || c.ConfigIndex != testConfigIndex {
		t.Errorf("got leader %s and configuration index %d, want demo-0 and %d", c.Leader, c.ConfigIndex, testConfigIndex)
	}
	want := raft.Member{Incarnation: newIncarnation(1), Name: "demo-1",
		PeerAddress: "demo-1.demo-peers.ns.svc:2380", ClientAddress: "demo-1.demo-peers.ns.svc:2379"}
	if len(c.Changes) != 1 || c.Changes[0].Member != want {
		t.Errorf("got changes %+v, want one of member %+v", c.Changes, want)
	}
}

func TestUpdate(t *testing.T) {
	paused := func(o *Observation) { o.Paused = true }
	unready := func(i int) func(o *Observation) { return func(o *Observation) { o.pod(i).Ready = false } }
	check(t, []row{
		{"followers first, the highest first", healthy(3).old(0, 1, 2), "evict demo-2"},
		{"the next only when the last is ready", healthy(3).old(0, 1).do(unready(2)), "wait MemberNotReady"},
		{"the next only when the last is caught up", healthy(3).old(0, 1).member(2, func(m *admin.MemberStatus) { m.CaughtUp = false }), "wait MemberNotReady"},
		{"the next only when the last is there again", healthy(3).old(0, 1).silent(2).without(2), "wait MemberNotReady"},
		{"not while a pod is ending", healthy(3).old(0, 1).do(func(o *Observation) { o.pod(2).Terminating = true }), "wait MemberNotReady"},
		{"the leader is skipped", healthy(3).old(0, 1, 2).leaderIs(2), "evict demo-1"},
		{"the leader last, after it handed over", healthy(3).old(0), "transfer demo-1"},
		{"a leader of a middle ordinal hands over to the lowest", healthy(3).old(1).leaderIs(1), "transfer demo-0"},
		{"a single member is just restarted", healthy(1).old(0), "evict demo-0"},
		{"two members are restarted one by one", healthy(2).old(0, 1), "evict demo-1"},
		{"the unhealthy first", healthy(5).old(0, 1, 2, 3, 4).silent(1), "delete demo-1"},
		{"unhealthy but running is evicted", healthy(3).old(0, 1, 2).silent(1).do(func(o *Observation) { o.pod(1).Running = true }), "evict demo-1"},
		{"unhealthy and not enough others: it stays", healthy(3).old(0, 1).silent(2).do(unready(1)), "wait MemberNotReady"},
		{"unhealthy, and another is about to end: it stays", healthy(3).old(1).do(unready(1)).do(func(o *Observation) { o.pod(2).Terminating = true }), "wait MemberNotReady"},
		{"not heard by a leader that hears no quorum, and is about to step down: it stays", healthy(3).old(1).lagging(1).silent(2).member(1, func(m *admin.MemberStatus) { m.Active = false }), "wait MemberNotReady"},
		{"unhealthy, and another has just ended: it stays", healthy(3).old(1).do(unready(1)).do(func(o *Observation) { o.pod(2).Running, o.pod(2).Node = false, nil }), "wait MemberNotReady"},
		{"unhealthy, and a leader that has just been elected has not heard the other: it stays", healthy(3).old(1).do(unready(1)).member(2, func(m *admin.MemberStatus) { m.Match = 0 }), "wait MemberNotReady"},
		{"a bad template stops after the first pod", healthy(3).old(0, 1).silent(2), "wait MemberNotReady"},
		{"the way out of a bad template is the next one", healthy(3).old(0, 1, 2).silent(2), "delete demo-2"},
		{"a pod that the leader hears is not deleted for what the kubelet said", healthy(3).old(1).do(func(o *Observation) { o.pod(1).Running = false; o.pod(1).Ready = false }).silent(2), "wait MemberNotReady"},
		{"a leader that is not ready hands over", healthy(3).old(0).do(unready(0)), "transfer demo-1"},
		{"but not to one that would hand back", healthy(3).old(0, 1).silent(2).do(unready(0)).do(unready(1)), "wait QuorumAtRisk"},
		{"nor is it handed back", healthy(3).old(0, 1).leaderIs(1).silent(2).do(unready(0)).do(unready(1)), "wait QuorumAtRisk"},
		{"to one that has the new template, ready or not", healthy(3).old(0, 1).silent(1).do(unready(0)).do(unready(2)).do(func(o *Observation) { o.pod(1).Terminating = true }), "transfer demo-2"},
		{"of two, neither is ready with the old template: one by one all the same", healthy(2).old(0, 1).do(unready(0)).do(unready(1)), "evict demo-1"},
		{"of two, the one that leads hands over then", healthy(2).old(0).do(unready(0)).do(unready(1)), "transfer demo-1"},
		{"of two, one that lags stays", healthy(2).old(0, 1).do(unready(1)).member(1, func(m *admin.MemberStatus) { m.CaughtUp = false }), "wait MemberNotReady"},
		{"of two, one stays while the other ends", healthy(2).old(0, 1).do(unready(1)).do(func(o *Observation) { o.pod(0).Terminating = true }), "wait MemberNotReady"},
		{"membership before updates", healthy(3).old(0, 2).wiped(1), "add-learner demo-1 0"},
		{"a learner that cannot start is restarted on the new template", healthy(3).wiped(1).learner(1, 4, false).old(1).do(func(o *Observation) { o.pod(1).Running = false }), "delete demo-1"},
		{"paused holds it back", healthy(3).old(0, 1, 2).do(paused), "nothing"},
		{"paused holds back the unhealthy, too", healthy(3).old(1).silent(1).do(paused), "wait MemberNotReady"},
		{"a template that the StatefulSet does not show yet", healthy(3).do(func(o *Observation) { o.Workload.Revision = "" }), "wait Updating"},
		{"stuck on a lost Kubernetes node", healthy(3).silent(1).do(func(o *Observation) { o.pod(1).Terminating, o.pod(1).Stuck = true, true }), "force demo-1"},
		{"stuck, as is said, but the leader hears it, and needs it", healthy(3).silent(2).stuckAndRunning(1), "wait MemberNotReady"},
		{"stuck, as is said, but it leads and is needed", healthy(3).silent(2).stuckAndRunning(0), "wait MemberNotReady"},
		{"stuck, as is said, and the others do without it", healthy(3).stuckAndRunning(1), "force demo-1"},
		{"stuck, as is said, but it answers and nobody leads: its vote may be needed", healthy(3).leaderless().stuckAndRunning(1), "wait NoLeader"},
		{"stuck, and nobody leads just now: its vote may be what one is elected by", healthy(3).leaderless().silent(1).stuckAndRunning(1).do(func(o *Observation) { o.Leaderless = false }), "wait NoLeader"},
		{"stuck, with nobody who leads for long and no answer", healthy(3).leaderless().silent(1).do(func(o *Observation) { o.pod(1).Terminating, o.pod(1).Stuck = true, true }), "force demo-1"},
		{"ending on a Kubernetes node that is only silent", healthy(3).silent(1).do(func(o *Observation) { o.pod(1).Terminating = true }), "wait MemberNotReady"},
	})
}

// stuckAndRunning is a pod that runs and was asked to go, and whose Kubernetes node is said to be gone.
func (s *scene) stuckAndRunning(i int) *scene {
	return s.do(func(o *Observation) { o.pod(i).Terminating, o.pod(i).Stuck = true, true })
}

func TestLeaderless(t *testing.T) {
	reapplied := func(pods int) *scene {
		s := healthy(3).leaderless().desired(pods)
		s.o.Workload.Replicas = pods
		for i := pods; i < 3; i++ {
			s.without(i)
		}
		return s
	}
	check(t, []row{
		{"members elect by themselves", healthy(3).leaderless(), "wait NoLeader"},
		{"nobody answers", healthy(3).silentAll(), "wait QuorumUnreachable"},
		{"the only one does not answer", healthy(1).silentAll(), "wait NoLeader"},
		{"running pods are not touched", healthy(3).leaderless().old(0, 1, 2), "wait NoLeader"},
		{"not while nothing is heard of their machine: they may run and have a leader", healthy(3).leaderless().old(0, 1, 2).silent(1).do(func(o *Observation) { o.pod(1).Unheard = true }), "wait NoLeader"},
		{"not while they may be electing one, with this one's vote", healthy(3).leaderless().old(0, 1, 2).silent(1).do(func(o *Observation) { o.Leaderless = false }), "wait NoLeader"},
		{"not while members follow one that does not answer: it may be just this", healthy(3).old(0, 1, 2).silent(0), "wait MemberNotReady"},
		{"the one that they follow does not answer, nor does another: the quorum is not out of reach", healthy(3).silent(0).silent(1), "wait MemberNotReady"},
		{"nor is it lost for good, whatever this one knows", healthy(3).silent(0).silent(1).do(func(o *Observation) { o.claim(0).Lost, o.claim(1).Lost = true, true }), "wait MemberNotReady"},
		{"pods that do not run get the new template", healthy(3).leaderless().old(0, 1, 2).silent(1), "delete demo-1"},
		{"one of three lost its data: two can elect", healthy(3).leaderless().wiped(1), "wait NoLeader"},
		{"two of three lost their data", healthy(3).leaderless().wiped(1).wiped(2), "stalled QuorumLost"},
		{"one of two lost its data", healthy(2).leaderless().wiped(1), "stalled QuorumLost"},
		{"the first member has just begun and knows no members yet", fresh(3).do(func(o *Observation) {
			o.ClusterID = testCluster
			n := o.pod(0).Node
			n.State, n.ClusterID, n.MemberID = admin.StateMember, testCluster, 1
		}), "wait NoLeader"},
		{"two of three are only silent", healthy(3).leaderless().silent(1).silent(2), "wait QuorumUnreachable"},
		{"one of three is silent and one lost its data", healthy(3).leaderless().silent(1).wiped(2), "wait QuorumUnreachable"},
		{"one of three is silent", healthy(3).leaderless().silent(1), "wait NoLeader"},
		{"all lost their data", healthy(3).wiped(0).wiped(1).wiped(2), "stalled NoMemberLeft"},
		{"the only one lost its data: it is not founded again", healthy(1).wiped(0), "stalled NoMemberLeft"},
		{"all are empty but a claim without a pod is left", healthy(1).wiped(0).do(func(o *Observation) {
			o.Claims = append(o.Claims, Claim{Ordinal: 2, Name: "data-demo-2", Bound: true})
		}), "stalled NoMemberLeft"},
		{"all are empty but a claim without a pod is left: nothing begins empty, whatever is allowed", healthy(1).wiped(0).allowed(testCluster, true).do(func(o *Observation) {
			o.Claims = append(o.Claims, Claim{Ordinal: 2, Name: "data-demo-2", Bound: true})
		}), "stalled NoMemberLeft"},
		{"applied again with fewer pods than voters need", reapplied(1), "scale 3"},
		{"applied again with enough pods", reapplied(2), "wait NoLeader"},
		{"applied again with enough pods, one of which does not answer", reapplied(2).silent(1), "wait QuorumUnreachable"},
		{"which takes longer than an update may: another may be there instead", reapplied(2).silent(1).do(func(o *Observation) { o.pod(1).Late = true }), "scale 3"},
		{"a leader of an older term does not count", healthy(3).do(func(o *Observation) {
			o.pod(2).Node.Role, o.pod(2).Node.Term = "leader", 4
		}), "nothing"},
	})
}

// What keeps pods from running is told wherever they are waited for.
func TestTroubleIsTold(t *testing.T) {
	const trouble = "ErrImagePull: no such image"
	ill := func(s *scene, i int) *scene {
		s.silent(i)
		s.pod(i).Trouble = trouble
		return s
	}
	for name, c := range map[string]struct {
		s    *scene
		want string
	}{
		"founding":  {ill(fresh(3), 1), "pod demo-1 does not run: " + trouble},
		"led":       {ill(healthy(3), 2), "pod demo-2 does not run: " + trouble},
		"no quorum": {ill(ill(healthy(3).leaderless(), 1), 2), "1 of 3 voters answer and 2 are needed, so that nothing is written and nothing read that must be up to date: pod demo-1 does not run: " + trouble},
		"nobody":    {ill(ill(ill(healthy(3), 0), 1), 2), "pod demo-0 does not run: " + trouble + "; pod demo-1"},
		"not made": {healthy(3).silent(2).without(2).do(func(o *Observation) {
			o.Workload.Trouble = map[string]string{"demo-0": "of another", "demo-2": "FailedCreate: forbidden"}
		}), "pod demo-2 cannot be made: FailedCreate: forbidden"},
		"scaling in":    {healthy(4).desired(3).view(withoutID(4)).do(func(o *Observation) { o.Workload.Replicas, o.Workload.Revision = 3, "" }), "pod demo-3, which is not needed any more, is ending"},
		"new template":  {healthy(3).do(func(o *Observation) { o.Workload.Revision, o.Workload.Stale = "", true }), "the pods' new template is being written"},
		"not taken in":  {healthy(3).do(func(o *Observation) { o.Workload.Revision = "" }), "StatefulSet controller has yet to take in"},
		"a lost member": {ill(healthy(3).leaderless(), 1).wiped(2), "pod demo-2 has another data directory than the member had"},
	} {
		if d := Plan(&c.s.o); d.Waiting == nil || !strings.Contains(d.Waiting.Message, c.want) {
			t.Errorf("%s: got %v, want %q", name, d.Waiting, c.want)
		}
	}
}

func TestHold(t *testing.T) {
	for name, c := range map[string]struct {
		s    *scene
		want bool
	}{
		"well":    {healthy(3), false},
		"paused":  {healthy(3).do(func(o *Observation) { o.Paused = true }), true},
		"stalled": {healthy(3).leaderless().wiped(1).wiped(2), true},
		"waiting": {healthy(3).silent(1), false},
	} {
		if d := Plan(&c.s.o); d.Hold != c.want {
			t.Errorf("%s: hold is %v, want %v", name, d.Hold, c.want)
		}
	}
}

func TestRoles(t *testing.T) {
	for name, c := range map[string]struct {
		s    *scene
		want string
	}{
		"well":                       {healthy(3), "demo-0=leader demo-1=follower demo-2=follower"},
		"not founded":                {fresh(2), "demo-0= demo-1="},
		"leader moved":               {healthy(3).leaderIs(2), "demo-0=follower demo-1=follower demo-2=leader"},
		"leader died, another leads": {healthy(3).leaderIs(2).silent(0), "demo-0=follower demo-1=follower demo-2=leader"},
		"leader died, none leads":    {healthy(3).leaderless().silent(0), "demo-1=follower demo-2=follower"},
		"follower does not answer":   {healthy(3).silent(1), "demo-0=leader demo-2=follower"},
		"wiped":                      {healthy(3).wiped(1), "demo-0=leader demo-1= demo-2=follower"},
		"learner":                    {healthy(3).wiped(1).learner(1, 4, false), "demo-0=leader demo-1=learner demo-2=follower"},
		"two claim to lead": {healthy(3).do(func(o *Observation) {
			o.pod(1).Node.Role, o.pod(1).Node.Term = "leader", 6
		}), "demo-0=follower demo-1=leader demo-2=follower"},
	} {
		d := Plan(&c.s.o)
		var got []string
		for i := range 3 {
			if r, ok := d.Roles[podName(i)]; ok {
				got = append(got, podName(i)+"="+r)
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got roles %q, want %q", name, text, c.want)
		}
	}
}

// A pod is out of the client Service while it is to go, and comes back when it is to stay.
func TestWithdrawn(t *testing.T) {
	for name, c := range map[string]struct {
		s    *scene
		want bool
	}{
		"to go":                                      {healthy(5).desired(3).withdrawn(4, false), true},
		"to go, and clients are elsewhere":           {healthy(5).desired(3).withdrawn(4, true), true},
		"to go, once it is no member":                {healthy(5).desired(3).withdrawn(4, true).view(withoutID(5)), true},
		"to go, and something is in the way of that": {healthy(5).desired(3).withdrawn(4, true).silent(1), true},
		"to go, without a leader":                    {healthy(5).desired(3).withdrawn(4, true).leaderless(), true},
		"to stay after all":                          {healthy(5).withdrawn(4, true), false},
		"to stay after all, without a leader":        {healthy(5).withdrawn(4, true).leaderless(), false},
		"never withdrawn":                            {healthy(5).desired(3), false},
	} {
		if d := Plan(&c.s.o); d.Withdrawn[podName(4)] != c.want {
			t.Errorf("%s: it stays out: %v, want %v", name, d.Withdrawn[podName(4)], c.want)
		}
	}
}

func TestStallsSayWhatToDo(t *testing.T) {
	for _, s := range []*scene{
		fresh(3).do(func(o *Observation) { o.Foreign = []string{"Service demo exists"} }),
		recorded(fresh(3)).do(func(o *Observation) { o.pod(0).Node.Incarnation = 0xee }),
		healthy(3).leaderless().wiped(1).wiped(2),
		healthy(3).wiped(0).wiped(1).wiped(2),
	} {
		d := Plan(&s.o)
		if d.Stalled == nil || !strings.ContainsAny(d.Stalled.Message, ";:") || len(d.Stalled.Message) < 60 {
			t.Errorf("got %+v, want a sentence that says what is wrong and what to do", d.Stalled)
		}
	}
}

// What a person is told to do must not cost the data: under another name it is not found, and with whenDeleted: Delete it goes.
func TestNobodyIsToldToDeleteARaftClusterThatHasData(t *testing.T) {
	for _, s := range []*scene{fresh(3), healthy(3)} {
		s.o.Foreign = []string{"Service demo exists"}
		d := Plan(&s.o)
		if told := strings.Contains(d.Stalled.Message, "delete this RaftCluster"); told != (s.o.ClusterID == 0) {
			t.Errorf("cluster %s: %s", s.o.ClusterID, d.Stalled.Message)
		}
	}
}
