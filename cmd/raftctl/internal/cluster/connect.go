package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/tunnel"
	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// apiQPS and apiBurst bound the requests to the API server.
	apiQPS   = 50
	apiBurst = 100
)

// Settings say which Kubernetes is meant, as kubectl's flags of these names do. Empty ones take what the kubeconfig says.
type Settings struct {
	Kubeconfig, Context, Namespace string
	// UserAgent names raftctl to the API server, Program to people: messages name its commands, with the flags that name the same Kubernetes.
	UserAgent, Program string
}

// Kubernetes is a Kubernetes cluster, and a namespace of it.
type Kubernetes struct {
	Namespace string
	program   string
	api       *api
	dialer    *tunnel.Dialer
}

// Connect reads the kubeconfig. It does not talk to the API server.
func Connect(s Settings) (*Kubernetes, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: s.Context}
	overrides.Context.Namespace = s.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes cluster (name a kubeconfig with --kubeconfig or KUBECONFIG): %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace in the kubeconfig: %w", err)
	}
	config.UserAgent = s.UserAgent
	return New(config, namespace, s.Program)
}

// New uses a configuration that is there already. Messages name commands of that program.
func New(config *rest.Config, namespace, program string) (*Kubernetes, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = apiQPS, apiBurst
	api, err := newAPI(config)
	if err != nil {
		return nil, err
	}
	return &Kubernetes{Namespace: namespace, program: program, api: api, dialer: tunnel.New(config, api.core)}, nil
}

// ErrNotFound is matched by errors for a RaftCluster, or a part of one, that does not exist.
var ErrNotFound = errors.New("not found")

// missing is an ErrNotFound in words.
type missing string

func (m missing) Error() string        { return string(m) }
func (m missing) Is(target error) bool { return target == ErrNotFound }

func (k *Kubernetes) noCluster(name string) error {
	return missing(fmt.Sprintf("there is no RaftCluster %s in namespace %s: see which there are with: %s list --all-namespaces", name, k.Namespace, k.program))
}

// Get reads a RaftCluster.
func (k *Kubernetes) Get(ctx context.Context, name string) (*v1.RaftCluster, error) {
	c, err := k.api.cluster(ctx, k.Namespace, name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, k.noCluster(name)
	case err != nil:
		return nil, fmt.Errorf("read RaftCluster %s: %w", name, err)
	}
	return c, nil
}

// List reads the RaftClusters of the namespace, or of all.
func (k *Kubernetes) List(ctx context.Context, everywhere bool) ([]v1.RaftCluster, error) {
	namespace := k.Namespace
	if everywhere {
		namespace = ""
	}
	clusters, err := k.api.clusters(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("list RaftClusters: %w", err)
	}
	return clusters, nil
}

func (k *Kubernetes) pods(ctx context.Context, name string) ([]corev1.Pod, error) {
	var l corev1.PodList
	if err := k.api.list(ctx, k.Namespace, "pods", name, &l); err != nil {
		return nil, fmt.Errorf("list the pods of %s: %w", name, err)
	}
	return l.Items, nil
}

// Endpoints are the client addresses of the cluster's pods, for Dial: those that are ready first. It is an error if there is none.
func (k *Kubernetes) Endpoints(ctx context.Context, name string) ([]string, error) {
	c, err := k.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	pods, err := k.pods(ctx, name)
	if err != nil {
		return nil, err
	}
	var ready, running []string
	for i := range pods {
		switch address := resources.ClientAddress(k.Namespace, name, pods[i].Name); {
		case IsReady(&pods[i]):
			ready = append(ready, address)
		case pods[i].Status.Phase == corev1.PodRunning:
			running = append(running, address)
		}
	}
	switch all := append(ready, running...); {
	case len(all) > 0:
		return all, nil
	case c.Spec.Hibernate:
		return nil, fmt.Errorf("%s hibernates: bring it back with: %s resume %s -n %s", name, k.program, name, k.Namespace)
	}
	return nil, fmt.Errorf("no pod of %s runs: see what is wrong with: %s doctor %s -n %s", name, k.program, name, k.Namespace)
}

// Dial connects to the client port of a pod by the address that Endpoints gave, or by which its node is known to others.
func (k *Kubernetes) Dial(ctx context.Context, cluster, address string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("address %q: the port is not a number", address)
	}
	pod, _, _ := strings.Cut(host, ".")
	if _, ours := resources.Ordinal(cluster, pod); !ours {
		return nil, fmt.Errorf("address %q is not that of a pod of %s", address, cluster)
	}
	return k.dialer.Dial(ctx, k.Namespace, pod, port)
}

// IsReady tells whether the pod is ready and is to stay.
func IsReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
