package controllers

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// afterStep is the pause after a step: what it changed shows within it.
	afterStep = 100 * time.Millisecond
	// whileWaiting is the pause while something is under way that no watch or stream tells of. What has gone on for long is looked for less often: its pause
	// is the part oneOf of the time in which nothing has shown, up to whileStalled.
	whileWaiting = time.Second
	oneOf        = 10
	// whileStalled is the pause while a person has to decide: objects of others are not watched.
	whileStalled = 15 * time.Second
	// maxConcurrentReconciles bounds the clusters that are worked on at one time. Mostly they wait for answers: of the API server, and of nodes that have
	// just fallen silent, which take up to two seconds each.
	maxConcurrentReconciles = 32
	// minRetry and maxRetry bound the pause after a reconcile that failed, which doubles each time: who was refused for an hour is looked at again as soon as
	// one who was refused for a minute.
	minRetry = 50 * time.Millisecond
	maxRetry = whileStalled
	// reconcileTimeout bounds a reconcile, in which no single request has a deadline of its own.
	reconcileTimeout = 2 * time.Minute
)

// Reconciler brings RaftClusters to what their specs ask for.
type Reconciler struct {
	// Client reads from the watches' cache and writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Recorder makes the events.
	Recorder events.EventRecorder
	// Nodes reaches the nodes.
	Nodes *nodes.Watcher
	// DefaultImage is the node image of new clusters that name none.
	DefaultImage string
	// NewID draws a random, non-zero cluster ID; NewToken a random admin token. NewReconciler sets both.
	NewID    func() uint64
	NewToken func() string
	// Now is the clock against which pods are overdue. Uptime is how long the operator has run, which no clock that is set changes.
	Now    func() time.Time
	Uptime func() time.Duration

	// woken is where clusters go whose nodes have news.
	woken waker
	// tokens are the admin tokens that were seen, by the RaftClusters' names.
	tokens sync.Map
	// reports is what was reported last, by the RaftClusters' names. Each is worked on by one at a time.
	reports sync.Map
	// made are the children that admission changes.
	made made
	// watched is what this operator has seen go on.
	watched watched
	// events are what was last read of them.
	events *eventReads
}

// NewReconciler makes a Reconciler that reaches nodes by dial.
func NewReconciler(c client.Client, live client.Reader, recorder events.EventRecorder, dial nodes.Dial, defaultImage string) *Reconciler {
	began := time.Now()
	r := &Reconciler{
		Client: c, Live: live, Recorder: conciseRecorder{recorder}, DefaultImage: defaultImage,
		NewID: randomID, NewToken: rand.Text, Now: time.Now, Uptime: func() time.Duration { return time.Since(began) },
		events: newEventReads(),
	}
	r.Nodes = nodes.NewWatcher(dial, r.woken.wake)
	return r
}

// randomID draws an ID that is not zero, which means none.
func randomID() uint64 {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it never fails: see crypto/rand
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}

func (r *Reconciler) now() time.Time { return r.Now() }

// SetupWithManager registers the watches.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	if err := errors.Join(m.Add(r.Nodes), m.Add(manager.RunnableFunc(leads))); err != nil {
		return err
	}
	byLabel := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[resources.LabelInstance]
		if name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
	})
	return ctrl.NewControllerManagedBy(m).
		Named("raftcluster").
		For(&v1.RaftCluster{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&policyv1.PodDisruptionBudget{}).
		Owns(&networkingv1.NetworkPolicy{}).
		Watches(&corev1.Pod{}, byLabel).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel).
		WatchesRawSource(source.Func(r.woken.attach)).
		WithOptions(options()).
		Complete(r)
}

func options() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: maxConcurrentReconciles,
		ReconciliationTimeout:   reconcileTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
	}
}

