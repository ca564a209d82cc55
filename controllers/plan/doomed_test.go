package plan

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

// doomed are claims that somebody deleted while their pods run.
func (s *scene) doomed(ordinals ...int) *scene {
	for _, i := range ordinals {
		s.o.claim(i).Going = true
	}
	return s
}

// earlier are claims that go with an earlier RaftCluster of the name.
func (s *scene) earlier(ordinals ...int) *scene {
	for _, i := range ordinals {
		s.o.claim(i).OfEarlier = true
	}
	return s.doomed(ordinals...)
}

// unrecorded is a cluster whose ID is not on record: its RaftCluster was made anew, or lost its status.
func (s *scene) unrecorded() *scene {
	s.o.ClusterID = 0
	return s
}

// stuck has a pod on a machine that is lost.
func stuck(s *scene, i int) *scene {
	s.silent(i)
	s.pod(i).Terminating, s.pod(i).Stuck = true, true
	return s
}

// stuckAlone is demo-1 on a machine that is lost, of three of which only demo-0 answers and nobody leads.
func stuckAlone() *scene { return stuck(healthy(3).leaderless().silent(2), 1) }

// long has the node of a pod that runs not answer for long.
func long(s *scene, i int) *scene {
	s.pod(i).Running, s.pod(i).Silent = true, true
	return s
}

