//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	operatorProgram = "/raftkv-operator"
	operatorLease   = "raftkv-operator.raftkv.io"

	operatorKills = 50
	// killWithin is the longest time that an operator is let work before it is killed.
	killWithin = 6 * time.Second
	// disturbedFor is how long the operator's network is cut, or its rights are gone.
	disturbedFor = 45 * time.Second
)

// holder is the operator's pod that holds the lease; "" when nobody does.
func holder(ctx context.Context) (string, error) {
	var lease coordinationv1.Lease
	err := kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorLease}, &lease)
	if err != nil {
		return "", client.IgnoreNotFound(err)
	}
	pod, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	return pod, nil
}

// workingOperator waits for the operator that leads.
func workingOperator(ctx context.Context, not string) (corev1.Pod, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		name, err := holder(ctx)
		if err == nil && name != "" && name != not {
			var pod corev1.Pod
			if err = kube.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: name}, &pod); err == nil {
				return pod, nil
			}
		}
		select {
		case <-ctx.Done():
			return corev1.Pod{}, fmt.Errorf("nobody took the operator's lease over from %q: %w", not, errors.Join(ctx.Err(), err))
		case <-ticker.C:
		}
	}
}

// killAndReplace ends the operator's process with SIGKILL. Its pod and its lease are deleted, so that the next operator need neither wait for
// the kubelet's patience with programs that end nor for the lease to run out.
func killAndReplace(ctx context.Context, pod corev1.Pod) error {
	killErr := killProgram(pod, operatorProgram)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: operatorLease}}
	return errors.Join(killErr, client.IgnoreNotFound(kube.Delete(ctx, &pod, client.GracePeriodSeconds(0))), client.IgnoreNotFound(kube.Delete(ctx, lease)))
}

// operatorKilled grows, rolls, replaces, shrinks and rolls a cluster again and again, while the operator is killed at random.
func operatorKilled(t *testing.T) {
	const name = "orphaned"
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	o := operate(t, newCluster(name, 3))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var kills, busy atomic.Int32
	var killed atomic.Value // the error that ended the killing
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		last := ""
		for kills.Load() < operatorKills && ctx.Err() == nil {
			try, stop := context.WithTimeout(ctx, settleTimeout)
			pod, err := workingOperator(try, last)
			stop()
			if err == nil {
				last = pod.Name
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(random.Int64N(int64(killWithin)))):
				}
				c, getErr := getCluster(ctx, name)
				err = killAndReplace(ctx, pod)
				if errors.Is(err, errNoProcess) {
					continue // it ended by itself, for instance because it lost its lease
				}
				if getErr == nil && !conditionTrue(c, v1.ConditionReady) {
					busy.Add(1)
				}
			}
			if err != nil && ctx.Err() == nil {
				killed.Store(err)
				return
			}
			kills.Add(1)
		}
	}()

	changes := 0
	for round := 0; ; round++ {
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"grow to 5", func() { scaleCluster(t, name, 5) }},
			{"roll", func() { annotate(t, name, fmt.Sprint("grown ", round)) }},
			{"replace a volume", func() { o.loseVolumes(t, round%2 == 0, 1) }},
			{"shrink to 3", func() { scaleCluster(t, name, 3) }},
			{"roll", func() { annotate(t, name, fmt.Sprint("shrunk ", round)) }},
		} {
			o.mark()
			step.do()
			changes++
			waitReady(t, name)
			o.waitWrites(t, enoughWrites)
			o.report(t, fmt.Sprintf("%s, %d kills so far", step.what, kills.Load()))
		}
		if err, failed := killed.Load().(error); failed {
			t.Fatal(err)
		}
		if kills.Load() >= operatorKills {
			break
		}
	}
	<-ended
	o.mu.Lock()
	o.longest = o.worst
	o.mu.Unlock()
	o.converged(t, fmt.Sprintf("the operator killed %d times, %d of them while it was at work, during %d changes (grow, roll, replace, shrink)", kills.Load(), busy.Load(), changes))
	if kept, err := claims(t.Context(), name); err != nil || len(kept) != 5 {
		t.Errorf("claims %v, %v", kept, err)
	}
	o.settle(t)
}

func conditionTrue(c *v1.RaftCluster, kind string) bool {
	for _, x := range c.Status.Conditions {
		if x.Type == kind {
			return x.Status == metav1.ConditionTrue && x.ObservedGeneration == c.Generation
		}
	}
	return false
}

