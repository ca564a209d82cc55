package controllers

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// heard waits until the stream of that pod's node says so.
func (s *story) heard(pod string, what func(*admin.Status) bool) {
	s.t.Helper()
	var p corev1.Pod
	s.get(pod, &p)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if a := s.r.Nodes.Last(s.key, p.UID); a.Err == nil && what(a.Status) {
			return
		} else if time.Now().After(deadline) {
			s.t.Fatalf("the stream of %s says %+v", pod, a)
		}
	}
}

// That a voter has caught up is no news (admin.Board): the stream of its leader says for minutes that it has not, and nobody may be called ill for that alone.
func TestAStreamThatIsBehindWritesNoStatus(t *testing.T) {
	s := newStory(t, 132)
	var behind atomic.Bool
	operator := asOperator(t)
	s.r = NewReconciler(operator, operator, s.events, func(address, token string) (admin.Service, func(), error) {
		service, end, err := s.g.dial(address, token)
		answer := service.WaitStatus
		service.WaitStatus = func(ctx context.Context, r *admin.WaitStatusRequest) (*admin.Status, error) {
			status, err := answer(ctx, r)
			if err == nil && behind.Load() {
				for i := range status.Members {
					status.Members[i].CaughtUp = status.Members[i].ID == status.MemberID
				}
			}
			return status, err
		}
		return service, end, err
	}, "raftkv/node:default")
	n := s.counting()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	writes := n.of("write RaftCluster")
	behind.Store(true)
	for range 3 {
		s.g.lock()() // the last news of each: a member is heard again, and not caught up yet
		s.heard("demo-0", func(n *admin.Status) bool { return n.Generation == s.generation() && !n.Members[1].CaughtUp })
		s.reconcile()
		s.heard("demo-0", func(n *admin.Status) bool { return n.Members[1].CaughtUp })
	}
	if more := n.of("write RaftCluster") - writes; more != 0 || !asSpecified(s.cluster()) {
		t.Errorf("%d writes of the status of a cluster in which nothing changes: %+v", more, s.cluster().Status)
	}
	// One that is not heard is told of at once, as is that it is back.
	behind.Store(false)
	var p corev1.Pod
	s.get("demo-2", &p)
	s.g.fail(p.Status.PodIP)
	s.until("ill", func(c *v1.RaftCluster) bool { return is(c, v1.ConditionDegraded) && !c.Status.Members[2].Healthy })
	behind.Store(true)
	s.g.recover(p.Status.PodIP)
	s.until("well", asSpecified)
}

// generation is what the nodes' statuses have now.
func (s *story) generation() uint64 {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	return s.g.generation()
}