func TestClaimsThatSomebodyDeleted(t *testing.T) {
	check(t, []row{
		{"one of three is replaced while all are well", healthy(3).doomed(1), "evict demo-1"},
		{"all: one after the other, the leader last", healthy(3).doomed(0, 1, 2), "evict demo-2"},
		{"the leader hands over first", healthy(3).doomed(0), "transfer demo-1"},
		{"to one that is to go, if no other is left", healthy(3).doomed(0).desired(1), "transfer demo-1"},
		{"not while another is ill", healthy(3).doomed(1).silent(2), "wait MemberNotReady"},
		{"the next only when the last is back", healthy(3).doomed(0, 1).wiped(2), "add-learner demo-2 0"},
		{"the pod is ending already", healthy(3).doomed(1).do(func(o *Observation) { o.pod(1).Terminating = true }), "wait MemberNotReady"},
		{"a single one: its data would go with it", healthy(1).doomed(0), "stalled ClaimDeleted"},
		{"of two none can be done without", healthy(2).doomed(1), "stalled ClaimDeleted"},
		{"more are asked for: they come first", healthy(1).doomed(0).desired(3), "scale 3"},
		{"more are asked for, and are there", func() *scene {
			s := healthy(1).doomed(0).desired(3)
			s.o.Workload.Replicas = 3
			s.addEmptyPod(1)
			s.addEmptyPod(2)
			return s
		}(), "add-learner demo-1 0"},
		{"a shrink waits until those that stay are safe", healthy(5).doomed(1).desired(3), "evict demo-1"},
		{"and until one that is to go, and ends, is back", healthy(5).doomed(1).desired(3).do(func(o *Observation) { o.pod(3).Terminating = true }), "wait MemberNotReady"},
		{"or has what it lacks", healthy(5).doomed(1).desired(3).member(3, func(m *admin.MemberStatus) { m.CaughtUp = false }), "wait MemberNotReady"},
		{"but not for one that is not heard, which goes first", healthy(5).doomed(1).desired(3).silent(3), "remove demo-3 4"},
		{"two do not become one that is lost", healthy(2).doomed(0).desired(1), "stalled ClaimDeleted"},
		{"one that is to go anyway goes the usual way", healthy(5).doomed(4).desired(3).withdrawn(4, true), "remove demo-4 5"},
		{"a kept claim of nobody is of no concern", healthy(5).desired(3).view(withoutID(5)).view(withoutID(4)).scaled(3).doomed(4), "nothing"},

		{"a roll does not end the only one", healthy(1).doomed(0).old(0), "stalled ClaimDeleted"},
		{"nor when it is not ready", healthy(1).doomed(0).old(0).do(func(o *Observation) { o.pod(0).Ready = false }), "stalled ClaimDeleted"},
		{"nor one of two", healthy(2).doomed(1).old(0, 1), "stalled ClaimDeleted"},
		{"nor one that does not run and may be needed, without a leader", healthy(3).doomed(1).leaderless().old(0, 1, 2).silent(1), "wait NoLeader"},
		{"that is told where a quorum is out of reach", healthy(3).doomed(1).leaderless().old(0, 1, 2).silent(1).silent(2).do(func(o *Observation) { o.pod(2).Unheard = true }), "stalled ClaimDeleted"},
		{"that is told where no member answers at all", healthy(3).doomed(1).wiped(0).wiped(2).old(0, 1, 2).silent(1), "stalled ClaimDeleted"},
		{"nor one that is ill, while it may be needed", healthy(3).doomed(1).old(1).silent(2).do(func(o *Observation) { o.pod(1).Ready = false }), "wait MemberNotReady"},
		{"one that does not run, and nobody needs", healthy(3).doomed(1).old(0, 1, 2).silent(1), "delete demo-1"},
		{"a pod on a lost machine is not forced out while its data may be needed", healthy(2).doomed(1).silent(1).do(func(o *Observation) { o.pod(1).Terminating, o.pod(1).Stuck = true, true }), "wait MemberNotReady"},
		{"nor without a leader", healthy(1).doomed(0).silent(0).do(func(o *Observation) { o.pod(0).Terminating, o.pod(0).Stuck = true, true }), "wait NoLeader"},
		{"it is when the others can do without", healthy(3).doomed(1).silent(1).do(func(o *Observation) { o.pod(1).Terminating, o.pod(1).Stuck = true, true }), "force demo-1"},

		{"rest waits until all claims are safe", healthy(3).doomed(1).resting(true, 0), "evict demo-1"},
		{"rest waits until all claims are safe, also once it is on record", healthy(3).doomed(1).resting(true, 3), "evict demo-1"},
		{"a single one does not go to rest", healthy(1).doomed(0).resting(true, 1), "stalled ClaimDeleted"},
		{"nor does the last, which holds the last state", healthy(3).doomed(0).resting(true, 3).scaled(1), "stalled ClaimDeleted"},

		{"not founded: a claim that goes is waited for", fresh(3).doomed(1).without(1), "wait Bootstrapping"},
		{"not founded: its pod does not keep it", fresh(3).doomed(1), "evict demo-1"},
		{"not founded: a pod on a lost machine may hold what is left of an earlier cluster", stuck(fresh(3).doomed(1), 1), "stalled ClaimDeleted"},
		{"not founded: and so may one that does not run", fresh(3).doomed(1).silent(1), "stalled ClaimDeleted"},
		{"not founded: one that serves and is not heard is left alone", fresh(3).doomed(1).silent(1).do(func(o *Observation) { o.pod(1).Ready = true }), "wait Bootstrapping"},
		{"not founded: a pod on a lost machine is not known to serve", stuck(fresh(3).doomed(1), 1).do(func(o *Observation) { o.pod(1).Ready = true }), "stalled ClaimDeleted"},
		{"not founded: one that runs may answer soon", fresh(3).doomed(1).silent(1).do(func(o *Observation) { o.pod(1).Running = true }), "wait Bootstrapping"},
		{"not founded: or has not for long", fresh(3).doomed(1).silent(1).do(func(o *Observation) { o.pod(1).Running, o.pod(1).Silent = true, true }), "stalled ClaimDeleted"},
		{"not founded: a claim that never had a volume holds nothing", stuck(fresh(3).doomed(1), 1).do(func(o *Observation) { o.claim(1).Bound = false }), "force demo-1"},
		{"not founded: one that says it is empty, on a lost machine", stuck(fresh(3).doomed(1), 1).do(func(o *Observation) {
			o.pod(1).Node = &admin.Status{Name: podName(1), State: admin.StateEmpty, Incarnation: incarnation(1)}
		}), "force demo-1"},
		{"not founded: the others may say what they hold", stuck(fresh(3).doomed(1), 1).silent(2), "wait Bootstrapping"},
		{"not founded: that may be a cluster, which goes on", stuck(healthy(3).doomed(1), 1).silent(2).unrecorded(), "adopt " + testCluster.String()},
		{"not founded: others that do not run get the template that may cure them", stuck(fresh(3).doomed(1), 1).silent(2).old(2), "delete demo-2"},
		{"not founded: of others whose claims were deleted, too, a person is told", stuck(fresh(3).doomed(0, 1), 1).silent(0), "stalled ClaimDeleted"},
		{"not founded: others that have no volume yet are not waited for", stuck(fresh(3).doomed(1), 1).silent(2).do(func(o *Observation) { o.claim(2).Bound = false }), "stalled ClaimDeleted"},
		{"not founded: kept claims get their pods where as many are asked for", stuck(fresh(3).doomed(1), 1).desired(5), "scale 5"},
		{"on no record: a pod on a lost machine is not forced out before the data of the others is adopted", stuck(healthy(3).doomed(1), 1).unrecorded(), "adopt " + testCluster.String()},
		{"on no record: nor while the others are silent, and may hold data", stuck(healthy(3).doomed(1), 1).silent(0).silent(2).unrecorded(), "wait Bootstrapping"},
		{"on no record: nor while no quorum of its cluster answers", stuck(healthy(3).leaderless().doomed(1), 1).silent(0).unrecorded(), "wait Bootstrapping"},
		{"on no record: one that was to go with an earlier RaftCluster is forced out", stuck(healthy(3).earlier(1), 1).unrecorded(), "force demo-1"},
		{"on no record: a machine that is said to be gone: its pod answers, and its vote is needed", healthy(3).unrecorded().silent(2).stuckAndRunning(1), "adopt " + testCluster.String()},
		{"on no record: it leads", healthy(3).unrecorded().silent(2).stuckAndRunning(0), "adopt " + testCluster.String()},
		{"on no record: it does not answer, but others follow a leader, who is asked first", long(stuck(healthy(3), 2), 2).unrecorded(), "adopt " + testCluster.String()},
		{"on no record: nor does a quorum of the others answer: it may be what they elect one by", stuckAlone().unrecorded().do(func(o *Observation) { o.pod(1).Running = true }), "wait Bootstrapping"},
		{"on no record: unless it has not for long", long(stuckAlone(), 1).unrecorded(), "force demo-1"},
		{"on no record: or does not run", stuckAlone().unrecorded(), "force demo-1"},
		{"on no record: it is still opening its directory", stuckAlone().unrecorded().do(func(o *Observation) { o.pod(1).Node = &admin.Status{State: admin.StateOpening} }), "wait Bootstrapping"},
		{"on no record: it is empty", stuckAlone().unrecorded().do(func(o *Observation) { o.pod(1).Node = &admin.Status{State: admin.StateEmpty, Incarnation: 0xb1} }), "force demo-1"},
		{"on no record: which of two clusters is kept is for a person to say, and either may need it", long(stuckAlone(), 1).unrecorded().do(func(o *Observation) {
			o.pod(2).Node = &admin.Status{State: admin.StateMember, ClusterID: 0xbad, Incarnation: 0xb2}
		}), "stalled ConflictingData"},
		{"on no record: nobody says that there was a cluster", long(stuck(fresh(3), 1), 1), "force demo-1"},
		{"on no record: what runs is adopted before any pod is ended", healthy(3).doomed(0, 1).unrecorded(), "adopt " + testCluster.String()},
		{"on no record: the only copy, too", healthy(1).doomed(0).unrecorded(), "adopt " + testCluster.String()},
		{"on no record: what goes with an earlier RaftCluster is not adopted", healthy(3).earlier(0, 1, 2).unrecorded(), "evict demo-0"},
		{"not founded: data that goes is not adopted", fresh(3).doomed(0, 1, 2).do(func(o *Observation) {
			for i := range o.Pods {
				o.Pods[i].Node.State, o.Pods[i].Node.ClusterID, o.Pods[i].Terminating = admin.StateMember, testCluster, true
			}
		}), "wait Bootstrapping"},
	})
	d := Plan(&healthy(1).doomed(0).old(0).o)
	if !d.Hold || !strings.Contains(d.Stalled.Message, resources.ClaimName("demo", 0)) || !strings.Contains(d.Stalled.Message, "three members") {
		t.Errorf("got %+v", d)
	}
}

// Pods that are there but have lost what their members held do not count: the voter that is still needed has a claim and no pod.
func TestVotersWithoutAPodComeBackWhenOthersAreGone(t *testing.T) {
	check(t, []row{
		{"all that have a pod would do", healthy(5).leaderless().scaled(4).desired(3), "wait NoLeader"},
		{"two of them are gone for good", healthy(5).leaderless().wiped(0).wiped(3).scaled(4).desired(3), "scale 5"},
	})
}
