package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// depth is how fresh an observation has to be.
type depth int

const (
	// cached takes what the watches and streams brought.
	cached depth = iota
	// asked reads the nodes anew: health and progress do not travel in the streams.
	asked
	// live reads Kubernetes anew, too. Risky steps are planned on nothing less.
	live
)

// snapshot is one observation: what the plan sees of it, and the objects that acting and reporting need.
type snapshot struct {
	cluster     *v1.RaftCluster
	depth       depth
	image       string
	token       string
	noToken     bool // the Secret that holds it is not there, or not whole
	statefulSet *appsv1.StatefulSet
	pods        []corev1.Pod
	claims      []corev1.PersistentVolumeClaim
	children    []child
	workload    child
	budget      *policyv1.PodDisruptionBudget
	policy      *networkingv1.NetworkPolicy
	observation plan.Observation
	// gone are the pods that are gone, silent those that do not answer, and for how long this operator has watched them being so; unled is for how long it has
	// watched the cluster being without a leader.
	gone, silent map[types.UID]time.Duration
	unled        time.Duration
	// foreign says that a pod which nobody asks for holds data of another cluster.
	foreign bool
	// strayed are pods and claims of the cluster that lack its labels.
	strayed []client.Object
	// ownerSeen says that a live read has shown the RaftCluster to be there as it was read.
	ownerSeen bool
	// besides is what waits for a person and keeps nothing else from going on: volumes that cannot grow, what Kubernetes does not take of the spec.
	besides *plan.Reason
	// finished is one more than the highest ordinal of the pods that have ended and are there still; zero if there are none.
	finished int
	// unasked says that a node was not heard only since no call to it has ended yet.
	unasked bool
	// news is closed as soon as a node says what this does not know of.
	news <-chan struct{}
	// applied says that the StatefulSet is as the spec asks.
	applied bool
}

func (s *snapshot) pod(name string) *corev1.Pod {
	for i := range s.pods {
		if s.pods[i].Name == name {
			return &s.pods[i]
		}
	}
	return nil
}

func (s *snapshot) claimOf(ordinal int) *corev1.PersistentVolumeClaim {
	for i := range s.claims {
		if n, _ := claimOrdinal(s.cluster.Name, s.claims[i].Name); n == ordinal {
			return &s.claims[i]
		}
	}
	return nil
}

