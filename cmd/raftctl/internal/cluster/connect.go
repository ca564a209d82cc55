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
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	// UserAgent names raftctl to the API server.
	UserAgent string
}

// Kubernetes is a Kubernetes cluster, and a namespace of it.
type Kubernetes struct {
	Namespace string
	client    client.Client
	core      *corev1client.CoreV1Client
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
	return New(config, namespace)
}

// New uses a configuration that is there already.
func New(config *rest.Config, namespace string) (*Kubernetes, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = apiQPS, apiBurst
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return &Kubernetes{Namespace: namespace, client: c, core: core, dialer: tunnel.New(config, core.RESTClient())}, nil
}

// ErrNotFound is matched by errors for a RaftCluster, or a part of one, that does not exist.
var ErrNotFound = errors.New("not found")

// Get reads a RaftCluster.
func (k *Kubernetes) Get(ctx context.Context, name string) (*v1.RaftCluster, error) {
	c := new(v1.RaftCluster)
	err := k.client.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: name}, c)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no RaftCluster %s in namespace %s (see them with: list --all-namespaces): %w", name, k.Namespace, ErrNotFound)
	case err != nil:
		return nil, explain("read RaftCluster "+name, err)
	}
	return c, nil
}

// List reads the RaftClusters of the namespace, or of all.
func (k *Kubernetes) List(ctx context.Context, everywhere bool) ([]v1.RaftCluster, error) {
	var options []client.ListOption
	if !everywhere {
		options = append(options, client.InNamespace(k.Namespace))
	}
	var l v1.RaftClusterList
	if err := k.client.List(ctx, &l, options...); err != nil {
		return nil, explain("list RaftClusters", err)
	}
	return l.Items, nil
}

func explain(what string, err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: this Kubernetes does not know RaftClusters: install the operator first (helm install raftkv charts/raftkv)", what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (k *Kubernetes) pods(ctx context.Context, name string) ([]corev1.Pod, error) {
	var l corev1.PodList
	err := k.client.List(ctx, &l, client.InNamespace(k.Namespace), client.MatchingLabels(resources.SelectorLabels(name)))
	if err != nil {
		return nil, explain("list the pods of "+name, err)
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
	case hibernates(c):
		return nil, fmt.Errorf("%s hibernates: bring it back with: resume %s", name, name)
	}
	return nil, fmt.Errorf("no pod of %s runs: see what is wrong with: doctor %s", name, name)
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
