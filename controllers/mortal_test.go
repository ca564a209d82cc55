package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/server/admin"
)

var errDead = errors.New("the operator was killed")

// mortal stands between an operator and the world, and kills it at an effect: a write to the API server or a call that
// changes something at a node. What it would do after that does not happen.
type mortal struct {
	// before says whether it dies before the effect, or right after it and without the answer.
	before bool
	dead   bool
	// died counts the deaths by the effect at which they were.
	died map[string]int
}

func (m *mortal) effect(name string, f func() error) error {
	if m.dead {
		return errDead
	}
	if !m.before {
		if err := f(); err != nil {
			return err
		}
	}
	m.dead = true
	m.died[name]++
	return errDead
}

// kind is the name of what an effect is done to.
func kind(scheme *runtime.Scheme, o runtime.Object) string {
	if k := o.GetObjectKind().GroupVersionKind().Kind; k != "" {
		return k
	}
	kinds, _, err := scheme.ObjectKinds(o)
	if err != nil || len(kinds) == 0 {
		return fmt.Sprintf("%T", o)
	}
	return kinds[0].Kind
}

func (m *mortal) client(c client.WithWatch) client.Client {
	of := func(verb string, o runtime.Object) string { return verb + " " + kind(c.Scheme(), o) }
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if m.dead {
				return errDead
			}
			return c.Get(ctx, key, o, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return m.effect(of("create", o), func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return m.effect(of("delete", o), func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return m.effect(of("patch", o), func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, a runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			name := "apply"
			if o, ok := a.(interface{ GetKind() string }); ok {
				name += " " + o.GetKind()
			}
			return m.effect(name, func() error { return c.Apply(ctx, a, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, s client.Object, opts ...client.SubResourceCreateOption) error {
			return m.effect("create "+sub, func() error { return c.SubResource(sub).Create(ctx, o, s, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			return m.effect("update "+sub, func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
	})
}

func (m *mortal) dial(g *group) func(address, token string) (admin.Service, func(), error) {
	return func(address, token string) (admin.Service, func(), error) {
		s, closeConn, err := g.dial(address, token)
		mortalService := s
		mortalService.Bootstrap = func(ctx context.Context, r *admin.BootstrapRequest) (out *admin.Status, err error) {
			err = m.effect("node: bootstrap", func() error { out, err = s.Bootstrap(ctx, r); return err })
			return out, err
		}
		mortalService.ChangeMembership = func(ctx context.Context, r *admin.ChangeRequest) (out *admin.ChangeResponse, err error) {
			err = m.effect("node: "+r.Changes[0].Kind.String(), func() error { out, err = s.ChangeMembership(ctx, r); return err })
			return out, err
		}
		mortalService.Refound = func(ctx context.Context, r *admin.RefoundRequest) (out *admin.Status, err error) {
			err = m.effect("node: refound", func() error { out, err = s.Refound(ctx, r); return err })
			return out, err
		}
		mortalService.Abandon = func(ctx context.Context, r *admin.AbandonRequest) (out *admin.Status, err error) {
			err = m.effect("node: abandon", func() error { out, err = s.Abandon(ctx, r); return err })
			return out, err
		}
		mortalService.TransferLeadership = func(ctx context.Context, r *admin.TransferRequest) (out *admin.TransferResponse, err error) {
			err = m.effect("node: transfer", func() error { out, err = s.TransferLeadership(ctx, r); return err })
			return out, err
		}
		return mortalService, closeConn, err
	}
}

// TestOperatorThatDiesAtEveryEffect takes a cluster through its life with operators none of which outlives its first effect:
// they die right after it, so that whatever comes next in a reconcile never happens, or, every other one, before it.
func TestOperatorThatDiesAtEveryEffect(t *testing.T) {
	s := newStory(t, 21)
	operator, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	after, before, lives := map[string]int{}, map[string]int{}, 0
	live := func() {
		lives++
		s.mortal = &mortal{died: after}
		if lives%3 == 0 {
			s.mortal = &mortal{before: true, died: before}
		}
		s.r.Nodes.Follow(s.key, nil)
		c := s.mortal.client(operator)
		s.r = NewReconciler(c, c, s.events, s.mortal.dial(s.g), "raftkv/node:default")
	}
	until := func(what string, f func(c *v1.RaftCluster) bool) {
		t.Helper()
		s.until(what, func(c *v1.RaftCluster) bool {
			live() // the one that has just reconciled is dead if it did anything
			return f(c)
		})
	}
	live()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	until("ready", asSpecified)
	s.change(`{"spec":{"podTemplate":{"annotations":{"a":"b"}}}}`)
	until("updated", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && len(s.g.membership.Voters()) == 3 && s.annotated("a")
	})
	s.change(`{"spec":{"replicas":5}}`)
	until("grown", func(c *v1.RaftCluster) bool { return asSpecified(c) && len(s.g.membership.Voters()) == 5 })
	unlock := s.g.lock()
	for _, n := range s.g.nodes {
		if n.name == "demo-2" {
			n.incarnation = 0xabcdef
		}
	}
	unlock()
	until("replaced", func(c *v1.RaftCluster) bool {
		_, replaced := s.g.membership.FindIncarnation(0xabcdef)
		return replaced && asSpecified(c)
	})
	s.change(`{"spec":{"replicas":1}}`)
	until("shrunk", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.Replicas == 1 })
	if s.g.bootstraps != 1 {
		t.Errorf("bootstrapped %d times", s.g.bootstraps)
	}
	// Every kind of effect that the operator has, but those that this life gives no cause for.
	want := []string{
		"apply PodDisruptionBudget", "apply Service", "apply ServiceAccount", "apply StatefulSet", "create Secret", "create eviction",
		"delete PodDisruptionBudget", "node: add-learner", "node: bootstrap", "node: promote", "node: remove", "node: transfer",
		"patch Pod", "patch StatefulSet", "update status",
	}
	for _, effect := range want {
		if after[effect] == 0 {
			t.Errorf("no operator died after %q; those that did: %v", effect, slices.Sorted(maps.Keys(after)))
		}
	}
	t.Logf("%d lives; died after %v; before %v", lives, after, before)
}

// reconcileOnce lets one operator run until it ends or dies.
func (s *story) reconcileOnce() {
	s.t.Helper()
	_, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key})
	if err != nil && !s.mortal.dead {
		s.t.Fatal(err)
	}
}
