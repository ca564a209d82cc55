package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// group is a Raft group whose nodes answer as real ones do, without a network: it agrees with itself at once.
type group struct {
	mu         sync.Mutex
	nodes      map[string]*groupNode // by address
	cluster    raft.ClusterID
	membership raft.Membership
	index      raft.Index
	leader     raft.NodeID
	term       raft.Term
	bootstraps int
	// lost is the cluster that was given up, and who of it still has its directory.
	lost        raft.ClusterID
	lostMembers raft.Membership
	refounds    int
	changed     chan struct{} // closed and replaced at each change
	// token is what new connections need; empty for any.
	token string
}

type groupNode struct {
	name        string
	incarnation raft.Incarnation
	// volume is the incarnation that the pod's claim began with.
	volume raft.Incarnation
	down   bool
	// cut is called when the node, which its connections and the other nodes do not reach any more, is asked for its status: the caller hears nothing for as long as it waits.
	cut func()
}

func newGroup() *group {
	return &group{nodes: map[string]*groupNode{}, changed: make(chan struct{}), index: 10}
}

// lock gives exclusive use; what it returns wakes those that wait for a status, and unlocks.
func (g *group) lock() func() {
	g.mu.Lock()
	return func() {
		g.index++
		close(g.changed)
		g.changed = make(chan struct{})
		g.mu.Unlock()
	}
}

// generation changes with every change of the group.
func (g *group) generation() uint64 { return uint64(g.index) }

func (g *group) add(ip, name string, incarnation raft.Incarnation) {
	defer g.lock()()
	next := &groupNode{name: name, incarnation: incarnation, volume: incarnation}
	for address, n := range g.nodes {
		if n.name != name {
			continue
		}
		// The pod before it is gone; what its node did to its directory lasts, as long as that is the same.
		if n.volume == incarnation {
			next.incarnation = n.incarnation
		}
		delete(g.nodes, address)
	}
	g.nodes[net.JoinHostPort(ip, strconv.Itoa(resources.PeerPort))] = next
}

// fail makes the node at that address stop.
func (g *group) fail(ip string) {
	defer g.lock()()
	if n := g.nodes[net.JoinHostPort(ip, strconv.Itoa(resources.PeerPort))]; n != nil {
		n.down = true
	}
}

// cutOff makes the node of that pod hear nothing and answer nobody, while another one leads.
func (g *group) cutOff(name string, leader raft.NodeID, asked func()) {
	defer g.lock()()
	for _, n := range g.nodes {
		if n.name == name {
			n.cut = asked
		}
	}
	g.leader, g.term = leader, g.term+1
}

// recover makes the node at that address go on.
func (g *group) recover(ip string) {
	defer g.lock()()
	g.nodes[net.JoinHostPort(ip, strconv.Itoa(resources.PeerPort))].down = false
}

