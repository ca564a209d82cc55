package controllers

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
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
