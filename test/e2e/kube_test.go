//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	// pollInterval is how often a condition is looked at again.
	pollInterval = 200 * time.Millisecond
	// settleTimeout bounds everything that the cluster does by itself: elections, restarts, replacements, roll-outs.
	settleTimeout = 4 * time.Minute

	namespace         = "default"
	operatorNamespace = "raftkv-system"
	operatorName      = "raftkv-operator"
)

var (
	kube    client.WithWatch
	machine *localkube
)

func TestMain(m *testing.M) {
	if err := connect(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("KUBECONFIG: %w; run these tests with `make test-e2e`", err)
	}
	config.QPS, config.Burst = 50, 100
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1.AddToScheme(scheme); err != nil {
		return err
	}
	if kube, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	machine, err = findLocalkube(os.Getenv("E2E_LOCALKUBE"))
	return err
}

// eventually polls until the check returns nil. On failure it says what the check last complained of.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	started := time.Now()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			t.Logf("%s: after %.1f s", what, time.Since(started).Seconds())
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v; last: %v", what, settleTimeout, err)
		case <-ticker.C:
		}
	}
}

// newCluster is a RaftCluster small enough for a test machine.
func newCluster(name string, replicas int32) *v1.RaftCluster {
	return &v1.RaftCluster{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: v1.RaftClusterKind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: v1.RaftClusterSpec{
			Replicas: ptr.To(replicas),
			Storage:  v1.StorageSpec{Size: resource.MustParse("256Mi")},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
			},
		},
	}
}

func getCluster(ctx context.Context, name string) (*v1.RaftCluster, error) {
	var c v1.RaftCluster
	err := kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &c)
	return &c, err
}

// apply creates the cluster and waits until the operator calls it ready. A test that succeeds leaves nothing of it; what a
// failed one leaves tells why.
func apply(t *testing.T, c *v1.RaftCluster) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			discard(t, c.Name)
		}
	})
	if err := kube.Create(t.Context(), c.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	waitReady(t, c.Name)
}

// waitReady waits until the status speaks of the present spec and says Ready, with as many healthy voters as were asked for.
func waitReady(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" is ready", func(ctx context.Context) error { return ready(ctx, name) })
}

func ready(ctx context.Context, name string) error {
	c, err := getCluster(ctx, name)
	if err != nil {
		return err
	}
	if c.Status.ObservedGeneration != c.Generation {
		return fmt.Errorf("the status is of generation %d, the spec of %d", c.Status.ObservedGeneration, c.Generation)
	}
	condition := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReady)
	if condition == nil || condition.Status != metav1.ConditionTrue {
		return fmt.Errorf("conditions: %s", describe(c.Status.Conditions))
	}
	if len(c.Status.Members) != int(*c.Spec.Replicas) {
		return fmt.Errorf("%d members, %d wanted", len(c.Status.Members), *c.Spec.Replicas)
	}
	for _, m := range c.Status.Members {
		if !m.Healthy || m.Role == "learner" {
			return fmt.Errorf("member %s (%s): role %s, healthy %t", m.Name, m.ID, m.Role, m.Healthy)
		}
	}
	return nil
}