func annotate(t *testing.T, name, value string) {
	t.Helper()
	change(t, name, func(s *v1.RaftClusterSpec) {
		s.PodTemplate.Annotations = map[string]string{"example.com/rolled": value}
	})
}

// operatorSucceeded runs two operators and kills the one that works, in the middle of a roll.
func operatorSucceeded(t *testing.T) {
	const name = "inherited"
	o := operate(t, newCluster(name, 3))
	scaleOperator(t, 2)
	t.Cleanup(func() { _ = setOperatorReplicas(context.Background(), 1) })
	first, err := workingOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	o.begin()
	annotate(t, name, "by two operators")
	waitCondition(t, name, v1.ConditionReconciling, "Updating")
	machine.kill(t, first, operatorProgram)
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	second, err := workingOperator(ctx, first.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s took over from %s after %.1f s", second.Name, first.Name, time.Since(started).Seconds())
	o.converged(t, fmt.Sprintf("one of two operators killed in a roll; the other took over after %.0f s", time.Since(started).Seconds()))

	// The one that waits may die as well: nothing is to be seen of it.
	found, err := operatorPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range found {
		if pod.Name != second.Name {
			machine.kill(t, pod, operatorProgram)
		}
	}
	scaleCluster(t, name, 4)
	o.converged(t, "grown to 4 by the one, while the other is killed")
	scaleOperator(t, 1)
	o.settle(t)
}

// operatorCutOff takes the network of the operator's pod away, at its node, while it adds members.
func operatorCutOff(t *testing.T) {
	const name = "unheard"
	o := operate(t, newCluster(name, 3))
	pod, err := workingOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	o.begin()
	scaleCluster(t, name, 5)
	waitCondition(t, name, v1.ConditionReconciling, "ChangingMembers")
	machine.isolate(t, pod)
	o.pass(t, disturbedFor)
	o.waitWrites(t, enoughWrites)
	machine.rejoin(t, pod)
	o.converged(t, fmt.Sprintf("the operator's pod cut off for %.0f s while it grows 3 to 5", disturbedFor.Seconds()))
	o.settle(t)
}

// operatorDisowned takes the operator's rights away while it adds members.
func operatorDisowned(t *testing.T) {
	const name = "disowned"
	o := operate(t, newCluster(name, 3))
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: operatorName}}
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		t.Fatal(err)
	}
	again := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: binding.Name, Labels: binding.Labels, Annotations: binding.Annotations},
		RoleRef:    binding.RoleRef, Subjects: binding.Subjects,
	}
	o.begin()
	scaleCluster(t, name, 5)
	waitCondition(t, name, v1.ConditionReconciling, "ChangingMembers")
	if err := kube.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kube.Create(context.Background(), again.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Error(err)
		}
	})
	o.pass(t, disturbedFor)
	o.waitWrites(t, enoughWrites)
	if err := kube.Create(t.Context(), again.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	o.converged(t, fmt.Sprintf("the operator without its rights for %.0f s while it grows 3 to 5", disturbedFor.Seconds()))
	o.settle(t)
}

// pass lets the clients go on for that long.
func (o *operated) pass(t *testing.T, d time.Duration) {
	t.Helper()
	o.waitWrites(t, int(d/writePause))
	select {
	case <-time.After(time.Until(o.began.Add(d))):
	case <-t.Context().Done():
	}
}

// isolation is the table that drops what comes from or goes to the pods that are isolated on a node.
const isolation = "e2e-isolation"

// isolate drops all packets of the pod where its node would forward them. The kubelet, on that node, still reaches it.
func (m *localkube) isolate(t *testing.T, pod corev1.Pod) {
	t.Helper()
	m.nft(t, pod, "add table inet "+isolation)
	t.Cleanup(func() {
		_ = exec.Command(m.program, "enter", pod.Spec.NodeName, "nft", "delete table inet "+isolation).Run()
	})
	m.nft(t, pod, "add chain inet "+isolation+" forward { type filter hook forward priority -200; }")
	for _, way := range []string{"saddr", "daddr"} {
		m.nft(t, pod, fmt.Sprintf("add rule inet %s forward ip %s %s drop", isolation, way, pod.Status.PodIP))
	}
}

func (m *localkube) rejoin(t *testing.T, pod corev1.Pod) {
	t.Helper()
	m.nft(t, pod, "delete table inet "+isolation)
}

func (m *localkube) nft(t *testing.T, pod corev1.Pod, command string) {
	t.Helper()
	m.run(t, "enter", pod.Spec.NodeName, "nft", command)
}
