package controllers

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/server/admin"
)

var errDead = errors.New("the operator was killed")

// mortal stands between an operator and the world, and kills it at an effect: a write to the API server or a call that
// changes something at a node. What it would do after that does not happen. It dies at each effect first before it, then right after it and without
// the answer.
type mortal struct {
	t    *testing.T
	dead bool
	// points are the effects of the operator's code, by where they are.
	points *failpoints
	// patience is how often it looks again that has had nothing to do.
	patience int
}

func (m *mortal) effect(f func() error) error {
	if m.dead {
		return errDead
	}
	p := m.points.caller(m.t)
	if m.points.goesOn(p) {
		if err := f(); err != nil {
			return err
		}
		m.points.diedAfter(p)
	}
	m.dead = true
	return errDead
}

func (m *mortal) client(c client.WithWatch) client.Client {
	return interceptor.NewClient(c, m.interceptor())
}

// interceptor has a function for everything that a client can do.
func (m *mortal) interceptor() interceptor.Funcs {
	read := func(f func() error) error {
		if m.dead {
			return errDead
		}
		return f()
	}
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return read(func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return read(func() error { return c.List(ctx, list, opts...) })
		},
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return nil, errors.New("the reconcile loop watches nothing by itself")
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return m.effect(func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return m.effect(func() error { return c.Delete(ctx, o, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteAllOfOption) error {
			return m.effect(func() error { return c.DeleteAllOf(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return m.effect(func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return m.effect(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, a runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return m.effect(func() error { return c.Apply(ctx, a, opts...) })
		},
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, o, s client.Object, opts ...client.SubResourceGetOption) error {
			return read(func() error { return c.SubResource(sub).Get(ctx, o, s, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, s client.Object, opts ...client.SubResourceCreateOption) error {
			return m.effect(func() error { return c.SubResource(sub).Create(ctx, o, s, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			return m.effect(func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return m.effect(func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, a runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return m.effect(func() error { return c.SubResource(sub).Apply(ctx, a, opts...) })
		},
	}
}

// reading are the calls of a node that change nothing.
var reading = map[string]bool{"Status": true, "WaitStatus": true}

// dial has every call that changes something at a node go through effect, whichever calls there are.
func (m *mortal) dial(g *group) func(address, token string) (admin.Service, func(), error) {
	return func(address, token string) (admin.Service, func(), error) {
		s, closeConn, err := g.dial(address, token)
		of := reflect.ValueOf(&s).Elem()
		for i := range of.NumField() {
			if reading[of.Type().Field(i).Name] || of.Field(i).IsNil() {
				continue
			}
			call := reflect.ValueOf(of.Field(i).Interface())
			of.Field(i).Set(reflect.MakeFunc(call.Type(), func(args []reflect.Value) []reflect.Value {
				out := []reflect.Value{reflect.Zero(call.Type().Out(0)), reflect.Zero(call.Type().Out(1))}
				err := m.effect(func() error {
					out = call.Call(args)
					err, _ := out[1].Interface().(error)
					return err
				})
				if err != nil {
					out[1] = reflect.ValueOf(&err).Elem()
				}
				return out
			}))
		}
		return s, closeConn, err
	}
}

// TestOperatorThatDiesAtEveryEffect takes clusters through their lives with operators none of which outlives its first effect:
// they die before it, or right after it, so that whatever comes next in a reconcile never happens. Whatever effect there is in the operator's code, one has
// died before it and one after it when all is told.
func TestOperatorThatDiesAtEveryEffect(t *testing.T) {
	apiServer(t)
	points := newFailpoints(t)
	t.Cleanup(func() { points.allDied(t) }) // once the stories, which run side by side, have been told
	for name, story := range map[string]func(*generation){
		"from one to five and back": growAndShrink,
		"what is rare":              rareSteps,
		"a failed update":           failedUpdateAndWayBack,
		"a lost machine":            lostMachine,
		"begun empty":               beginEmpty,
		"a pod is not made":         overlookedPod,
	} {
		t.Run(name, func(t *testing.T) { story(newGeneration(newStory(t, 21), points)) })
	}
}

func growAndShrink(g *generation) {
	s := g.s
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	g.until("ready", asSpecified)
	s.change(`{"spec":{"podTemplate":{"annotations":{"a":"b"}}}}`)
	g.until("updated", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && len(s.g.membership.Voters()) == 3 && s.annotated("a")
	})
	s.change(`{"spec":{"replicas":5}}`)
	g.until("grown", func(c *v1.RaftCluster) bool { return asSpecified(c) && len(s.g.membership.Voters()) == 5 })
	unlock := s.g.lock()
	for _, n := range s.g.nodes {
		if n.name == "demo-2" {
			n.incarnation = 0xabcdef
		}
	}
	unlock()
	g.until("replaced", func(c *v1.RaftCluster) bool {
		_, replaced := s.g.membership.FindIncarnation(0xabcdef)
		return replaced && asSpecified(c)
	})
	s.change(`{"spec":{"replicas":1}}`)
	g.until("shrunk", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.Replicas == 1 })
	g.until("without a budget, which would block each drain", func(*v1.RaftCluster) bool {
		var budget policyv1.PodDisruptionBudget
		return apierrors.IsNotFound(s.c.Get(context.Background(), s.key, &budget))
	})
	g.founded(1, 0)
}

// rareSteps has what a cluster seldom needs: a NetworkPolicy, larger volumes, rest, a new volume, and the loss of its quorum.
func rareSteps(g *generation) {
	s := g.s
	s.apply("spec: {replicas: 4, networkPolicy: {enabled: true}, replacement: {unreachableAfter: 1h}, storage: {size: 1Gi, storageClassName: " +
		storageClass(s.t, s.c, "mortal", true) + ", retentionPolicy: {whenScaled: Delete, whenDeleted: Delete}}}")
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
	g.until("replaced", func(c *v1.RaftCluster) bool {
		// What the status says may be from before.
		m, joined := s.g.membership.FindIncarnation(s.k.incarnation("demo-1"))
		return asSpecified(c) && s.k.volumes["demo-1"] == 2 && joined && !m.Learner && len(s.g.membership.Members) == 4
	})
	g.later = 0
	old := s.cluster().Status.ClusterID
	s.wipe("demo-0", "demo-2")
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true}}}`, old))
	g.until("rebuilt", func(c *v1.RaftCluster) bool { return c.Status.ClusterID != old && asSpecified(c) })
	g.founded(1, 1)
	if n := len(s.g.membership.Voters()); n != 4 {
		s.t.Errorf("%d voters", n)
	}
}

// failedUpdateAndWayBack has a template that makes no pod ready, which is put back, and kept out while the cluster shrinks and loses its StatefulSet.
func failedUpdateAndWayBack(g *generation) {
	s := g.s
	s.k.bad = func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "bad" }
	s.apply("spec: {replicas: 4, image: good, storage: {size: 1Gi, retentionPolicy: {whenScaled: Delete}}, updateStrategy: {progressDeadline: 30s}}")
	g.until("ready", asSpecified)
	s.change(`{"spec":{"image":"bad"}}`)
	g.until("begun", func(*v1.RaftCluster) bool { return s.images() == "good good good bad" })
	g.later = time.Minute
	g.until("stalled", func(c *v1.RaftCluster) bool {
		return s.stalled(plan.ReasonUpdateFailed)(c) && c.Status.HeldTemplate != ""
	})
	g.later = 0
	if err := s.c.Delete(context.Background(), s.workload(), client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		s.t.Fatal(err)
	}
	// While it is held back, the claims' retention policy is all of the StatefulSet that changes.
	s.change(`{"spec":{"replicas":3}}`)
	g.until("shrunk", func(c *v1.RaftCluster) bool {
		return s.stalled(plan.ReasonUpdateFailed)(c) && c.Status.Replicas == 3 && len(s.g.membership.Voters()) == 3 &&
			s.workloadImage() == "good" && s.policy() == keepAll
	})
	s.change(`{"spec":{"image":"good"}}`)
	g.until("back", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && s.images() == "good good good" && c.Status.HeldTemplate == ""
	})
	g.founded(1, 0)
}

// lostMachine has a pod that cannot end, and a claim and a pod that lost their labels.
func lostMachine(g *generation) {
	s := g.s
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	g.until("ready", asSpecified)
	s.k.machine = "gone"
	s.deletePod("demo-1", 0)
	g.until("on the machine", func(c *v1.RaftCluster) bool {
		var p corev1.Pod
		return asSpecified(c) && s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: "demo-1"}, &p) == nil && p.Spec.NodeName == "gone"
	})
	s.k.machine = ""
	var p corev1.Pod
	s.get("demo-1", &p)
	s.g.fail(p.Status.PodIP)
	s.deletePod("demo-1", 1)
	s.unlabel("data-demo-2", &corev1.PersistentVolumeClaim{})
	for _, port := range []int32{1, 2} {
		var service corev1.Service
		s.get("demo", &service)
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "mine", Port: port})
		if err := s.c.Update(context.Background(), &service); err != nil {
			s.t.Fatal(err)
		}
		g.until("put right", func(*v1.RaftCluster) bool {
			s.get("demo", &service)
			return len(service.Spec.Ports) == 1
		})
	}
	g.later = time.Hour
	uid := p.UID
	g.until("elsewhere", func(c *v1.RaftCluster) bool {
		var p corev1.Pod
		return asSpecified(c) && s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: "demo-1"}, &p) == nil && p.UID != uid
	})
	g.founded(1, 0)
}

// beginEmpty has a cluster of which nothing is left.
func beginEmpty(g *generation) {
	s := g.s
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	g.until("ready", asSpecified)
	old := s.cluster().Status.ClusterID
	s.wipe("demo-0")
	s.change(fmt.Sprintf(`{"spec":{"recovery":{"clusterID":%q,"acknowledgeDataLoss":true,"startEmpty":true}}}`, old))
	g.until("anew", func(c *v1.RaftCluster) bool { return c.Status.ClusterID != old && asSpecified(c) })
	g.founded(2, 0)
}

// overlookedPod has a pod that Kubernetes does not make until it is asked for again.
func overlookedPod(g *generation) {
	s := g.s
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	g.until("ready", asSpecified)
	s.k.overlooked = "demo-1"
	s.deletePod("demo-1", 0)
	g.later = time.Hour
	g.until("made", func(c *v1.RaftCluster) bool {
		err := s.c.Get(context.Background(), client.ObjectKey{Namespace: s.key.Namespace, Name: "demo-1"}, &corev1.Pod{})
		return err == nil && asSpecified(c)
	})
	g.founded(1, 0)
}

// generation is a row of mortal operators.
type generation struct {
	s        *story
	operator client.WithWatch
	points   *failpoints
	// later is by how much their clocks are ahead.
	later time.Duration
}

func newGeneration(s *story, points *failpoints) *generation {
	s.t.Helper()
	operator, err := client.NewWithWatch(environment.operator, client.Options{Scheme: s.c.Scheme()})
	if err != nil {
		s.t.Fatal(err)
	}
	g := &generation{s: s, operator: operator, points: points}
	g.next()
	return g
}

func (g *generation) next() {
	g.s.mortal = &mortal{t: g.s.t, points: g.points}
	g.s.r.Nodes.Follow(g.s.key, nil)
	c := g.s.mortal.client(g.operator)
	g.s.r = NewReconciler(c, c, g.s.events, g.s.mortal.dial(g.s.g), "raftkv/node:default")
	g.s.leap(g.later)
	// None lives for long, and what has to be watched for long is watched in no time.
	ran := time.Duration(0)
	g.s.r.Uptime = func() time.Duration { ran += g.later; return ran }
	if g.later > 0 {
		g.s.mortal.patience = 1
	}
}

func (g *generation) until(what string, f func(c *v1.RaftCluster) bool) {
	g.s.t.Helper()
	g.s.until(what, func(c *v1.RaftCluster) bool {
		g.next() // the one that has just reconciled is dead if it did anything
		return f(c)
	})
}

// founded checks how often the cluster was founded, and rebuilt.
func (g *generation) founded(bootstraps, refounds int) {
	g.s.t.Helper()
	if g.s.g.bootstraps != bootstraps || g.s.g.refounds != refounds {
		g.s.t.Errorf("founded %d times, rebuilt %d times", g.s.g.bootstraps, g.s.g.refounds)
	}
	g.points.addSteps(measured(g.s.t, g.s.key.Namespace))
}

// reconcileOnce lets one operator run until it ends or dies. One that is to see that time goes by looks twice: before the nodes have first answered it sees nothing.
func (s *story) reconcileOnce() {
	s.t.Helper()
	for range 1 + s.mortal.patience {
		_, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key})
		if err != nil && !s.mortal.dead {
			s.t.Fatal(err)
		}
		if s.mortal.dead {
			return
		}
	}
}
