//go:build linux && scale

package scale

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// members is of each cluster, namespaces where the clusters are spread over.
	members    = 3
	namespaces = 10
	// clusterPrefix and a number of four digits are a cluster's name.
	clusterPrefix = "store-"
)

func clusterName(i int) string   { return fmt.Sprintf(clusterPrefix+"%04d", i) }
func namespaceName(i int) string { return fmt.Sprintf("team-%d", i) }

func clusterKey(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: namespaceName(i % namespaces), Name: clusterName(i)}
}

func newCluster(i int) *v1.RaftCluster {
	c := &v1.RaftCluster{}
	c.Namespace, c.Name = clusterKey(i).Namespace, clusterKey(i).Name
	c.Spec.Replicas = ptr.To[int32](members)
	c.Spec.Storage.Size = resource.MustParse("1Gi")
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return c
}

// firstDocument is a YAML file without what comes after its first object.
func firstDocument(text []byte) []byte {
	for _, part := range bytes.Split(text, []byte("\n---\n")) {
		if bytes.Contains(part, []byte("\nkind:")) {
			return part
		}
	}
	return text
}

// scene follows the clusters and their pods by watches, and keeps volumes and nodes coming.
type scene struct {
	fleet   *fleet
	volumes *volumes

	mu sync.Mutex
	// readyPods and readyClusters are when each was seen to be ready for the first time.
	readyPods     map[types.UID]time.Time
	readyClusters map[types.NamespacedName]time.Time
	// roles are the role labels of the pods.
	roles map[string]string
	why   map[types.NamespacedName]string
}

func watch(t *testing.T, ctx context.Context, k *kubernetes, fleet *fleet, volumes *volumes) *scene {
	t.Helper()
	s := &scene{fleet: fleet, volumes: volumes, readyPods: map[types.UID]time.Time{}, readyClusters: map[types.NamespacedName]time.Time{},
		roles: map[string]string{}, why: map[types.NamespacedName]string{}}
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{resources.LabelName: resources.Name})}
	watches, err := cache.New(k.config, cache.Options{Scheme: k.scheme, ByObject: map[client.Object]cache.ByObject{
		&corev1.Pod{}: ours, &corev1.PersistentVolumeClaim{}: ours,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{&corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &v1.RaftCluster{}} {
		informer, err := watches.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: s.see, UpdateFunc: func(_, now any) { s.see(now) },
		}); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _ = watches.Start(ctx) }()
	return s
}

func (s *scene) see(o any) {
	switch x := o.(type) {
	case *corev1.Pod:
		s.fleet.see(x)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.roles[x.Name] = x.Labels[resources.LabelRole]
		for _, c := range x.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && s.readyPods[x.UID].IsZero() {
				s.readyPods[x.UID] = time.Now()
			}
		}
	case *corev1.PersistentVolumeClaim:
		s.volumes.see(x)
	case *v1.RaftCluster:
		s.mu.Lock()
		defer s.mu.Unlock()
		key := client.ObjectKeyFromObject(x)
		c := meta.FindStatusCondition(x.Status.Conditions, v1.ConditionReady)
		switch {
		case c == nil:
			s.why[key] = "no status"
		case c.Status != metav1.ConditionTrue || x.Status.ObservedGeneration != x.Generation || len(x.Status.Members) != members:
			s.why[key] = c.Message
		case s.readyClusters[key].IsZero():
			s.readyClusters[key] = time.Now()
			delete(s.why, key)
		}
	}
}

// ready counts the pods and clusters that were ready, and says why one cluster is not.
func (s *scene) ready() (pods, clusters int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, reason := range s.why {
		why = key.String() + ": " + reason
		break
	}
	return len(s.readyPods), len(s.readyClusters), why
}

// last is when the last pod and the last cluster became ready.
func (s *scene) last() (pod, cluster time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.readyPods {
		if at.After(pod) {
			pod = at
		}
	}
	for _, at := range s.readyClusters {
		if at.After(cluster) {
			cluster = at
		}
	}
	return pod, cluster
}

// role is the role label of the pod as the watch brought it last.
func (s *scene) role(pod string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles[pod]
}
