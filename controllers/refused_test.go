package controllers

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
)

// A policy that denies an object of the cluster, and a step that Kubernetes does not take, are told where people look, and not in the operator's log only.
func TestWhatIsDeniedIsSaid(t *testing.T) {
	s := newStory(t, 94)
	ctx := context.Background()
	c, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	var services, workloads, evictions atomic.Bool
	s.r.Client = interceptor.NewClient(c, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, a runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if u, ok := a.(interface{ GetKind() string }); ok && u.GetKind() == "Service" && services.Load() {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "demo", errors.New("admission webhook \"names\" denied the request"))
			}
			if u, ok := a.(interface{ GetKind() string }); ok && u.GetKind() == "StatefulSet" && workloads.Load() {
				return apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "statefulsets"}, "demo", errors.New("admission webhook \"sets\" denied the request"))
			}
			return c.Apply(ctx, a, opts...)
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, x client.Object, opts ...client.SubResourceCreateOption) error {
			if evictions.Load() {
				return apierrors.NewInternalError(errors.New("this pod has more than one PodDisruptionBudget"))
			}
			return c.SubResource(sub).Create(ctx, o, x, opts...)
		},
	})
	until := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(convergeWithin); !f(); {
			if time.Now().After(deadline) {
				t.Fatalf("never %s: %+v; %v", what, s.cluster().Status, s.drain())
			}
			s.k.play("demo")
			_, _ = s.r.Reconcile(ctx, reconcile.Request{NamespacedName: s.key})
		}
	}
	services.Store(true)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	until("told of the policy", func() bool { return s.stalled(plan.ReasonSpecRefused)(s.cluster()) })
	x := meta.FindStatusCondition(s.cluster().Status.Conditions, v1.ConditionStalled)
	if !strings.Contains(x.Message, `admission webhook "names" denied the request`) {
		t.Errorf("it says %q", x.Message)
	}
	if err := s.c.Get(ctx, s.key, &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pods are made without their Service: %v", err)
	}
	services.Store(false)
	if c := s.until("ready", asSpecified); is(c, v1.ConditionStalled) {
		t.Errorf("it is stalled still: %+v", c.Status.Conditions)
	}
	evictions.Store(true)
	workloads.Store(true)
	s.change(`{"spec":{"podTemplate":{"annotations":{"a":"b"}}}}`)
	until("told that the template is denied", func() bool {
		return s.stalled(plan.ReasonSpecRefused)(s.cluster()) && s.cluster().Status.ObservedGeneration == s.cluster().Generation
	})
	workloads.Store(false)
	until("told of the step", func() bool { return s.sawEvent("StepFailed") })
	evictions.Store(false)
	until("updated", func() bool { return asSpecified(s.cluster()) && s.annotated("a") })
	if told := strings.Join(s.drain(), "\n"); !strings.Contains(told, "as the spec asks (spec.template") || strings.Contains(told, "this version of the operator") {
		t.Errorf("whose wish the template is, when it was denied at first: %s", told)
	}
}
