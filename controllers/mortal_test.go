package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	g := newGeneration(s)
	until := g.until
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
	g.diedAfter("apply PodDisruptionBudget", "apply Service", "apply ServiceAccount", "apply StatefulSet", "create Secret", "create eviction",
		"delete PodDisruptionBudget", "node: add-learner", "node: bootstrap", "node: promote", "node: remove", "node: transfer",
		"patch Pod", "patch StatefulSet", "update status")
}

// TestOperatorThatDiesAtEveryEffectOfRareSteps does the same with what a cluster seldom needs: a NetworkPolicy, larger volumes, rest, a new
// volume, and the loss of its quorum.
func TestOperatorThatDiesAtEveryEffectOfRareSteps(t *testing.T) {
	s := newStory(t, 22)
	g := newGeneration(s)
	s.apply("spec: {replicas: 4, networkPolicy: {enabled: true}, replacement: {unreachableAfter: 1h}, storage: {size: 1Gi, storageClassName: " +
		storageClass(t, s.c, "mortal", true) + ", retentionPolicy: {whenScaled: Delete}}}")
	g.until("ready", asSpecified)
	s.change(`{"spec":{"networkPolicy":null,"storage":{"size":"2Gi"}}}`)
	g.until("grown", func(c *v1.RaftCluster) bool {
		var set appsv1.StatefulSet
		err := s.c.Get(context.Background(), s.key, &set)
		return err == nil && asSpecified(c) && set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() == "2Gi"
	})
	s.change(`{"spec":{"hibernate":true}}`)
	g.until("at rest", func(c *v1.RaftCluster) bool { return is(c, v1.ConditionHibernated) })
	s.change(`{"spec":{"hibernate":false}}`)
	g.until("back", asSpecified)
	var p corev1.Pod
	s.get("demo-1", &p)
	s.g.fail(p.Status.PodIP)
	g.later = 24 * time.Hour
	g.until("replaced", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.k.volumes["demo-1"] == 2 })
	g.later = 0
	old := s.cluster().Status.ClusterID
	s.wipe("demo-0", "demo-2")
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true}}}`, old))
	g.until("rebuilt", func(c *v1.RaftCluster) bool { return c.Status.ClusterID != old && asSpecified(c) })
	if s.g.bootstraps != 1 || s.g.refounds != 1 || len(s.g.membership.Voters()) != 4 {
		t.Errorf("bootstrapped %d times, rebuilt %d times, voters %v", s.g.bootstraps, s.g.refounds, s.g.membership.Voters())
	}
	g.diedAfter("apply NetworkPolicy", "delete NetworkPolicy", "patch PersistentVolumeClaim", "delete StatefulSet", "delete PersistentVolumeClaim",
		"delete Pod", "node: refound", "node: abandon")
}

// generation is a row of mortal operators.
type generation struct {
	s             *story
	operator      client.WithWatch
	after, before map[string]int
	lives         int
	// later is by how much their clocks are ahead.
	later time.Duration
}

func newGeneration(s *story) *generation {
	s.t.Helper()
	operator, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		s.t.Fatal(err)
	}
	g := &generation{s: s, operator: operator, after: map[string]int{}, before: map[string]int{}}
	g.next()
	return g
}

func (g *generation) next() {
	g.lives++
	g.s.mortal = &mortal{died: g.after}
	if g.lives%3 == 0 {
		g.s.mortal = &mortal{before: true, died: g.before}
	}
	g.s.r.Nodes.Follow(g.s.key, nil)
	c := g.s.mortal.client(g.operator)
	g.s.r = NewReconciler(c, c, g.s.events, g.s.mortal.dial(g.s.g), "raftkv/node:default")
	g.s.later(g.later)
}

func (g *generation) until(what string, f func(c *v1.RaftCluster) bool) {
	g.s.t.Helper()
	g.s.until(what, func(c *v1.RaftCluster) bool {
		g.next() // the one that has just reconciled is dead if it did anything
		return f(c)
	})
}

// diedAfter checks that an operator died after each of these effects.
func (g *generation) diedAfter(effects ...string) {
	g.s.t.Helper()
	for _, effect := range effects {
		if g.after[effect] == 0 {
			g.s.t.Errorf("no operator died after %q; those that did: %v", effect, slices.Sorted(maps.Keys(g.after)))
		}
	}
	g.s.t.Logf("%d lives; died after %v; before %v", g.lives, g.after, g.before)
}

// reconcileOnce lets one operator run until it ends or dies.
func (s *story) reconcileOnce() {
	s.t.Helper()
	_, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key})
	if err != nil && !s.mortal.dead {
		s.t.Fatal(err)
	}
}
