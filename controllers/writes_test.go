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

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
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
	s.r.Client, s.r.Live = interceptor.NewClient(c, n.interceptor("")), interceptor.NewClient(c, n.interceptor("live "))
	return n
}

func (n *counted) interceptor(which string) interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			n.add(which+"get", o, "")
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			n.add(which+"list", list, "")
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
	writes, events := n.of("write"), len(s.drain())
	t.Logf("%d writes and %d events: %s", writes, events, n)
	if writes+events > 26 {
		t.Errorf("%d writes and %d events: %v", writes, events, s.history)
	}
	// The budget is looked for live while the StatefulSet is made, before each risky step, and before it is made itself; the token before each risky step, and
	// when it is made.
	if budget, token := n.of("live get PodDisruptionBudget"), n.of("live get Secret"); budget > 10 || token > 10 {
		t.Errorf("%d live reads of the budget, %d of the token: %s", budget, token, n)
	}
	// Services and their like are looked for live while they do not exist, and never again: no risky step hangs on them.
	if got := n.of("live get Service", "live get NetworkPolicy"); got > 8 {
		t.Errorf("%d live reads of Services, the ServiceAccount and a NetworkPolicy that nobody asked for: %s", got, n)
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
	s.later(maxSilenceBefore)
	s.reconcile()
	if got := n.of("write RaftCluster status"); got != before+1 {
		t.Errorf("%d writes while the same step is taken again and again", got-before)
	}
}

// Pods come one by one, and what is said of each may wait for the next; somebody looks again when it may wait no longer.
func TestWhatIsSaidOfPodsThatComeIsNotWrittenForEach(t *testing.T) {
	s := newStory(t, 66)
	n := s.counting()
	s.standStill()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.reconcile()
	s.reconcile()
	s.later(maxSilenceBefore)
	s.reconcile()
	before := n.of("write RaftCluster status")
	said := func() string {
		return meta.FindStatusCondition(s.cluster().Status.Conditions, v1.ConditionReady).Message
	}
	if was := said(); !strings.Contains(was, "pod demo-0 does not exist yet") {
		t.Fatalf("before there are pods it says %q", was)
	}
	s.k.bad = func(p *corev1.Pod) bool { return p.Name == "demo-2" }
	s.k.play("demo")
	for range 5 {
		again := s.reconcile()
		if got := n.of("write RaftCluster status"); got != before || again == 0 || again > maxSilenceBefore {
			t.Fatalf("%d writes, and it looks again in %v: %s", got-before, again, said())
		}
	}
	s.later(maxSilenceBefore)
	s.until("told", func(*v1.RaftCluster) bool { return strings.Contains(said(), "the node of pod demo-2 does not answer") })
	if got := n.of("write RaftCluster status"); got > before+2 {
		t.Errorf("%d writes", got-before)
	}
}

