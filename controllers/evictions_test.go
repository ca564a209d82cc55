package controllers

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
)

// evictions counts those that are asked for.
type evictions struct {
	http.RoundTripper
	asked *atomic.Int32
}

func (e evictions) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasSuffix(request.URL.Path, "/eviction") {
		e.asked.Add(1)
	}
	return e.RoundTripper.RoundTrip(request)
}

// Kubernetes has yet to take in a budget that was just changed, refuses evictions for as long, and asks to come again in ten seconds: the operator looks after the
// cluster meanwhile.
func TestAnEvictionThatIsRefusedHoldsNobodyUp(t *testing.T) {
	s := newStory(t, 92)
	var asked atomic.Int32
	config := rest.CopyConfig(environment.operator)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return evictions{next, &asked} })
	c, err := client.New(config, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	s.r.Client = c
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.change(`{"spec":{"podTemplate":{"annotations":{"a":"b"}}}}`)
	for s.workload().Spec.Template.Annotations["a"] == "" {
		s.reconcile()
	}
	s.k.play(s.key.Name) // the StatefulSet's controller takes the template in
	budget := &policyv1.PodDisruptionBudget{}
	s.get("demo", budget)
	if err := s.c.Patch(context.Background(), budget, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"minAvailable":1}}`))); err != nil {
		t.Fatal(err)
	}
	again := s.reconcile()
	if asked.Load() != 1 || again == 0 || again > whileWaiting {
		t.Errorf("%d evictions were asked for in one look, and the next one is in %v", asked.Load(), again)
	}
	s.until("updated", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.annotated("a") })
}

// A budget that somebody else made may forbid an eviction for ever: people are told, but not of one that has just changed.
func TestAnEvictionThatIsRefusedForLongIsTold(t *testing.T) {
	now := time.Now()
	for age, told := range map[time.Duration]bool{time.Second: false, time.Minute: true} {
		refused := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget theirs needs 3 healthy pods and has 3 currently"}}
		r := &Reconciler{Now: func() time.Time { return now }, Client: interceptor.NewClient(nil, interceptor.Funcs{
			SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
				return refused
			},
		})}
		made := metav1.ObjectMeta{Name: "demo-1", Namespace: "shop", UID: "u", CreationTimestamp: metav1.NewTime(now.Add(-age))}
		s := &snapshot{cluster: &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop"}}, pods: []corev1.Pod{{ObjectMeta: made}}}
		d := &plan.Decision{Step: plan.Restart{Pod: "demo-1", UID: "u", Evict: true}, Waiting: &plan.Reason{Reason: plan.ReasonUpdating, Message: "restarting pod demo-1"}}
		result, err := r.act(t.Context(), s, d)
		if err != nil || result != deferred || strings.Contains(d.Waiting.Message, "The disruption budget theirs needs 3 healthy pods") != told || !strings.HasPrefix(d.Waiting.Message, "restarting pod demo-1") {
			t.Errorf("after %v: %v, %v, %q", age, result, err, d.Waiting.Message)
		}
	}
	forgetMetrics(types.NamespacedName{Namespace: "shop", Name: "demo"})
}