func (g *group) dial(address, token string) (admin.Service, func(), error) {
	var s admin.Service
	bound := false
	// answers gives the node at the address, if it takes calls over this connection: who was let in once stays so. The group's mutex is held.
	answers := func() (*groupNode, error) {
		n := g.nodes[address]
		switch {
		case n == nil || n.down || token == "":
			return nil, rpc.Errorf(rpc.CodeUnavailable, "connection refused")
		case !bound && g.token != "" && g.token != token:
			return nil, rpc.Errorf(rpc.CodeUnauthenticated, "the admin token is wrong")
		}
		bound = true
		return n, nil
	}
	call := func(f func(n *groupNode) error) (*admin.Status, error) {
		defer g.lock()()
		n, err := answers()
		if err != nil {
			return nil, err
		}
		if f != nil {
			if err := f(n); err != nil {
				return nil, err
			}
		}
		return g.status(n), nil
	}
	s.Status = func(ctx context.Context, _ *admin.StatusRequest) (*admin.Status, error) {
		g.mu.Lock()
		n, err := answers()
		if err == nil && n.cut != nil {
			asked := n.cut
			g.mu.Unlock()
			asked()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		defer g.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return g.status(n), nil
	}
	s.WaitStatus = func(ctx context.Context, r *admin.WaitStatusRequest) (*admin.Status, error) {
		for {
			g.mu.Lock()
			changed, generation := g.changed, g.generation()
			n, err := answers()
			if err != nil {
				g.mu.Unlock()
				return nil, err
			}
			status, cut := g.status(n), n.cut != nil
			g.mu.Unlock()
			if cut {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if generation != r.Generation {
				return status, nil
			}
			select {
			case <-ctx.Done():
				return status, nil
			case <-changed:
			}
		}
	}
	s.Bootstrap = func(_ context.Context, r *admin.BootstrapRequest) (*admin.Status, error) {
		return call(func(n *groupNode) error {
			if _, member := g.membership.FindIncarnation(n.incarnation); n.incarnation != r.Incarnation || member {
				return rpc.Refusal(admin.ReasonIncarnation, "another incarnation was meant")
			}
			r.Member.ID = 1
			g.bootstraps++
			g.cluster, g.membership, g.leader, g.term = r.ClusterID, raft.NewMembership(r.Member), 1, 1
			return nil
		})
	}
	s.ChangeMembership = func(_ context.Context, r *admin.ChangeRequest) (*admin.ChangeResponse, error) {
		var ids []raft.NodeID
		_, err := call(func(n *groupNode) error {
			next, of, err := g.membership.ApplyAll(r.Changes)
			g.membership, ids = next.Leave(), of
			return err
		})
		return &admin.ChangeResponse{IDs: ids, ConfigIndex: g.index}, err
	}
	s.Refound = func(_ context.Context, r *admin.RefoundRequest) (*admin.Status, error) {
		return call(func(n *groupNode) error {
			if g.cluster == r.NewClusterID {
				return nil
			}
			if g.cluster != r.ClusterID || n.incarnation != r.Incarnation || g.leader != 0 {
				return rpc.Refusal(admin.ReasonOtherCluster, "another was meant")
			}
			g.refounds++
			g.lost, g.lostMembers = g.cluster, g.membership
			n.incarnation += 0x1000
			r.Member.ID, r.Member.Incarnation = g.membership.LastID+1, n.incarnation
			g.cluster, g.membership, g.leader, g.term = r.NewClusterID, raft.NewMembership(r.Member), r.Member.ID, g.term+1
			return nil
		})
	}
	s.Abandon = func(_ context.Context, r *admin.AbandonRequest) (*admin.Status, error) {
		return call(func(n *groupNode) error {
			if g.lost != r.ClusterID || n.incarnation != r.Incarnation {
				return rpc.Refusal(admin.ReasonIncarnation, "another was meant")
			}
			n.incarnation += 0x1000
			return nil
		})
	}
	s.TransferLeadership = func(_ context.Context, r *admin.TransferRequest) (*admin.TransferResponse, error) {
		_, err := call(func(*groupNode) error {
			g.leader, g.term = r.To, g.term+1
			return nil
		})
		return &admin.TransferResponse{Leader: r.To}, err
	}
	return s, func() {}, nil
}

func (g *group) status(n *groupNode) *admin.Status {
	s := &admin.Status{Generation: g.generation(), Name: n.name, Version: "0.1.0", State: admin.StateEmpty, Incarnation: n.incarnation}
	m, ok := g.membership.FindIncarnation(n.incarnation)
	if !ok {
		if m, ok := g.lostMembers.FindIncarnation(n.incarnation); ok {
			s.State, s.ClusterID, s.MemberID, s.Role, s.LastTerm, s.LastIndex = admin.StateMember, g.lost, m.ID, "follower", 1, 1
		}
		return s
	}
	s.State, s.ClusterID, s.MemberID, s.Leader, s.Term, s.Ready = admin.StateMember, g.cluster, m.ID, g.leader, g.term, g.leader != 0
	s.LastTerm, s.LastIndex = g.term, g.index
	s.ConfigIndex, s.ConfigCommitted = g.index, true
	s.Role = raft.RoleFollower.String()
	switch {
	case m.ID == g.leader:
		s.Role = raft.RoleLeader.String()
	case m.Learner:
		s.Role = raft.RoleLearner.String()
	}
	for _, m := range g.membership.Members {
		up := false
		for _, x := range g.nodes {
			up = up || (x.incarnation == m.Incarnation && !x.down && x.cut == nil)
		}
		s.Members = append(s.Members, admin.MemberStatus{Member: m, Match: 1, Active: up, CaughtUp: up})
	}
	return s
}

// kubelet plays the StatefulSet controller, the scheduler, the kubelets and the disruption controller: pods exist as the
// StatefulSet says, have addresses, run, and are ready when their nodes are.
type kubelet struct {
	t     *testing.T
	c     client.Client
	g     *group
	ns    string
	block byte // second byte of the pods' addresses, so that tests do not meet
	pods  int
	// bad tells pods that never become ready.
	bad func(*corev1.Pod) bool
	// overlooked is a pod that the StatefulSet controller does not make before it is asked for.
	overlooked string
	// machine is the Kubernetes node that pods to come are on; with one they end only when it says so, which nobody plays.
	machine string
	// volumes counts the claims that each pod has had.
	volumes map[string]int
	// kept are the revisions that were kept, and cut is the StatefulSet, as of which generation, whose pods above its replicas were taken away.
	kept map[string]bool
	cut  string
}

func (k *kubelet) play(cluster string) {
	k.t.Helper()
	ctx := context.Background()
	var set appsv1.StatefulSet
	if err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: cluster}, &set); err != nil {
		if !apierrors.IsNotFound(err) {
			k.t.Fatal(err)
		}
		return
	}
	if set.DeletionTimestamp != nil {
		k.orphan(&set)
		return
	}
	revision := fmt.Sprintf("%s-%x", cluster, crc32.ChecksumIEEE([]byte(set.Spec.Template.String())))
	if set.Status.ObservedGeneration != set.Generation || set.Status.UpdateRevision != revision {
		set.Status.ObservedGeneration, set.Status.UpdateRevision, set.Status.Replicas = set.Generation, revision, *set.Spec.Replicas
		k.must(k.c.Status().Update(ctx, &set))
	}
	k.keepRevision(&set, revision)
	for i := range int(*set.Spec.Replicas) {
		name := resources.PodName(cluster, i)
		if waits := name == k.overlooked && set.Annotations[askedForAnnotation] == ""; !waits && k.playClaim(&set, name) {
			k.playPod(&set, name, revision)
		}
	}
	cut := fmt.Sprintf("%s %d", set.UID, set.Generation)
	for i := int(*set.Spec.Replicas); i < 8 && k.cut != cut; i++ {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: resources.PodName(cluster, i)}}
		err := k.c.Delete(ctx, p, client.GracePeriodSeconds(0))
		k.must(client.IgnoreNotFound(err))
		if policy := set.Spec.PersistentVolumeClaimRetentionPolicy; err == nil && policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
			k.dropClaim(resources.ClaimName(cluster, i))
		}
	}
	k.cut = cut
	var budget policyv1.PodDisruptionBudget
	if err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: cluster}, &budget); err == nil {
		before := budget.Status.DeepCopy()
		budget.Status.ObservedGeneration, budget.Status.DisruptionsAllowed = budget.Generation, 1
		budget.Status.CurrentHealthy, budget.Status.DesiredHealthy, budget.Status.ExpectedPods = *set.Spec.Replicas, max(*set.Spec.Replicas-1, 0), *set.Spec.Replicas
		if !equality.Semantic.DeepEqual(before, &budget.Status) {
			k.must(k.c.Status().Update(ctx, &budget))
		}
	}
}

