package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/go-logr/logr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// environment is a real API server with the CRD, started once for all tests of the package. A raftkv node is its store.
var environment struct {
	once   sync.Once
	env    *envtest.Environment
	store  string // folder of the store's program
	client client.Client
	// operator has the rights of config/rbac and no others.
	operator *rest.Config
	err      error
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	if environment.env != nil {
		if err := environment.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
			code = max(code, 1)
		}
	}
	if err := os.RemoveAll(environment.store); err != nil {
		fmt.Fprintln(os.Stderr, "remove the store's program:", err)
	}
	os.Exit(code)
}

// apiServer gives a client of the API server. A machine without the binaries fails the test: it is not skipped.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	environment.once.Do(func() { environment.client, environment.err = startAPIServer() })
	if environment.err != nil {
		t.Fatal(environment.err)
	}
	return environment.client
}

// startPatience is how long the API server may take to start, and to end.
const startPatience = 3 * time.Minute

func startAPIServer() (client.Client, error) {
	assets, err := findAssets()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	store, err := buildStore()
	if err != nil {
		return nil, err
	}
	environment.env = &envtest.Environment{
		BinaryAssetsDirectory: assets,
		// It takes the flags that are meant for etcd.
		ControlPlane:          envtest.ControlPlane{Etcd: &envtest.Etcd{Path: store}},
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "raftkv.io_raftclusters.yaml")},
		ErrorIfCRDPathMissing: true,
		// Its own patience, of 20 and 10 seconds, is too short for a busy machine.
		ControlPlaneStartTimeout: startPatience, ControlPlaneStopTimeout: startPatience,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: startPatience},
	}
	config, err := environment.env.Start()
	if err != nil {
		return nil, fmt.Errorf("start the API server of %s: %w", assets, err)
	}
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	environment.operator = rest.CopyConfig(config)
	environment.operator.Impersonate = rest.ImpersonationConfig{UserName: operatorUser}
	environment.operator.Wrap(AtOnce)
	return c, grantOperatorRights(c)
}

// operatorUser stands for the operator's ServiceAccount.
const operatorUser = "raftkv-operator"

func grantOperatorRights(c client.Client) error {
	text, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	}
	return errors.Join(c.Create(context.Background(), &role), c.Create(context.Background(), binding))
}

// asOperator gives a client with the operator's rights.
func asOperator(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(environment.operator, client.Options{Scheme: apiServer(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// buildStore compiles a node of this checkout.
func buildStore() (string, error) {
	var err error
	if environment.store, err = os.MkdirTemp("", "raftkv-controllers"); err != nil {
		return "", err
	}
	program := filepath.Join(environment.store, "raftkv-node")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the API server's store: %w\n%s", err, output)
	}
	return program, nil
}

// findAssets looks where `make test` says, and then where localkube keeps what it built.
func findAssets() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	servers, err := filepath.Glob(filepath.Join(cache, "raftkv", "localkube", "*", "bin", "kube-apiserver"))
	if err != nil {
		return "", err
	}
	if len(servers) > 0 {
		return filepath.Dir(servers[0]), nil
	}
	return "", errors.New("this test needs a real kube-apiserver: run it with `make test`, which builds one, or set KUBEBUILDER_ASSETS to a folder that holds one")
}

// namespace makes one for this test.
func namespace(t *testing.T, c client.Client) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	return n.Name
}
