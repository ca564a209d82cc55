package render

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

var build = Build{
	Bin: "/cache/bin", Store: StoreRaftkv, StoreProgram: "/work/bin/raftkv-node", Containerd: "/usr/bin/containerd", Ctr: "/usr/bin/ctr", CNIFolder: "/usr/lib/cni",
	PauseImage: "registry.k8s.io/pause:3.10", CoreDNSImage: "localhost/coredns:v1", ImageFiles: []string{"/cache/pause.tar", "/cache/coredns.tar"},
}

func threeNodes(t *testing.T) plan.Plan {
	t.Helper()
	p, err := plan.New("demo", "/var/lib/x", 3)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestEveryFileThatAProgramNamesIsRendered catches a certificate or a configuration file that nobody writes.
func TestEveryFileThatAProgramNamesIsRendered(t *testing.T) {
	p := threeNodes(t)
	written := map[string]bool{}
	for _, name := range []string{"ca.crt", "ca.key", "service-accounts.key", "service-accounts.pub"} {
		written[filepath.Join(p.PKI(), name)] = true
	}
	for _, id := range Identities(p) {
		written[filepath.Join(p.PKI(), id.File+".crt")] = true
		written[filepath.Join(p.PKI(), id.File+".key")] = true
	}
	texts := map[string]string{p.Kubeconfig(): Kubeconfig(p, "admin", "https://127.0.0.1:1")}
	addFiles := func(name string, files map[string]string) {
		for file, text := range files {
			texts[filepath.Join(p.Config(name), file)] = text
		}
	}
	addFiles(plan.ControlName, ControlFiles(p))
	programs := ControlPrograms(p, build)
	for _, n := range p.Nodes {
		addFiles(n.Name, NodeFiles(p, n, build))
		programs = append(programs, NodePrograms(p, n, build)...)
	}
	for path := range texts {
		written[path] = true
		for dir := filepath.Dir(path); dir != p.Work && dir != "/"; dir = filepath.Dir(dir) {
			written[dir] = true
		}
	}
	var named []string
	inConfig := regexp.MustCompile(regexp.QuoteMeta(p.Work) + `/(?:pki|config)/[^"',\s]+`)
	for _, text := range texts {
		named = append(named, inConfig.FindAllString(text, -1)...)
	}
	for _, program := range programs {
		for _, arg := range append(slices.Clone(program.Args), program.Needs.CAFile, program.Ready.CAFile) {
			named = append(named, inConfig.FindAllString(arg, -1)...)
		}
	}
	if len(named) < 30 {
		t.Fatalf("only %d files are named; the search is broken", len(named))
	}
	for _, path := range named {
		if !written[path] {
			t.Errorf("%s is named but never written", path)
		}
	}
}

// TestTheStoreIsOneClusterOfThree catches a member that the others do not name, ports that are used twice, and an API server that would
// not survive the loss of a member.
func TestTheStoreIsOneClusterOfThree(t *testing.T) {
	programs := ControlPrograms(threeNodes(t), build)
	flag := func(p member.Program, name string) string {
		i := slices.IndexFunc(p.Args, func(a string) bool { return strings.HasPrefix(a, "--"+name+"=") })
		if i < 0 {
			t.Fatalf("%s has no --%s", p.Name, name)
		}
		return strings.TrimPrefix(p.Args[i], "--"+name+"=")
	}
	apiserver := slices.IndexFunc(programs, func(p member.Program) bool { return p.Name == "kube-apiserver" })
	names := StoreProgramNames(StoreRaftkv)
	if apiserver != len(names) || apiserver != 3 {
		t.Fatalf("%d programs start before the API server, of the store %v", apiserver, names)
	}
	servers := strings.Split(flag(programs[apiserver], "etcd-servers"), ",")
	seen := map[string]bool{}
	for i, store := range programs[:apiserver] {
		if store.Name != names[i] || store.Path != build.StoreProgram || flag(store, "name") != names[i] {
			t.Errorf("member %d is %+v", i, store)
		}
		if flag(store, "initial-cluster") != flag(programs[0], "initial-cluster") ||
			!slices.Contains(strings.Split(flag(store, "initial-cluster"), ","), store.Name+"="+flag(store, "listen-peer-urls")) {
			t.Errorf("%s is not one of %s", store.Name, flag(store, "initial-cluster"))
		}
		if servers[i] != flag(store, "listen-client-urls") {
			t.Errorf("the API server does not know %s: %v", store.Name, servers)
		}
		for _, name := range []string{"listen-peer-urls", "listen-client-urls", "listen-metrics-urls", "data-dir"} {
			if own := flag(store, name); seen[own] {
				t.Errorf("%s is used twice", own)
			}
			seen[flag(store, name)] = true
		}
		// A member that is waited for before most run would never be ready.
		if waited := store.Ready != (member.Probe{}); waited != (i == apiserver-1) {
			t.Errorf("%s is waited for: %t", store.Name, waited)
		}
	}
}

func TestTheStoreMayBeAnEtcdOfTheMachine(t *testing.T) {
	other := build
	other.Store, other.StoreProgram = StoreEtcd, "/usr/bin/etcd"
	programs := ControlPrograms(threeNodes(t), other)
	if programs[0].Path != "/usr/bin/etcd" || programs[0].Ready == (member.Probe{}) || programs[1].Name != "kube-apiserver" {
		t.Fatalf("%+v", programs[:2])
	}
	if !slices.Contains(programs[1].Args, "--etcd-servers=http://127.0.0.1:2379") {
		t.Errorf("the API server is told %v", programs[1].Args)
	}
	if names := StoreProgramNames(StoreEtcd); !slices.Equal(names, []string{programs[0].Name}) {
		t.Errorf("its programs are called %v", names)
	}
}

func TestStoresAreFoundByTheirNames(t *testing.T) {
	for _, store := range Stores {
		if got, err := ParseStore(string(store)); err != nil || got != store {
			t.Errorf("%s: %s, %v", store, got, err)
		}
	}
	if _, err := ParseStore("sqlite"); err == nil || !strings.Contains(err.Error(), "raftkv and etcd") {
		t.Errorf("an unknown store: %v", err)
	}
}

func TestDocumentsAreWellFormed(t *testing.T) {
	p := threeNodes(t)
	for name, text := range NodeFiles(p, p.Nodes[0], build) {
		if strings.HasSuffix(name, ".toml") || name == "resolv.conf" {
			continue
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("%s is not well formed: %s", name, text)
		}
	}
	if patch := PodCIDRPatch(p.Nodes[1]); !json.Valid([]byte(patch)) || !strings.Contains(patch, "10.244.2.0/24") {
		t.Errorf("patch is %s", patch)
	}
}

func TestNodesDifferWhereTheyMust(t *testing.T) {
	p := threeNodes(t)
	a, b := NodeFiles(p, p.Nodes[0], build), NodeFiles(p, p.Nodes[1], build)
	for _, file := range []string{"kubelet", "kubeconfig", "kube-proxy", "containerd.toml", "cni/10-rkv.conflist"} {
		if a[file] == "" || a[file] == b[file] {
			t.Errorf("%s is empty or the same on two nodes", file)
		}
	}
	if strings.Contains(a["kubelet"], `"cgroupRoot": "`+p.Cgroup("node-1")) || !strings.Contains(a["kubelet"], `"cgroupRoot": "/rkv-demo/node-1"`) {
		t.Errorf("the kubelet's cgroup root must be absolute and the node's own: %s", a["kubelet"])
	}
}

func TestEveryNodeReachesThePodsOfEveryOther(t *testing.T) {
	p := threeNodes(t)
	for _, n := range p.Nodes {
		network := NodeNetwork(p, n)
		for _, other := range p.Nodes {
			route := "route add " + other.PodCIDR.String() + " via " + other.Address.String()
			if got := strings.Contains(network, route); got != (other.Name != n.Name) {
				t.Errorf("%s: route to the pods of %s: %v\n%s", n.Name, other.Name, got, network)
			}
		}
	}
	control := ControlNetwork(p)
	for _, n := range p.Nodes {
		if !strings.Contains(control, n.PodCIDR.String()+" via "+n.Address.String()) {
			t.Errorf("the control plane has no way to the pods of %s, so webhooks there cannot be called", n.Name)
		}
	}
}

func TestANodeThatIsCutOffStartsUnplugged(t *testing.T) {
	n := threeNodes(t).Nodes[0]
	if strings.Contains(Cable(n, 42, false), "master") {
		t.Error("the cable of a node that is cut off is plugged in")
	}
	if cable := Cable(n, 42, true); !strings.Contains(cable, "master "+plan.Bridge) || !strings.Contains(cable, "netns 42") {
		t.Errorf("the cable is laid wrong: %s", cable)
	}
}

func TestProgramsWaitForWhatTheyNeed(t *testing.T) {
	p := threeNodes(t)
	programs := NodePrograms(p, p.Nodes[0], build)
	position := func(name string) int {
		return slices.IndexFunc(programs, func(program member.Program) bool { return program.Name == name })
	}
	if position("containerd") > position("import-1") || position("import-2") > position("kubelet") {
		t.Error("images must be imported after containerd and before the kubelet, or pods would try to pull them")
	}
	if programs[position("kubelet")].Needs.URL == "" {
		t.Error("the kubelet does not wait for the API server")
	}
	if programs[position("containerd")].Ready == (member.Probe{}) {
		t.Error("nobody waits for containerd")
	}
}

func TestBootstrapHasNoPlaceholderLeft(t *testing.T) {
	text := Bootstrap(threeNodes(t), build)
	for _, placeholder := range []string{"COREDNS_IMAGE", "DNS_SERVICE", "CLUSTER_DOMAIN"} {
		if strings.Contains(text, placeholder) {
			t.Errorf("%s was not replaced", placeholder)
		}
	}
	if !strings.Contains(text, "clusterIP: 10.96.0.10") || !strings.Contains(text, build.CoreDNSImage) {
		t.Error("the DNS Service has the wrong address or image")
	}
}

func TestAPIServerCertificateCoversAllItsAddresses(t *testing.T) {
	p := threeNodes(t)
	server := Identities(p)[0]
	for _, address := range []string{"127.0.0.1", p.Control.String(), p.APIService.String()} {
		found := false
		for _, covered := range server.Addresses {
			found = found || covered.String() == address
		}
		if !found {
			t.Errorf("clients that connect to %s would refuse the certificate", address)
		}
	}
}