// observe gathers what is known of the cluster; seen is what has been observed before of it in this round, if anything. The error is NotFound if the RaftCluster is no more.
func (r *Reconciler) observe(ctx context.Context, key types.NamespacedName, d depth, seen *snapshot) (*snapshot, error) {
	reader := client.Reader(r.Client)
	if d == live {
		reader = r.Live
	}
	s := &snapshot{cluster: &v1.RaftCluster{}, depth: d}
	if err := reader.Get(ctx, key, s.cluster); err != nil {
		return nil, err
	}
	if err := r.observeObjects(ctx, reader, s); err != nil {
		return nil, err
	}
	if err := r.observeToken(ctx, s); err != nil {
		return nil, err
	}
	answers := r.observeNodes(ctx, key, s, d, seen)
	for _, a := range answers {
		s.unasked = s.unasked || errors.Is(a.Err, nodes.ErrNotAsked)
	}
	uptime := r.Uptime()
	s.gone = r.watched.gone.keep(key, gonePods(s.cluster, s.pods, answers), uptime)
	s.silent = r.watched.silent.keep(key, silentPods(s.pods, answers), uptime)
	s.unled = r.watched.unled.keep(key, unled(s.cluster, answers), uptime)[s.cluster.UID]

	o := &s.observation
	o.Cluster, o.Namespace = s.cluster.Name, s.cluster.Namespace
	o.Desired = int(desiredReplicas(s.cluster))
	o.Paused = s.cluster.Spec.UpdateStrategy.Paused
	o.NewClusterID = raft.ClusterID(r.NewID())
	o.Hibernate = s.cluster.Spec.Hibernate
	o.Good, o.Leaderless = s.cluster.Status.GoodRevision, s.unled > electionPatience
	if err := errors.Join(recordedIdentity(s.cluster, o), recordedRecovery(s.cluster, o)); err != nil {
		return nil, &unreadable{s.cluster, err}
	}
	s.foreign = holdsForeign(s, answers)
	if err := r.observeChildren(ctx, reader, s); err != nil {
		return nil, err
	}
	if err := errors.Join(r.observeStrayPods(ctx, s, d), r.observeStrayClaims(ctx, s)); err != nil {
		return nil, err
	}
	for i := range s.pods {
		p, err := r.observePod(ctx, s, &s.pods[i], answers, d)
		if err != nil {
			return nil, err
		}
		o.Pods = append(o.Pods, p)
	}
	for i := range s.claims {
		c := &s.claims[i]
		ordinal, _ := claimOrdinal(o.Cluster, c.Name)
		o.Claims = append(o.Claims, planClaim(s.cluster, c, ordinal))
	}
	if d != cached {
		if err := r.observeTrouble(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, r.observeGood(ctx, s)
}

func desiredReplicas(c *v1.RaftCluster) int32 {
	if c.Spec.Replicas == nil {
		return defaultReplicas
	}
	return *c.Spec.Replicas
}

// defaultReplicas is the CRD's default; it matters for objects that were stored before the field had one.
const defaultReplicas = 3

// observeObjects lists pods and claims by their labels, and keeps those whose names are the StatefulSet's.
func (r *Reconciler) observeObjects(ctx context.Context, reader client.Reader, s *snapshot) error {
	of := []client.ListOption{client.InNamespace(s.cluster.Namespace), client.MatchingLabels(resources.SelectorLabels(s.cluster.Name))}
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, of...); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		switch ordinal, ok := resources.Ordinal(s.cluster.Name, pods.Items[i].Name); {
		case !ok:
		case finished(&pods.Items[i]):
			s.finished = max(s.finished, ordinal+1)
		default:
			s.pods = append(s.pods, pods.Items[i])
		}
	}
	slices.SortFunc(s.pods, func(a, b corev1.Pod) int { return podOrdinal(s, &a) - podOrdinal(s, &b) })

	var claims corev1.PersistentVolumeClaimList
	if err := reader.List(ctx, &claims, of...); err != nil {
		return fmt.Errorf("list claims: %w", err)
	}
	for i := range claims.Items {
		if _, ok := claimOrdinal(s.cluster.Name, claims.Items[i].Name); ok {
			s.claims = append(s.claims, claims.Items[i])
		}
	}
	slices.SortFunc(s.claims, func(a, b corev1.PersistentVolumeClaim) int {
		x, _ := claimOrdinal(s.cluster.Name, a.Name)
		y, _ := claimOrdinal(s.cluster.Name, b.Name)
		return x - y
	})
	return nil
}

// finished pods are replaced by the StatefulSet controller and have no process any more.
func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func podOrdinal(s *snapshot, p *corev1.Pod) int {
	n, _ := resources.Ordinal(s.cluster.Name, p.Name)
	return n
}

func claimOrdinal(cluster, claim string) (int, bool) {
	return resources.Ordinal(resources.DataVolume+"-"+cluster, claim)
}

// observeNodes follows the nodes of the pods that have an address, and gives their answers. Who asks them anew waits no longer for those that are slow to answer when there is news
// which was not there to be seen before.
func (r *Reconciler) observeNodes(ctx context.Context, key types.NamespacedName, s *snapshot, d depth, seen *snapshot) map[types.UID]nodes.Answer {
	var targets []nodes.Target
	for i := range s.pods {
		p := &s.pods[i]
		if p.Status.PodIP == "" || s.token == "" {
			continue
		}
		targets = append(targets, nodes.Target{
			UID: p.UID, Name: p.Name, Token: s.token,
			Address: net.JoinHostPort(p.Status.PodIP, strconv.Itoa(resources.PeerPort)),
		})
	}
	r.Nodes.Follow(key, targets)
	s.news = r.Nodes.News(key)
	switch d {
	case live:
		return r.Nodes.Read(ctx, key)
	case asked:
		return r.Nodes.ReadUntilNews(ctx, key, seen.news)
	}
	answers := make(map[types.UID]nodes.Answer, len(targets))
	for _, t := range targets {
		answers[t.UID] = r.Nodes.Last(key, t.UID)
	}
	return answers
}