func TestHowLongAStatusMayBeSilent(t *testing.T) {
	for name, x := range map[string]struct {
		good  string
		truth bool
		age   time.Duration
		want  time.Duration
	}{
		"it was never complete":     {"", false, time.Second, maxSilenceBefore},
		"nor for a minute":          {"", false, time.Minute, 6 * time.Second},
		"nor for an hour":           {"", false, time.Hour, whileStalled},
		"clocks disagree":           {"", false, -time.Hour, maxSilenceBefore},
		"it was":                    {"r1", false, time.Hour, maxSilence},
		"the truth of a condition":  {"", true, time.Hour, 0},
		"the truth, once it was so": {"r1", true, time.Hour, 0},
	} {
		before := &v1.RaftClusterStatus{GoodRevision: x.good, Conditions: []metav1.Condition{condition(v1.ConditionReady, false, "A", "a")}}
		now := before.DeepCopy()
		if now.Conditions[0].Message = "b"; x.truth {
			now.Conditions[0].Status = metav1.ConditionTrue
		}
		if got := silence(before, now, x.age); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
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
		"what they run":  {func(s *v1.RaftClusterStatus) { s.Version = "2" }, true},
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
	s.until("ready", asSpecified)
	// The watch stands still, and the second of two writes is based on a live read, as before a risky step.
	past := s.cluster()
	past.Status.Leader = nil
	cache := &behind{Client: s.r.Client, past: past}
	s.r.Client = cache
	for range 2 {
		d := plan.Decision{Waiting: &plan.Reason{Reason: plan.ReasonNoLeader, Message: s.cluster().ResourceVersion}}
		x := &snapshot{cluster: s.cluster(), depth: live}
		before := x.cluster.Status.DeepCopy()
		meta.RemoveStatusCondition(&before.Conditions, v1.ConditionReady) // so that the change does not wait
		if _, err := s.r.report(context.Background(), x, &d, before, idle); err != nil {
			t.Fatal(err)
		}
	}
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

func TestEventsAreReadOnlyOfWhatShouldHaveComeByNow(t *testing.T) {
	s := newStory(t, 63)
	n := s.counting()
	s.standStill()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.reconcile()
	s.reconcile()
	s.reconcile()
	if got := n.of("live list EventList"); got != 0 {
		t.Errorf("events are read at once: %s", n)
	}
	s.later(2 * troubleAfter)
	s.reconcile()
	if n.of("live list EventList") == 0 {
		t.Errorf("no events are read of pods that do not come: %s", n)
	}
	// Who waits for long does not have the API server go through all events again and again.
	before := n.of("live list EventList")
	for range 10 {
		s.later(time.Second)
		s.reconcile()
	}
	if got := n.of("live list EventList"); got != before {
		t.Errorf("%d reads of events more within ten seconds", got-before)
	}
	s.later(eventsFresh)
	s.reconcile()
	if got := n.of("live list EventList"); got <= before {
		t.Error("events are not read any more")
	}
}

// A thousand clusters whose pods wait have many objects that events could tell of.
func TestEventsOfManyObjectsAreReadFewAtATime(t *testing.T) {
	r, now := newEventReads(), time.Now()
	reads := 0
	for i := range 3 * maxEventsRemembered {
		uid := types.UID(fmt.Sprint(i))
		if _, will := r.last(uid, now); !will {
			reads++
			r.remember(uid, now, []corev1.Event{{Type: corev1.EventTypeWarning, Message: "no volume"}, {Type: corev1.EventTypeNormal}})
		}
	}
	if most := maxEventReads + 2*eventReadsPerSecond; reads < maxEventReads || reads > most {
		t.Errorf("%d reads in a moment, want %d to %d", reads, maxEventReads, most)
	}
	if known, will := r.last("0", now.Add(eventsFresh-1)); !will || len(known) != 1 {
		t.Errorf("what was read is not remembered: %v, %v", known, will)
	}
	for i := range 2 * maxEventsRemembered {
		r.remember(types.UID(fmt.Sprint("more", i)), now, nil)
	}
	if len(r.of) > maxEventsRemembered {
		t.Errorf("%d objects are remembered", len(r.of))
	}
}

func TestWhatIsWaitedForLongIsLookedForLessOften(t *testing.T) {
	waiting := plan.Decision{Waiting: &plan.Reason{}}
	for name, x := range map[string]struct {
		d      plan.Decision
		result outcome
		waited time.Duration
		want   time.Duration
	}{
		"just begun":       {waiting, idle, 0, whileWaiting},
		"for a minute":     {waiting, idle, time.Minute, 6 * time.Second},
		"for an hour":      {waiting, idle, time.Hour, whileStalled},
		"clocks disagree":  {waiting, idle, -time.Hour, whileWaiting},
		"a step was taken": {waiting, done, time.Hour, afterStep},
		"a step must wait": {waiting, deferred, time.Hour, whileWaiting},
		"nothing to do":    {plan.Decision{}, idle, time.Hour, 0},
	} {
		if got := pause(&snapshot{}, &x.d, x.result, x.waited); got != x.want {
			t.Errorf("%s: looks again in %v, want %v", name, got, x.want)
		}
	}
	at := func(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0)) }
	s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(1)}}}
	sign := func(what string, stepped, want int64) {
		t.Helper()
		if got := lastSign(s, time.Unix(stepped, 0)).Unix(); got != want {
			t.Errorf("%s: the last sign is of second %d, want %d", what, got, want)
		}
	}
	sign("created", 0, 1)
	sign("a step", 2, 2)
	s.cluster.Status.Conditions = []metav1.Condition{{LastTransitionTime: at(3)}}
	sign("not ready", 2, 3)
	s.pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(4)}}}
	sign("a pod made", 2, 4)
	s.pods[0].Status.Conditions = []corev1.PodCondition{{LastTransitionTime: at(5)}}
	sign("a pod scheduled", 2, 5)
	ends := at(6)
	s.pods[0].DeletionTimestamp = &ends
	sign("a pod to end", 2, 6)
}

// labelledOnly shows what the watches' cache does.
type labelledOnly struct{ client.Client }

func (l labelledOnly) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	err := l.Client.Get(ctx, key, o, opts...)
	if _, ok := o.(*v1.RaftCluster); err == nil && !ok && o.GetLabels()[resources.LabelName] != resources.Name {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	return err
}

func TestABudgetOfSomebodyElseIsNoticedBeforeOneIsMade(t *testing.T) {
	s := newStory(t, 64)
	s.r.Client = labelledOnly{s.r.Client}
	ctx := context.Background()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var budget policyv1.PodDisruptionBudget
	s.get("demo", &budget)
	if err := s.c.Delete(ctx, &budget); err != nil {
		t.Fatal(err)
	}
	foreign := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: s.key.Namespace}}
	if err := s.c.Create(ctx, foreign); err != nil {
		t.Fatal(err)
	}
	s.until("stalled", s.stalled(plan.ReasonChildNotOwned))
	s.get("demo", &budget)
	if budget.UID != foreign.UID || len(budget.Labels) > 0 {
		t.Errorf("it was touched: %+v", budget)
	}
	if err := s.c.Delete(ctx, foreign); err != nil {
		t.Fatal(err)
	}
	s.until("made anew", func(c *v1.RaftCluster) bool {
		var budget policyv1.PodDisruptionBudget
		return asSpecified(c) && s.c.Get(ctx, s.key, &budget) == nil
	})
	// One that lost its labels is the cluster's still.
	s.unlabel("demo", &budget)
	s.until("labelled", func(*v1.RaftCluster) bool {
		s.get("demo", &budget)
		return labelled(&budget, resources.Labels("demo"))
	})
}