// dropClaim deletes a claim that no pod uses.
func (k *kubelet) dropClaim(name string) {
	k.t.Helper()
	ctx := context.Background()
	var c corev1.PersistentVolumeClaim
	if err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: name}, &c); err != nil {
		k.must(err)
		return
	}
	k.must(k.c.Delete(ctx, &c))
	if err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: name}, &c); err == nil {
		c.Finalizers = nil
		k.must(k.c.Update(ctx, &c))
	}
}

// keepRevision keeps the template as the StatefulSet controller does: as a patch that puts it into the StatefulSet.
func (k *kubelet) keepRevision(set *appsv1.StatefulSet, name string) {
	k.t.Helper()
	id := fmt.Sprintf("%s %s", set.UID, name)
	if k.kept[id] {
		return
	}
	k.kept[id] = true
	template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&set.Spec.Template)
	if err != nil {
		k.t.Fatal(err)
	}
	template["$patch"] = "replace"
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil {
		k.t.Fatal(err)
	}
	revision := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name}, Data: runtime.RawExtension{Raw: text}, Revision: 1}
	revision.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	if err := k.c.Create(context.Background(), revision); !apierrors.IsAlreadyExists(err) {
		k.must(err)
	}
}

func (k *kubelet) playPod(set *appsv1.StatefulSet, name, revision string) {
	k.t.Helper()
	ctx := context.Background()
	var p corev1.Pod
	err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: name}, &p)
	owner := *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
	if is := metav1.GetControllerOf(&p); err == nil && is == nil {
		p.OwnerReferences = []metav1.OwnerReference{owner}
		k.must(k.c.Update(ctx, &p))
	} else if err == nil && is.UID != set.UID {
		// Its StatefulSet is gone, so the garbage collector takes it.
		k.must(k.c.Delete(ctx, &p, client.GracePeriodSeconds(0)))
		return
	}
	if apierrors.IsNotFound(err) {
		p = corev1.Pod{ObjectMeta: *set.Spec.Template.ObjectMeta.DeepCopy(), Spec: *set.Spec.Template.Spec.DeepCopy()}
		p.Namespace, p.Name = k.ns, name
		p.Labels[appsv1.StatefulSetRevisionLabel] = revision
		p.OwnerReferences = []metav1.OwnerReference{owner}
		p.Spec.ServiceAccountName, p.Spec.Volumes = "", nil
		p.Spec.Containers[0].VolumeMounts = nil
		p.Spec.NodeName = k.machine
		k.must(k.c.Create(ctx, &p))
	} else {
		k.must(err)
	}
	before := p.Status.DeepCopy()
	if p.Status.PodIP == "" {
		k.pods++
		p.Status.PodIP = fmt.Sprintf("10.%d.0.%d", k.block, k.pods)
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "node", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		k.g.add(p.Status.PodIP, name, k.incarnation(name))
	}
	if k.bad != nil && k.bad(&p) {
		k.g.fail(p.Status.PodIP)
	}
	ready := corev1.ConditionFalse
	k.g.mu.Lock()
	if n := k.g.nodes[net.JoinHostPort(p.Status.PodIP, strconv.Itoa(resources.PeerPort))]; n != nil && !n.down && k.g.status(n).Ready {
		ready = corev1.ConditionTrue
	}
	k.g.mu.Unlock()
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if !equality.Semantic.DeepEqual(before, &p.Status) {
		k.must(k.c.Status().Update(ctx, &p))
	}
}