func describe(conditions []metav1.Condition) string {
	var parts []string
	for _, c := range conditions {
		parts = append(parts, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(parts, "; ")
}

// pods lists the cluster's pods by name.
func pods(ctx context.Context, cluster string) (map[string]corev1.Pod, error) {
	var list corev1.PodList
	err := kube.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{
		"app.kubernetes.io/name": "raftkv", "app.kubernetes.io/instance": cluster, "app.kubernetes.io/component": "node",
	})
	byName := make(map[string]corev1.Pod, len(list.Items))
	for _, pod := range list.Items {
		byName[pod.Name] = pod
	}
	return byName, err
}

func mustPods(t *testing.T, cluster string) map[string]corev1.Pod {
	t.Helper()
	found, err := pods(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// leader returns the leader's pod as the members themselves name it, not as the status remembers it.
func leader(t *testing.T, cluster string) corev1.Pod {
	t.Helper()
	var found corev1.Pod
	eventually(t, "a leader of "+cluster+" is known", func(ctx context.Context) error {
		all, err := pods(ctx, cluster)
		if err != nil {
			return err
		}
		for _, pod := range all {
			status, err := nodeStatus(ctx, pod)
			if err == nil && status.Role == "leader" {
				found = pod
				return nil
			}
		}
		return fmt.Errorf("none of %d pods says that it leads", len(all))
	})
	return found
}

// waitReplaced waits until the pod is another one than before and is ready.
func waitReplaced(t *testing.T, old corev1.Pod) {
	t.Helper()
	eventually(t, old.Name+" is a new pod and ready", func(ctx context.Context) error {
		var pod corev1.Pod
		if err := kube.Get(ctx, client.ObjectKeyFromObject(&old), &pod); err != nil {
			return err
		}
		if pod.UID == old.UID {
			return fmt.Errorf("still the old pod, phase %s", pod.Status.Phase)
		}
		return podReady(pod)
	})
}

// waitRestarted waits until the pod's container was started again and is ready.
func waitRestarted(t *testing.T, old corev1.Pod) {
	t.Helper()
	eventually(t, old.Name+" runs again in the same pod and is ready", func(ctx context.Context) error {
		var pod corev1.Pod
		if err := kube.Get(ctx, client.ObjectKeyFromObject(&old), &pod); err != nil {
			return err
		}
		if restarts(pod) <= restarts(old) {
			return fmt.Errorf("%d restarts, as before", restarts(pod))
		}
		return podReady(pod)
	})
}

func restarts(pod corev1.Pod) int32 {
	var n int32
	for _, s := range pod.Status.ContainerStatuses {
		n += s.RestartCount
	}
	return n
}

func podReady(pod corev1.Pod) error {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("pod %s is not ready: phase %s", pod.Name, pod.Status.Phase)
}

// memberIDs maps the members' names to their IDs as the status tells them.
func memberIDs(t *testing.T, cluster string) map[string]string {
	t.Helper()
	c, err := getCluster(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]string)
	for _, m := range c.Status.Members {
		ids[m.Name] = m.ID
	}
	return ids
}

func scaleCluster(t *testing.T, name string, replicas int32) {
	t.Helper()
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(c.DeepCopy())
	c.Spec.Replicas = ptr.To(replicas)
	if err := kube.Patch(t.Context(), c, patch); err != nil {
		t.Fatal(err)
	}
}

func setOperatorReplicas(ctx context.Context, replicas int32) error {
	var d appsv1.Deployment
	key := client.ObjectKey{Namespace: operatorNamespace, Name: operatorName}
	if err := kube.Get(ctx, key, &d); err != nil {
		return err
	}
	patch := client.MergeFrom(d.DeepCopy())
	d.Spec.Replicas = ptr.To(replicas)
	return kube.Patch(ctx, &d, patch)
}

func scaleOperator(t *testing.T, replicas int32) {
	t.Helper()
	if err := setOperatorReplicas(t.Context(), replicas); err != nil {
		t.Fatal(err)
	}
	eventually(t, fmt.Sprintf("the operator has %d pods", replicas), func(ctx context.Context) error {
		found, err := operatorPods(ctx)
		if err != nil {
			return err
		}
		if len(found) != int(replicas) {
			return fmt.Errorf("%d pods", len(found))
		}
		for _, pod := range found {
			if err := podReady(pod); err != nil {
				return err
			}
		}
		return nil
	})
}

func operatorPods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := kube.List(ctx, &list, client.InNamespace(operatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "operator"})
	return list.Items, err
}

// removeCluster deletes the cluster and waits until its pods are gone. Its claims stay.
func removeCluster(t *testing.T, name string) {
	t.Helper()
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := kube.Delete(t.Context(), c); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	eventually(t, name+" and its pods are gone", func(ctx context.Context) error {
		_, err := getCluster(ctx, name)
		if err == nil {
			return errors.New("the RaftCluster is still there")
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		left, err := pods(ctx, name)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d pods are left", len(left))
		}
		return err
	})
}

// discard deletes the cluster and its claims.
func discard(t *testing.T, name string) {
	t.Helper()
	// The test's own context has ended when its clean-up runs.
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	err := client.IgnoreNotFound(kube.Delete(ctx, c, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	if err == nil {
		err = kube.DeleteAllOf(ctx, &corev1.PersistentVolumeClaim{}, client.InNamespace(namespace),
			client.MatchingLabels{"app.kubernetes.io/name": "raftkv", "app.kubernetes.io/instance": name})
	}
	if err != nil {
		t.Errorf("discard %s: %v", name, err)
	}
}

// claims lists the names of the cluster's claims in order.
func claims(ctx context.Context, cluster string) ([]string, error) {
	var list corev1.PersistentVolumeClaimList
	err := kube.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/instance": cluster})
	var names []string
	for _, claim := range list.Items {
		names = append(names, claim.Name)
	}
	slices.Sort(names)
	return names, err
}