// Reconcile observes, plans, acts and reports. It waits for nothing.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	s, err := r.observe(ctx, req.NamespacedName, cached, nil)
	if gone(s, err) {
		r.Nodes.Follow(req.NamespacedName, nil)
		r.reports.LoadAndDelete(req.NamespacedName)
		r.tokens.LoadAndDelete(req.NamespacedName)
		r.watched.forget(req.NamespacedName)
		forgetMetrics(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if u := (*unreadable)(nil); errors.As(err, &u) {
		return r.tellUnreadable(ctx, u)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	d := plan.Plan(&s.observation)

	// The leader's Service must not wait for anything else. What keeps a pod from being labelled keeps nobody from hearing who leads, but nothing else is done then.
	labelErr := r.labelPods(ctx, s, &d)
	if s, d, err = r.deepen(ctx, req.NamespacedName, s, d); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: afterStep}, nil
	}
	if err != nil || gone(s, err) {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if d, err = r.findBudget(ctx, s, d); err != nil {
		return reconcile.Result{}, err
	}
	before := s.cluster.Status.DeepCopy()
	if labelErr == nil {
		labelErr = r.labelPods(ctx, s, &d)
	}
	applyErr := labelErr
	if applyErr == nil {
		applyErr = r.applyChildren(ctx, s, &d)
	}
	if applyErr == nil {
		var stays *plan.Reason
		stays, applyErr = r.growClaims(ctx, s, &d)
		s.beside(stays)
	}
	var result outcome
	var actErr error
	if applyErr == nil {
		result, actErr = r.act(ctx, s, &d)
	}
	s.denied(cmp.Or(applyErr, actErr))
	unsaid, reportErr := r.report(ctx, s, &d, before, result)
	for _, err := range []error{applyErr, actErr, reportErr} {
		if err != nil && !apierrors.IsConflict(err) {
			return reconcile.Result{}, err
		}
		if err != nil {
			return reconcile.Result{RequeueAfter: afterStep, Priority: priority(result)}, nil
		}
	}
	waited := r.now().Sub(lastSign(s, r.lastReport(req.NamespacedName).stepped))
	again := pause(s, &d, result, waited)
	if unsaid > 0 && (again == 0 || again > unsaid) {
		again = unsaid
	}
	return reconcile.Result{RequeueAfter: again, Priority: priority(result)}, nil
}

// gone tells that there is nothing to do for the cluster any more. Its children go with it, by their owner references.
func gone(s *snapshot, err error) bool {
	return apierrors.IsNotFound(err) || (err == nil && s.cluster.DeletionTimestamp != nil)
}

// deepen observes and plans again on fresher knowledge where the first look is not enough: progress is not streamed, and
// what is grave needs a live read of everything (a step that is still risky then was planned on one). Nor is it where a person is waited for and no leader was heard:
// an operator that has just begun has not had an answer of any node yet.
func (r *Reconciler) deepen(ctx context.Context, key types.NamespacedName, s *snapshot, d plan.Decision) (*snapshot, plan.Decision, error) {
	if d.Step == nil && d.Waiting == nil && (d.Stalled == nil || d.View != nil) && !grave(s, &d) {
		return s, d, nil
	}
	if err := r.reportSigns(ctx, s, &d); err != nil {
		return nil, d, err
	}
	for _, depth := range []depth{asked, live} {
		if depth == live && !grave(s, &d) {
			break
		}
		var err error
		if s, err = r.observe(ctx, key, depth, s); err != nil {
			return nil, d, err
		}
		d = plan.Plan(&s.observation)
	}
	return s, d, nil
}

// grave tells that a stale cache might cost data: a risky step, and what hangs on more than the nodes say. Before a recovery is forgotten the node that was asked
// for it has to say once more that it has not begun, and a claim that is not bound in the cache may be by now. A cluster is adopted when no claim is left that may
// hold another. One that was at rest is awake when the StatefulSet has all of its pods. And claims may go with pods that are scaled away only if these go for good.
func grave(s *snapshot, d *plan.Decision) bool {
	return d.Step != nil && d.Step.Risky() || d.ForgetRecovery || d.Adopt != 0 || d.Awake || dropsClaims(s)
}

func pause(s *snapshot, d *plan.Decision, result outcome, waited time.Duration) time.Duration {
	switch {
	case result == done || d.Adopt != 0 || d.ForgetRecovery || d.Awake:
		return afterStep
	case d.Stalled != nil:
		return whileStalled
	case result == deferred:
		return whileWaiting
	case d.Waiting != nil:
		return min(max(waited/oneOf, whileWaiting), whileStalled)
	case s.besides != nil:
		return whileStalled
	}
	return 0
}

// lastSign is when Kubernetes or the status last showed that the cluster got on: since then it has not been ready, and no pod was made, ended, or changed
// whether it is ready. Nor did this operator take a step, since stepped.
func lastSign(s *snapshot, stepped time.Time) time.Time {
	last := stepped
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	later(s.cluster.CreationTimestamp.Time)
	for _, c := range s.cluster.Status.Conditions {
		later(c.LastTransitionTime.Time)
	}
	for i := range s.pods {
		p := &s.pods[i]
		later(p.CreationTimestamp.Time)
		if p.DeletionTimestamp != nil {
			later(p.DeletionTimestamp.Time)
		}
		for _, c := range p.Status.Conditions {
			later(c.LastTransitionTime.Time)
		}
	}
	return last
}