// incarnation is that of the pod's claim: it outlives the pod.
func (k *kubelet) incarnation(pod string) raft.Incarnation {
	h := raft.Incarnation(k.block) + raft.Incarnation(k.volumes[pod])<<20
	for _, c := range pod {
		h = h*31 + raft.Incarnation(c)
	}
	return h
}

// playClaim has the pod's claim made, bound and grown, and takes one away that was deleted once no pod uses it. It reports whether a pod
// can have it.
func (k *kubelet) playClaim(set *appsv1.StatefulSet, pod string) bool {
	k.t.Helper()
	ctx := context.Background()
	template := set.Spec.VolumeClaimTemplates[0]
	var c corev1.PersistentVolumeClaim
	err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: template.Name + "-" + pod}, &c)
	switch {
	case apierrors.IsNotFound(err):
		if k.volumes == nil {
			k.volumes = map[string]int{}
		}
		k.volumes[pod]++
		c = corev1.PersistentVolumeClaim{Spec: *template.Spec.DeepCopy()}
		c.Namespace, c.Name, c.Labels = k.ns, template.Name+"-"+pod, set.Spec.Selector.MatchLabels
		c.Spec.VolumeName = fmt.Sprintf("%s-%s-%d", k.ns, pod, k.volumes[pod])
		k.must(k.c.Create(ctx, &c))
	case err != nil:
		k.t.Fatal(err)
	case c.DeletionTimestamp != nil:
		var p corev1.Pod
		if err := k.c.Get(ctx, client.ObjectKey{Namespace: k.ns, Name: pod}, &p); apierrors.IsNotFound(err) {
			c.Finalizers = nil
			k.must(k.c.Update(ctx, &c))
			return false
		}
		return true
	}
	if asked := c.Spec.Resources.Requests; c.Status.Phase != corev1.ClaimBound || !asked.Storage().Equal(*c.Status.Capacity.Storage()) {
		c.Status.Phase, c.Status.Capacity = corev1.ClaimBound, asked
		k.must(k.c.Status().Update(ctx, &c))
	}
	return true
}

// orphan plays the garbage collector for a StatefulSet that goes without its pods.
func (k *kubelet) orphan(set *appsv1.StatefulSet) {
	k.t.Helper()
	ctx := context.Background()
	if !slices.Contains(set.Finalizers, metav1.FinalizerOrphanDependents) {
		k.t.Fatalf("the StatefulSet is deleted with its pods: finalizers %v", set.Finalizers)
	}
	var pods corev1.PodList
	k.must(k.c.List(ctx, &pods, client.InNamespace(k.ns), client.MatchingLabels(set.Spec.Selector.MatchLabels)))
	for i := range pods.Items {
		pods.Items[i].OwnerReferences = nil
		k.must(k.c.Update(ctx, &pods.Items[i]))
	}
	set.Finalizers = nil
	k.must(k.c.Update(ctx, set))
}

// must ends the test on an error, unless the operator, which runs beside the kubelet, has changed or deleted the object
// meanwhile: a kubelet looks again then.
func (k *kubelet) must(err error) {
	k.t.Helper()
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		k.t.Fatal(err)
	}
}
