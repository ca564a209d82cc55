package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/tunnel/tunneltest"
	"github.com/raftkv/raftkv/controllers/resources"
)

// namespaceName is the namespace in the addresses that the nodes know each other by.
const namespaceName = "shop"

// startPatience is how long the API server may take to start, and to end.
const startPatience = 3 * time.Minute

// environment is a real API server with the CRD, started once for all tests of the package. A raftkv node is its store.
var environment struct {
	once   sync.Once
	dir    string
	env    *envtest.Environment
	config *rest.Config
	client client.Client
	err    error
}

func stopAPIServer() error {
	if environment.env == nil {
		return nil
	}
	return environment.env.Stop()
}

// apiServer gives a client of the API server. A machine without the program fails the test: it is not skipped.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	environment.once.Do(func() { environment.err = startAPIServer() })
	if environment.err != nil {
		t.Fatal(environment.err)
	}
	return environment.client
}

func startAPIServer() (err error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		servers, err := filepath.Glob(filepath.Join(cache, "raftkv", "localkube", "*", "bin", "kube-apiserver"))
		if err != nil {
			return err
		}
		if len(servers) == 0 {
			return errors.New("this test needs a real kube-apiserver: run it with `make test`, which builds one, or set KUBEBUILDER_ASSETS to a folder that holds one")
		}
		assets = filepath.Dir(servers[0])
	}
	if environment.dir, err = os.MkdirTemp("", "raftctl-test-"); err != nil {
		return err
	}
	root := filepath.Join("..", "..", "..", "..")
	store := filepath.Join(environment.dir, "raftkv-node")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", store, root+"/cmd/node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the API server's store: %w\n%s", err, text)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	environment.env = &envtest.Environment{
		BinaryAssetsDirectory: assets,
		// The store takes the flags that are meant for etcd.
		ControlPlane:          envtest.ControlPlane{Etcd: &envtest.Etcd{Path: store}},
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "raftkv.io_raftclusters.yaml")},
		ErrorIfCRDPathMissing: true,
		// Its own patience, of 20 and 10 seconds, is too short for a busy machine.
		ControlPlaneStartTimeout: startPatience, ControlPlaneStopTimeout: startPatience,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: startPatience},
	}
	if environment.config, err = environment.env.Start(); err != nil {
		return fmt.Errorf("start the API server of %s: %w", assets, err)
	}
	environment.client, err = client.New(environment.config, client.Options{Scheme: scheme})
	return err
}

// stage is a RaftCluster demo in a namespace of its own, whose pods are the nodes of the group. What kubelets would do is played: port-forwards
// lead to the nodes, logs are what the test says.
type stage struct {
	t         *testing.T
	client    client.Client
	namespace string
	config    string // path of the kubeconfig

	mu      sync.Mutex
	refused map[string]error // pods that refuse port-forwards
	dialled map[string]int   // how often each was connected to
	logs    map[string]string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, client: apiServer(t), refused: map[string]error{}, dialled: map[string]int{}, logs: map[string]string{}}
	of := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	s.must(s.client.Create(t.Context(), of))
	s.namespace = of.Name
	s.must(s.client.Create(t.Context(), &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: s.namespace}}))
	for i := range nodes(t) {
		s.addPod(i)
	}
	s.report(map[string]string{v1.ConditionReady: "AsSpecified", v1.ConditionAvailable: "LeaderElected"})
	s.serve()
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) addPod(i int) {
	s.t.Helper()
	labels := resources.SelectorLabels("demo")
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: resources.ClaimName("demo", i), Namespace: s.namespace, Labels: labels},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: fmt.Sprintf("volume-%d", i),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *resourceQuantity("1Gi")}}},
	}
	s.must(s.client.Create(s.t.Context(), claim))
	claim.Status.Phase = corev1.ClaimBound
	s.must(s.client.Status().Update(s.t.Context(), claim))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", i), Namespace: s.namespace, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: fmt.Sprintf("machine-%d", i), Containers: []corev1.Container{{Name: "node", Image: "store"}}},
	}
	s.must(s.client.Create(s.t.Context(), pod))
	pod.Status = corev1.PodStatus{
		Phase:             corev1.PodRunning,
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "node", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
	}
	s.must(s.client.Status().Update(s.t.Context(), pod))
}

