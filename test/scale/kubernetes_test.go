//go:build linux && scale

package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	// startPatience is for programs that start on a busy machine.
	startPatience = 5 * time.Minute
	// podsPerNode is what a Kubernetes node takes by default.
	podsPerNode = 110
	// serviceNetwork has room for the Services of all clusters.
	serviceNetwork = "10.0.0.0/16"
	// auditLogMegabytes is more than the audit log grows to: one that is set aside and begun anew would not be counted whole.
	auditLogMegabytes = "65536"
	// operatorNamespace is where the operator's lease is.
	operatorNamespace = "raftkv-system"
)

// zones are those of the Kubernetes nodes, in turn.
var zones = []string{"a", "b", "c"}

// kubernetes is a control plane whose nodes kwok plays.
type kubernetes struct {
	work   string
	scheme *runtime.Scheme
	config *rest.Config
	client client.Client
	audit  *audit
	users  map[string]string // kubeconfigs by user
}

func startKubernetes(t *testing.T, work string, nodes int) *kubernetes {
	t.Helper()
	bin := findPrograms(t)
	k := &kubernetes{work: work, scheme: runtime.NewScheme(), users: map[string]string{}, audit: &audit{path: filepath.Join(work, "audit.log")}}
	if err := errors.Join(clientgoscheme.AddToScheme(k.scheme), v1.AddToScheme(k.scheme)); err != nil {
		t.Fatal(err)
	}
	k.startAPIServer(t, bin)
	// More workers and requests than the defaults, so that the control plane is not what is measured.
	start(t, work, "kube-controller-manager", filepath.Join(bin, "kube-controller-manager"), nil,
		"--kubeconfig="+k.users["controllers"], "--leader-elect=false", "--secure-port=0", "--kube-api-qps=2000", "--kube-api-burst=4000",
		"--concurrent-statefulset-syncs=20", "--concurrent-service-endpoint-syncs=20", "--concurrent-endpoint-syncs=20")
	config := filepath.Join(work, "scheduler.yaml")
	k.write(t, config, "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nleaderElection: {leaderElect: false}\n"+
		"clientConnection: {kubeconfig: "+k.users["scheduler"]+", qps: 2000, burst: 4000}\n")
	start(t, work, "kube-scheduler", filepath.Join(bin, "kube-scheduler"), nil, "--config="+config, "--secure-port=0")
	start(t, work, "kwok", filepath.Join(programs, kwokProgram), nil,
		"--kubeconfig="+k.users["kwok"], "--manage-all-nodes=true", "--cidr="+podNetwork, "--node-ip="+machineAddress,
		"--node-lease-duration-seconds=40", "--config="+filepath.Join(programs, stagesFile))
	k.prepare(t, nodes)
	return k
}

func (k *kubernetes) startAPIServer(t *testing.T, bin string) {
	t.Helper()
	policy := filepath.Join(k.work, "audit-policy.yaml")
	k.write(t, policy, auditPolicy)
	env := &envtest.Environment{
		BinaryAssetsDirectory: bin,
		// The store takes the flags that are meant for etcd.
		ControlPlane:             envtest.ControlPlane{Etcd: &envtest.Etcd{Path: filepath.Join(programs, storeProgram)}},
		CRDInstallOptions:        envtest.CRDInstallOptions{Paths: []string{filepath.Join("..", "..", "config", "crd", "raftkv.io_raftclusters.yaml")}, MaxTime: startPatience, ErrorIfPathMissing: true},
		ControlPlaneStartTimeout: startPatience, ControlPlaneStopTimeout: stopPatience,
	}
	log, err := os.Create(filepath.Join(k.work, "kube-apiserver.log"))
	if err != nil {
		t.Fatal(err)
	}
	server := env.ControlPlane.GetAPIServer()
	server.Err = log
	server.Configure().
		Set("service-cluster-ip-range", serviceNetwork).Set("advertise-address", machineAddress).
		Set("enable-admission-plugins", "ServiceAccount").Disable("disable-admission-plugins").
		Set("audit-policy-file", policy).Set("audit-log-path", k.audit.path).Set("audit-log-mode", "blocking").
		Set("audit-log-maxsize", auditLogMegabytes)
	t.Cleanup(func() {
		if err := errors.Join(env.Stop(), log.Close()); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	if k.config, err = env.Start(); err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	k.config.QPS = -1
	if k.client, err = client.New(k.config, client.Options{Scheme: k.scheme}); err != nil {
		t.Fatal(err)
	}
	for user, groups := range map[string][]string{
		"controllers": {"system:masters"}, "scheduler": {"system:masters"}, "kwok": {"system:masters"}, operatorUser: nil,
	} {
		u, err := env.ControlPlane.AddUser(envtest.User{Name: user, Groups: groups}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := u.KubeConfig()
		if err != nil {
			t.Fatal(err)
		}
		k.users[user] = filepath.Join(k.work, user+".kubeconfig")
		k.write(t, k.users[user], string(text))
	}
}

func (k *kubernetes) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// findPrograms looks where `make scale` says, and then where localkube keeps what it built.
func findPrograms(t *testing.T) string {
	t.Helper()
	folders := []string{os.Getenv("KUBEBUILDER_ASSETS")}
	if folders[0] == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		if folders, err = filepath.Glob(filepath.Join(cache, "raftkv", "localkube", "*", "bin")); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "kube-controller-manager")); err == nil {
			return folder
		}
	}
	t.Fatal("this test needs kube-apiserver, kube-controller-manager and kube-scheduler: run it with `make scale`, which builds them")
	return ""
}

// prepare makes what the clusters need: nodes, a storage class, namespaces, and the operator's rights as config/rbac has them.
func (k *kubernetes) prepare(t *testing.T, nodes int) {
	t.Helper()
	objects := []client.Object{
		&storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: storageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
			Provisioner: provisioner,
		},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: operatorUser}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "raftkv-operator"}, Subjects: operatorSubject()},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: operatorUser}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "raftkv-operator-leader-election"}, Subjects: operatorSubject()},
	}
	var role rbacv1.ClusterRole
	var election rbacv1.Role
	k.read(t, "role.yaml", &role)
	k.read(t, "leader_election.yaml", &election)
	objects = append(objects, &role, &election)
	for i := range namespaces {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(i)}})
	}
	for i := range nodes {
		room := corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourcePods: *resource.NewQuantity(podsPerNode, resource.DecimalSI),
		}
		name := fmt.Sprintf("node-%03d", i)
		objects = append(objects, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelTopologyZone: zones[i%len(zones)],
			}},
			Spec:   corev1.NodeSpec{PodCIDR: podCIDR(i), PodCIDRs: []string{podCIDR(i)}},
			Status: corev1.NodeStatus{Capacity: room, Allocatable: room},
		})
	}
	for _, o := range objects {
		if err := k.client.Create(context.Background(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// read decodes the first document of a file of config/rbac.
func (k *kubernetes) read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(firstDocument(text), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func operatorSubject() []rbacv1.Subject {
	return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}}
}
