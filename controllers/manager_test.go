package controllers

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// TestOperatorAsItRuns has the manager, its caches and its watches, under the fewest rights that an operator can have: those in one namespace, which are some of
// those that it has without a list of namespaces.
func TestOperatorAsItRuns(t *testing.T) {
	s := newStory(t, 9)
	m, err := ctrl.NewManager(confined(t, s.c, s.key.Namespace), ctrl.Options{
		Scheme:  s.c.Scheme(),
		Cache:   CacheOptions([]string{s.key.Namespace}),
		Metrics: server.Options{BindAddress: "0"},
		Client:  client.Options{Cache: &client.CacheOptions{DisableFor: Uncached()}},
		// The test may run several times in one process.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
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

	s.eventually("told in an event", func() bool {
		var told eventsv1.EventList
		if err := s.c.List(ctx, &told, client.InNamespace(s.key.Namespace)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(told.Items, func(e eventsv1.Event) bool { return e.Reason == "PodRestarted" })
	})
	if gone, _, err := r.machine(ctx, "no-such-machine"); err != nil || !gone {
		t.Errorf("a machine that does not exist is gone %v, error %v: may the operator read nodes?", gone, err)
	}
	var elsewhere corev1.PodList
	if err := m.GetAPIReader().List(ctx, &elsewhere, client.InNamespace("default")); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace it may list pods: %v", err)
	}
}

// confined gives the rights of config/rbac in one namespace, as the chart does with watchNamespaces: only nodes, which are in none, are read everywhere.
func confined(t *testing.T, c client.Client, namespace string) *rest.Config {
	t.Helper()
	var all rbacv1.ClusterRole
	if err := c.Get(context.Background(), types.NamespacedName{Name: operatorUser}, &all); err != nil {
		t.Fatal(err)
	}
	name := operatorUser + "-" + namespace
	everywhere := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	here := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	for _, rule := range all.Rules {
		if slices.Equal(rule.Resources, []string{"nodes"}) {
			everywhere.Rules = append(everywhere.Rules, rule)
		} else {
			here.Rules = append(here.Rules, rule)
		}
	}
	if len(everywhere.Rules) != 1 || len(here.Rules) != len(all.Rules)-1 {
		t.Fatalf("got the rules %+v", all.Rules)
	}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}
	for _, o := range []client.Object{
		everywhere, here,
		&rbacv1.ClusterRoleBinding{ObjectMeta: everywhere.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subjects},
		&rbacv1.RoleBinding{ObjectMeta: here.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: subjects},
	} {
		if err := c.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	narrowed := rest.CopyConfig(environment.operator)
	narrowed.Impersonate.UserName = name
	return narrowed
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