func (s *stage) cluster() *v1.RaftCluster {
	s.t.Helper()
	c := new(v1.RaftCluster)
	s.must(s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "demo"}, c))
	return c
}

// report writes the status as the operator would: these conditions are True, for the reasons given, and the others False.
func (s *stage) report(conditions map[string]string) {
	s.t.Helper()
	c := s.cluster()
	c.Status = v1.RaftClusterStatus{ObservedGeneration: c.Generation, ClusterID: "c1", ReadyReplicas: 3, Version: "test", Leader: &v1.LeaderStatus{Name: "demo-0", ID: "1", Term: "2"}}
	for _, kind := range []string{v1.ConditionReady, v1.ConditionReconciling, v1.ConditionStalled, v1.ConditionAvailable, v1.ConditionHibernated} {
		k := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: "NotSo", ObservedGeneration: c.Generation, LastTransitionTime: metav1.Now()}
		if reason := conditions[kind]; reason != "" {
			k.Status, k.Reason, k.Message = metav1.ConditionTrue, reason, "as the test has it"
		}
		c.Status.Conditions = append(c.Status.Conditions, k)
	}
	s.must(s.client.Status().Update(s.t.Context(), c))
}

// route is the kubelets' half of port-forwards.
func (s *stage) route(namespace, pod string, port int) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refused[pod]; err != nil {
		return "", err
	}
	ordinal, ok := resources.Ordinal("demo", pod)
	if !ok || namespace != s.namespace || ordinal >= len(group.nodes) {
		return "", fmt.Errorf("there is no pod %s/%s", namespace, pod)
	}
	switch port {
	case resources.ClientPort:
		s.dialled[pod]++
		return group.nodes[ordinal].client, nil
	case resources.MetricsPort:
		return group.nodes[ordinal].metrics, nil
	}
	return "", fmt.Errorf("nothing listens on port %d", port)
}

func (s *stage) refuse(pod string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[pod] = err
}

var logPath = regexp.MustCompile(`/pods/([^/]+)/log$`)

// serve puts the played parts before the API server, and writes a kubeconfig for that.
func (s *stage) serve() {
	s.t.Helper()
	transport, err := rest.TransportFor(environment.config)
	s.must(err)
	target, err := url.Parse(environment.config.Host)
	s.must(err)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	forward := tunneltest.Handler(s.t, s.route)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch match := logPath.FindStringSubmatch(r.URL.Path); {
		case tunneltest.IsForward(r):
			forward.ServeHTTP(w, r)
		case match != nil:
			s.serveLog(w, r, match[1])
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	s.t.Cleanup(server.Close)
	s.config = filepath.Join(s.t.TempDir(), "kubeconfig")
	s.must(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: server.URL}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", Namespace: s.namespace}},
		CurrentContext: "test",
	}, s.config))
}

// serveLog tells a pod's log, as much of it as was asked for, to the second. Then its container has ended.
func (s *stage) serveLog(w http.ResponseWriter, r *http.Request, pod string) {
	s.mu.Lock()
	text := s.logs[pod]
	s.mu.Unlock()
	const second = "2026-01-01T00:00:00"
	since := r.URL.Query().Get("sinceTime")
	told := true
	for l := range strings.Lines(text) {
		if len(l) > len(second) && len(since) >= len(second) {
			told = l[:len(second)] >= since[:len(second)]
		}
		if told {
			_, _ = io.WriteString(w, l)
		}
	}
}

// run runs a command with the stage's kubeconfig.
func (s *stage) run(arguments ...string) said {
	return s.runIn(s.t.Context(), arguments...)
}

func (s *stage) runIn(ctx context.Context, arguments ...string) said {
	return with{}.run(ctx, append([]string{"--kubeconfig", s.config, "--timeout=60s"}, arguments...)...)
}

// ok runs a command that must end with exit code 0.
func (s *stage) ok(arguments ...string) string {
	s.t.Helper()
	said := s.run(arguments...)
	if said.code != ExitOK {
		s.t.Fatalf("raftctl %s ends with %d: %s%s", strings.Join(arguments, " "), said.code, said.out, said.err)
	}
	return said.out
}
