package render

import (
	"fmt"
	"path/filepath"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// Build is where the programs and images of a cluster are.
type Build struct {
	Bin          string // folder of the programs that were built
	Store        Store
	StoreProgram string // the store's program
	Containerd   string // containerd's programs, from the machine
	Ctr          string
	CNIFolder    string
	PauseImage   string
	CoreDNSImage string
	ImageFiles   []string
}

// ControlPrograms are the processes of the control plane in the order they start.
func ControlPrograms(p plan.Plan, b Build) []member.Program {
	pki := func(name string) string { return filepath.Join(p.PKI(), name) }
	config := func(name string) string { return filepath.Join(p.Config(plan.ControlName), name) }
	program := func(name string, args ...string) member.Program {
		return member.Program{Name: name, Path: filepath.Join(b.Bin, name), Args: args}
	}

	apiserver := program("kube-apiserver",
		"--advertise-address="+p.Control.String(), fmt.Sprintf("--secure-port=%d", plan.APIServerPort),
		"--etcd-servers="+storeURLs(b.Store), "--service-cluster-ip-range="+p.ServiceNetwork.String(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file="+pki("ca.crt"),
		"--tls-cert-file="+pki("kube-apiserver.crt"), "--tls-private-key-file="+pki("kube-apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc."+plan.ClusterDomain,
		"--service-account-key-file="+pki("service-accounts.pub"), "--service-account-signing-key-file="+pki("service-accounts.key"),
		"--kubelet-client-certificate="+pki("kubelet-client.crt"), "--kubelet-client-key="+pki("kubelet-client.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+pki("ca.crt"), "--requestheader-allowed-names="+frontProxyUser,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"),
		// The control plane has no kube-proxy: webhooks are called at their pods' addresses.
		"--enable-aggregator-routing=true", "--profiling=false")
	apiserver.Ready = APIServerProbe(p)

	return append(storePrograms(p, b),
		apiserver,
		program("kube-controller-manager",
			"--kubeconfig="+config("kube-controller-manager"), "--authentication-kubeconfig="+config("kube-controller-manager"),
			"--authorization-kubeconfig="+config("kube-controller-manager"),
			"--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true", "--profiling=false",
			"--root-ca-file="+pki("ca.crt"), "--service-account-private-key-file="+pki("service-accounts.key"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
			"--cluster-cidr="+p.PodNetwork.String(), "--allocate-node-cidrs=false",
			// A lost node is found out within about 20 s of its last sign, not after the usual 50.
			"--node-monitor-grace-period=15s", "--node-monitor-period=2s"),
		program("kube-scheduler",
			"--kubeconfig="+config("kube-scheduler"), "--authentication-kubeconfig="+config("kube-scheduler"),
			"--authorization-kubeconfig="+config("kube-scheduler"),
			"--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"),
		program("local-provisioner", "-kubeconfig="+config("admin"), "-root="+p.Volumes()),
	)
}

// APIServerProbe asks, from inside the cluster's network, whether the API server serves.
func APIServerProbe(p plan.Plan) member.Probe {
	return member.Probe{URL: p.APIServerURL() + "/readyz", CAFile: filepath.Join(p.PKI(), "ca.crt")}
}

// ControlFiles are the files in the control plane's config folder, by name.
func ControlFiles(p plan.Plan) map[string]string {
	files := map[string]string{}
	for _, user := range []string{"admin", "kube-controller-manager", "kube-scheduler"} {
		files[user] = Kubeconfig(p, user, p.APIServerURL())
	}
	return files
}
