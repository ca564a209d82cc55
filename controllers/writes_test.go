package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// counted are the requests of an operator to the API server, by what they are.
type counted struct {
	mu    sync.Mutex
	calls map[string]int
}

func (n *counted) add(verb string, o any, sub string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
	if u, ok := o.(interface{ GetKind() string }); ok {
		kind = u.GetKind()
	}
	n.calls[strings.TrimSpace(verb+" "+kind+" "+sub)]++
}

// of is how many there were of what begins so.
func (n *counted) of(prefixes ...string) (sum int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for what, times := range n.calls {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(what, p) }) {
			sum += times
		}
	}
	return sum
}

func (n *counted) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, what := range slices.Sorted(maps.Keys(n.calls)) {
		out = append(out, fmt.Sprintf("%d %s", n.calls[what], what))
	}
	return strings.Join(out, ", ")
}

// counting has the story's operator count what it asks of the API server.
func (s *story) counting() *counted {
	s.t.Helper()
	c, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		s.t.Fatal(err)
	}
	n := &counted{calls: map[string]int{}}
	operator := interceptor.NewClient(c, n.interceptor())
	s.r.Client, s.r.Live = operator, operator
	return n
}

func (n *counted) interceptor() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			n.add("get", o, "")
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			n.add("list", list, "")
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			n.add("write", o, "create")
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			n.add("write", o, "patch")
			return c.Patch(ctx, o, p, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, a runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			n.add("write", a, "apply")
			return c.Apply(ctx, a, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			n.add("write", o, sub)
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	}
}

// standStill stops the operator's clock, so that what it writes does not depend on how busy the machine is.
func (s *story) standStill() {
	now := time.Now()
	s.r.Now = func() time.Time { return now }
}

func TestAClusterTakesFewRequestsUntilItIsReady(t *testing.T) {
	s := newStory(t, 60)
	n := s.counting()
	s.standStill()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	// That it is created, who founds it, its identity, its leader, its second voter, and that it is ready.
	if got := n.of("write RaftCluster status"); got > 6 {
		t.Errorf("%d writes of the status: %s", got, n)
	}
	if writes, events := n.of("write"), len(s.drain()); writes+events > 26 {
		t.Errorf("%d writes and %d events: %s, %v", writes, events, n, s.history)
	}
	for _, m := range s.cluster().Status.Members {
		if m.Role == resources.RoleLearner || !m.Healthy {
			t.Errorf("the status is behind: %+v", m)
		}
	}
}

// What a step says may wait for the next look, but not while one step follows the other.
func TestAStatusIsNotSilentForLong(t *testing.T) {
	s := newStory(t, 61)
	n := s.counting()
	s.standStill()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("founded", func(c *v1.RaftCluster) bool { return c.Status.Bootstrap != nil })
	before := n.of("write RaftCluster status")
	s.reconcile()
	if got := n.of("write RaftCluster status"); got != before {
		t.Errorf("that the node is asked to found the cluster was written, and the event says so: %v", s.drain())
	}
	unlock := s.g.lock()
	s.g.cluster, s.g.leader, s.g.membership, s.g.bootstraps = 0, 0, raft.Membership{}, 0
	unlock()
	s.later(maxSilence)
	s.reconcile()
	if got := n.of("write RaftCluster status"); got != before+1 {
		t.Errorf("%d writes while the same step is taken again and again", got-before)
	}
}

func TestWhatMayWaitInAStatus(t *testing.T) {
	base := v1.RaftClusterStatus{
		ObservedGeneration: 1, ClusterID: "a", Leader: &v1.LeaderStatus{Name: "demo-0", ID: "1", Term: "1"}, ReadyReplicas: 1,
		Members:    []v1.MemberStatus{{Name: "demo-0", ID: "1", Role: resources.RoleLeader, Healthy: true}},
		Conditions: []metav1.Condition{condition(v1.ConditionReady, false, "A", "a"), condition(v1.ConditionStalled, false, "B", "b")},
	}
	for name, x := range map[string]struct {
		change func(*v1.RaftClusterStatus)
		want   bool
	}{
		"what is done":   {func(s *v1.RaftClusterStatus) { s.Conditions[0].Reason, s.Conditions[0].Message = "C", "c" }, true},
		"a pod is ready": {func(s *v1.RaftClusterStatus) { s.ReadyReplicas = 2 }, true},
		"a learner": {func(s *v1.RaftClusterStatus) {
			s.Members = append(s.Members, v1.MemberStatus{ID: "2", Role: resources.RoleLearner})
		}, true},
		"a voter": {func(s *v1.RaftClusterStatus) {
			s.Members = append(s.Members, v1.MemberStatus{ID: "2", Role: resources.RoleFollower})
		}, false},
		"health":           {func(s *v1.RaftClusterStatus) { s.Members[0].Healthy = false }, false},
		"the leader":       {func(s *v1.RaftClusterStatus) { s.Leader.Term = "2" }, false},
		"no leader":        {func(s *v1.RaftClusterStatus) { s.Leader = nil }, false},
		"why it stalls":    {func(s *v1.RaftClusterStatus) { s.Conditions[1].Message = "c" }, false},
		"readiness":        {func(s *v1.RaftClusterStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, false},
		"another spec":     {func(s *v1.RaftClusterStatus) { s.ObservedGeneration = 2 }, false},
		"what is recorded": {func(s *v1.RaftClusterStatus) { s.Bootstrap = &v1.BootstrapStatus{Pod: "demo-0"} }, false},
	} {
		now := base.DeepCopy()
		x.change(now)
		if got := mayWait(&base, now); got != x.want {
			t.Errorf("%s: may wait: %v, want %v", name, got, x.want)
		}
	}
}

// behind shows the RaftCluster as it was, as a watch does that has not caught up with the operator's own write.
type behind struct {
	client.Client
	past *v1.RaftCluster
}

func (b *behind) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if c, ok := o.(*v1.RaftCluster); ok && b.past != nil {
		b.past.DeepCopyInto(c)
		return nil
	}
	return b.Client.Get(ctx, key, o, opts...)
}

func TestNoStatusIsWrittenOnWhatTheOperatorKnowsToBePast(t *testing.T) {
	s := newStory(t, 62)
	n := s.counting()
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	var past, last *v1.RaftCluster
	s.until("ready", func(c *v1.RaftCluster) bool {
		if last != nil && last.ResourceVersion != c.ResourceVersion {
			past = last
		}
		last = c
		return asSpecified(c)
	})
	cache := &behind{Client: s.r.Client, past: past}
	s.r.Client = cache
	before := n.of("write RaftCluster")
	if again := s.reconcile(); again != afterStep {
		t.Errorf("looks again in %v, want %v", again, afterStep)
	}
	if got := n.of("write RaftCluster"); got != before {
		t.Errorf("%d writes on a status that is past", got-before)
	}
	cache.past = nil
	s.change(`{"spec":{"replicas":2}}`)
	s.until("grown", asSpecified)
}