// A write that changes nothing leaves the version as it is, which is not the past then.
func TestAWriteOfSignsThatChangesNothingIsNotWaitedFor(t *testing.T) {
	s := newStory(t, 133)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	x, err := s.r.observe(context.Background(), s.key, cached, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.cluster.Status.Members[0].Healthy = false // the API server has it right
	d := plan.Plan(&x.observation)
	if err := s.r.reportSigns(context.Background(), x, &d); err != nil {
		t.Fatal(err)
	}
	if past := s.r.lastReport(s.key).past; len(past) > 0 && past[len(past)-1] == s.cluster().ResourceVersion {
		t.Errorf("the present version %s is taken for a past one: %v", s.cluster().ResourceVersion, past)
	}
}

// What is news between the look at the streams and the nodes' own answers ends the wait for a node that is cut off: it is quoted with what it said last.
func TestNodesAreNotWaitedForWhenThereIsNewsAlready(t *testing.T) {
	s := newStory(t, 134)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	next, _ := s.g.membership.FindIncarnation(s.k.incarnation("demo-2"))
	s.g.cutOff("demo-0", next.ID, func() {})
	s.heard("demo-2", func(n *admin.Status) bool { return n.Role == raft.RoleLeader.String() })
	seen, err := s.r.observe(context.Background(), s.key, cached, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.g.lock()()
	s.heard("demo-2", func(n *admin.Status) bool { return n.Generation == s.generation() })
	x, err := s.r.observe(context.Background(), s.key, asked, seen)
	if err != nil {
		t.Fatal(err)
	}
	if p := x.observation.Pods[0]; p.Node == nil {
		t.Errorf("%s was waited for: %s", p.Name, p.NodeError)
	}
}

// An operator that begins calls nobody ill while it has not heard the leader yet, though others say who that is.
func TestNobodyIsIllWhileTheLeaderIsYetToBeHeard(t *testing.T) {
	s := newStory(t, 135)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	before := s.until("ready", asSpecified)
	var leader corev1.Pod
	s.get("demo-0", &leader)
	s.r.Nodes.Follow(s.key, nil)
	operator := asOperator(t)
	var once sync.Once
	s.r = NewReconciler(operator, operator, s.events, func(address, token string) (admin.Service, func(), error) {
		service, end, err := s.g.dial(address, token)
		if strings.HasPrefix(address, leader.Status.PodIP+":") {
			service.WaitStatus = func(ctx context.Context, _ *admin.WaitStatusRequest) (*admin.Status, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return service, end, err
		}
		answer := service.Status
		service.Status = func(ctx context.Context, r *admin.StatusRequest) (*admin.Status, error) {
			once.Do(func() { s.g.lock()() }) // news
			return answer(ctx, r)
		}
		return service, end, err
	}, "raftkv/node:default")
	if again := s.reconcile(); again != afterStep {
		t.Errorf("it looks again in %v", again)
	}
	if c := s.cluster(); c.ResourceVersion != before.ResourceVersion {
		t.Errorf("the status says %+v", c.Status)
	}
}

// The stream of a leader that is cut off says that it leads until its connection counts as dead. Where no other one can be elected it is lost once, and not found again at each look.
func TestALeaderThatIsCutOffIsLostOnce(t *testing.T) {
	s := newStory(t, 136)
	n := s.counting()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.g.cutOff("demo-0", 0, func() {})
	for _, pod := range []string{"demo-1", "demo-2"} {
		s.heard(pod, func(n *admin.Status) bool { return n.Leader == 0 })
	}
	s.reconcile()
	if c := s.cluster(); c.Status.Leader != nil {
		t.Fatalf("the status says %+v", c.Status)
	}
	writes := n.of("write RaftCluster")
	for range 2 {
		s.reconcile()
	}
	told := strings.Join(s.drain(), "\n")
	if more := n.of("write RaftCluster") - writes; more != 0 || strings.Count(told, "LeaderLost") != 1 || strings.Count(told, "LeaderElected") != 1 {
		t.Errorf("%d writes more, and the events %s", more, told)
	}
}

func TestStreamsTellWhoIsNotHeardAndNothingOfProgress(t *testing.T) {
	member := func(id raft.NodeID, active, caughtUp bool) admin.MemberStatus {
		return admin.MemberStatus{Member: raft.Member{ID: id}, Active: active, CaughtUp: caughtUp}
	}
	v := &plan.View{Status: &admin.Status{MemberID: 1, Members: []admin.MemberStatus{member(1, false, false), member(2, true, false), member(3, true, true), member(4, false, true), member(5, true, true)}}}
	said := func(id, role, version string, healthy bool) v1.MemberStatus {
		return v1.MemberStatus{ID: id, Role: role, Version: version, Healthy: healthy}
	}
	voter, learner := resources.RoleFollower, resources.RoleLearner
	before := []v1.MemberStatus{said("1", voter, "1", false), said("2", voter, "1", true), said("3", voter, "", false), said("4", voter, "1", true), said("5", learner, "", false)}
	now := []v1.MemberStatus{said("1", resources.RoleLeader, "1", true), said("2", voter, "2", false), said("3", voter, "1", true), said("4", voter, "1", false), said("5", voter, "1", true)}
	want := []v1.MemberStatus{said("1", resources.RoleLeader, "1", true), said("2", voter, "1", true), said("3", voter, "", false), said("4", voter, "1", false), said("5", voter, "1", true)}
	keepUnstreamed(v, before, now)
	if !slices.Equal(now, want) {
		t.Errorf("got  %+v\nwant %+v", now, want)
	}
}