// planClaim is what the plan needs of a claim.
func planClaim(cluster *v1.RaftCluster, c *corev1.PersistentVolumeClaim, ordinal int) plan.Claim {
	asked, has := c.Spec.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
	bound, ofEarlier := c.Spec.VolumeName != "", goesWithAnother(cluster, c)
	return plan.Claim{
		Ordinal: ordinal, Name: c.Name, UID: string(c.UID), Bound: bound, Lost: c.Status.Phase == corev1.ClaimLost,
		Going: c.DeletionTimestamp != nil || ofEarlier, OfEarlier: ofEarlier,
		Small:   bound && c.DeletionTimestamp == nil && asked.Cmp(cluster.Spec.Storage.Size) < 0,
		Growing: bound && c.Status.Phase == corev1.ClaimBound && has.Cmp(asked) < 0,
	}
}

// resolveImage prefers what the spec says, then what was resolved before, and only for a new cluster takes the operator's
// default: another operator, with another default, changes no running cluster.
func (r *Reconciler) resolveImage(s *snapshot) string {
	switch {
	case s.cluster.Spec.Image != "":
		return s.cluster.Spec.Image
	case s.cluster.Status.Image != "":
		return s.cluster.Status.Image
	case s.statefulSet != nil && len(s.statefulSet.Spec.Template.Spec.Containers) > 0:
		return s.statefulSet.Spec.Template.Spec.Containers[0].Image
	}
	return r.DefaultImage
}

func (r *Reconciler) observePod(ctx context.Context, s *snapshot, p *corev1.Pod, answers map[types.UID]nodes.Answer, d depth) (plan.Pod, error) {
	out := plan.Pod{
		Ordinal: podOrdinal(s, p), Name: p.Name, UID: string(p.UID),
		Revision:    p.Labels[appsv1.StatefulSetRevisionLabel],
		Role:        p.Labels[resources.LabelRole],
		Ready:       podReady(p),
		Running:     podRunning(p),
		Terminating: p.DeletionTimestamp != nil,
		Trouble:     podTrouble(p),
		Late:        late(s.cluster, p, r.now()),
		Silent:      s.silent[p.UID] > silencePatience,
	}
	if at, ok := withdrawnAt(p); ok {
		out.Withdrawn, out.Forgotten = true, forgotten(at, r.now())
	}
	out.Unreachable = unreachable(s.cluster, p, s.claimOf(out.Ordinal), s.gone[p.UID], r.now())
	a, ok := answers[p.UID]
	switch {
	case !ok:
		out.NodeError = nodes.ErrNotFollowed.Error()
	case a.Err != nil:
		out.NodeError = steady(a.Err.Error())
	default:
		out.Node = a.Status
	}
	// Risky steps are planned on live reads, so that only these need what the machines say.
	if stuck := overdue(p, r.now()); stuck || d == live && !out.Ready && p.Spec.NodeName != "" {
		gone, reports, err := r.machine(ctx, p.Spec.NodeName)
		if err != nil {
			return out, err
		}
		out.Stuck, out.Unheard = stuck && gone, !reports
	}
	return out, nil
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func podRunning(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			return true
		}
	}
	return false
}

// overdue pods should have ended by now. The deletion timestamp is when the grace period ends.
func overdue(p *corev1.Pod, now time.Time) bool {
	return p.DeletionTimestamp != nil && now.After(p.DeletionTimestamp.Time) && p.Spec.NodeName != ""
}

// machine tells whether the Kubernetes node is gone, which it is too when a person declared it out of service (KEP-2268): only then can the pod
// not run any more although nobody confirms it; and whether its kubelet reports. An operator whose right to read nodes somebody took away, which the chart gives
// also to one that is confined to namespaces, never forces a pod out, and believes what is said of pods.
func (r *Reconciler) machine(ctx context.Context, name string) (gone, reports bool, err error) {
	var node corev1.Node
	switch err := r.Live.Get(ctx, client.ObjectKey{Name: name}, &node); {
	case apierrors.IsNotFound(err):
		return true, false, nil
	case apierrors.IsForbidden(err):
		return false, true, nil
	case err != nil:
		return false, false, fmt.Errorf("read node %s: %w", name, err)
	}
	gone = slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeOutOfService
	})
	return gone, slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}), nil
}

func labelled(o metav1.Object, want map[string]string) bool {
	have := o.GetLabels()
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}
