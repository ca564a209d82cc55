package plan

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

func (s *scene) resting(hibernate bool, asleep int) *scene {
	return s.do(func(o *Observation) {
		o.Hibernate, o.Asleep = hibernate, asleep
		o.Workload.KeepsClaims = asleep > 0
	})
}

// scaled gives the StatefulSet another number of pods and takes away those that are above.
func (s *scene) scaled(n int) *scene {
	s.o.Workload.Replicas = n
	for i := n; i < 8; i++ {
		s.without(i)
	}
	return s
}

func TestHibernation(t *testing.T) {
	check(t, []row{
		{"the number of pods is recorded first", healthy(3).resting(true, 0), "record rest 3"},
		{"a cluster that is yet to be founded is founded first", fresh(3).resting(true, 0), "record demo-0 a0"},
		{"a member is behind: it waits for it", healthy(3).resting(true, 0).member(2, func(m *admin.MemberStatus) { m.CaughtUp = false }), "wait MemberNotReady"},
		{"a member's volume is gone: it is replaced first", healthy(3).resting(true, 0).wiped(2), "add-learner demo-2 0"},
		{"a change is being committed", healthy(3).resting(true, 0).do(func(o *Observation) { o.pod(0).Node.ConfigCommitted = false }), "wait ChangingMembers"},
		{"there is no leader", healthy(3).resting(true, 0).leaderless(), "wait NoLeader"},
		{"a quorum is lost for good", healthy(3).resting(true, 0).leaderless().wiped(1).wiped(2), "stalled QuorumLost"},
		{"another template is no reason to restart pods that are stopped anyway", healthy(3).resting(true, 3).old(1, 2), "scale 1"},
		{"the claims must be safe from whenScaled", healthy(3).resting(true, 3).do(func(o *Observation) { o.Workload.KeepsClaims = false }), "wait Hibernating"},
		{"the leader is stopped last, so it is demo-0", healthy(3).resting(true, 3).leaderIs(2), "transfer demo-0"},
		{"first the followers go", healthy(3).resting(true, 3), "scale 1"},
		{"a member fell ill after the record", healthy(3).resting(true, 3).silent(1), "wait MemberNotReady"},
		{"the number of pods has changed since the record", healthy(5).resting(true, 3), "record rest 5"},
		{"it shrank since the record: the order is kept", healthy(3).resting(true, 5), "record rest 3"},
		{"it shrank since the record, and the leader is another", healthy(2).resting(true, 2).leaderIs(1), "transfer demo-0"},
		{"somebody scaled it under the operator: its members come back first", healthy(3).resting(true, 3).scaled(2).view(func(m []admin.MemberStatus) []admin.MemberStatus { return m }), "scale 3"},
		{"followers are ending", healthy(3).resting(true, 3).do(func(o *Observation) { o.Workload.Replicas = 1 }), "wait Hibernating"},
		{"then the last", healthy(3).resting(true, 3).scaled(1), "scale 0"},
		{"the last is ending", healthy(3).resting(true, 3).scaled(1).do(func(o *Observation) { o.Workload.Replicas = 0 }), "wait Hibernating"},
		{"all are gone", healthy(3).resting(true, 3).scaled(0), "hibernated"},
		{"another number of replicas waits", healthy(3).resting(true, 3).scaled(0).desired(5), "hibernated"},
		{"a single one", healthy(1).resting(true, 1), "scale 0"},
		{"it comes back with all its pods", healthy(3).resting(false, 3).scaled(0), "scale 3"},
		{"also where fewer are asked for now: the members must be there to be removed", healthy(5).resting(false, 5).scaled(0).desired(3), "scale 5"},
		{"half awake", healthy(3).resting(false, 3).scaled(1), "scale 3"},
		{"awake", healthy(3).resting(false, 3), "nothing"},
		{"awake, and larger", healthy(3).resting(false, 3).desired(5), "scale 5"},
		{"a member that is no pod of the cluster, which is told", guest(healthy(3)).resting(true, 0), "wait Hibernating"},
		{"a pod on a lost machine, and its claim goes with it: who waits for it is told what ends it", stuck(healthy(3).doomed(2), 2).resting(true, 3).do(func(o *Observation) {
			o.Pods[0].Node, o.Pods[1].Node, o.Workload.Replicas = nil, nil, 1
		}).without(1), "wait Hibernating"},
	})
	if d := Plan(&healthy(3).resting(false, 3).o); !d.Awake {
		t.Error("the hibernation stays on record")
	}
	for name, s := range map[string]*scene{"at rest": healthy(3).resting(true, 3).scaled(0), "on its way back": healthy(3).resting(false, 3).scaled(1)} {
		if d := Plan(&s.o); d.Awake {
			t.Errorf("%s: the hibernation is forgotten", name)
		}
	}
}

// guest adds a member that somebody invited by its address, and that nobody has claimed.
func guest(s *scene) *scene {
	return s.view(func(m []admin.MemberStatus) []admin.MemberStatus {
		return append(m, admin.MemberStatus{Member: raft.Member{ID: 9, Incarnation: 9, PeerAddress: "guest:2380", Learner: true}})
	})
}

// Whoever waits reads what for.
func TestWhatKeepsAClusterFromResting(t *testing.T) {
	for name, c := range map[string]struct {
		s    *scene
		want string
	}{
		"a guest": {guest(healthy(3)).resting(true, 0), `member "" (ID 9, at guest:2380) is no pod of this cluster`},
		"a lost machine": {stuck(healthy(3).doomed(2), 2).resting(true, 3).do(func(o *Observation) {
			o.Pods[0].Node, o.Pods[1].Node, o.Workload.Replicas = nil, nil, 1
		}).without(1), "kubectl delete pod --force"},
	} {
		if d := Plan(&c.s.o); d.Waiting == nil || !strings.Contains(d.Waiting.Message, c.want) {
			t.Errorf("%s: got %v, want %q", name, d.Waiting, c.want)
		}
	}
}

func TestARestingClusterIsNeverFoundedAnew(t *testing.T) {
	s := healthy(3).resting(true, 3).scaled(0).allowed(testCluster, true)
	for _, hibernate := range []bool{true, false} {
		s.o.Hibernate = hibernate
		switch d := Plan(&s.o); d.Step.(type) {
		case nil, Scale:
		default:
			t.Errorf("hibernate %v: %s", hibernate, brief(d))
		}
	}
}
