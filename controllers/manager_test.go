package controllers

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// TestOperatorAsItRuns has the manager, its caches and its watches, under the operator's rights alone.
func TestOperatorAsItRuns(t *testing.T) {
	s := newStory(t, 9)
	m, err := ctrl.NewManager(environment.operator, ctrl.Options{
		Scheme:  s.c.Scheme(),
		Cache:   CacheOptions([]string{s.key.Namespace}),
		Metrics: server.Options{BindAddress: "0"},
		Client:  client.Options{Cache: &client.CacheOptions{DisableFor: Uncached()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := NewReconciler(m.GetClient(), m.GetAPIReader(), m.GetEventRecorder("raftkv-operator"), s.g.dial, "raftkv/node:default")
	if err := r.SetupWithManager(m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.eventually("ready", func() bool { return asSpecified(s.cluster()) })
	if got := leading(t); got != 1 {
		t.Errorf("the operator, which does the work, says %v of that", got)
	}
	s.change(`{"spec":{"podTemplate":{"annotations":{"a":"b"}}}}`)
	s.eventually("updated", func() bool {
		for _, name := range []string{"demo-0", "demo-1", "demo-2"} {
			var p corev1.Pod
			if err := s.c.Get(ctx, types.NamespacedName{Namespace: s.key.Namespace, Name: name}, &p); err != nil || p.Annotations["a"] != "b" {
				return false
			}
		}
		return asSpecified(s.cluster())
	})
	if s.g.bootstraps != 1 || len(s.g.membership.Voters()) != 3 {
		t.Errorf("got %d bootstraps and %d voters, want 1 and 3", s.g.bootstraps, len(s.g.membership.Voters()))
	}
	if err := s.c.Delete(ctx, s.cluster()); err != nil {
		t.Fatal(err)
	}
	s.eventually("forgotten", func() bool { return len(r.Nodes.Read(ctx, s.key)) == 0 })
}

// eventually lets the kubelets play until the condition holds; the manager does the reconciling.
func (s *story) eventually(what string, f func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(convergeWithin); !f(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("never %s", what)
		}
		<-tick.C
		s.k.play(s.key.Name)
	}
}
