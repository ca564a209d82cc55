package render

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

const containerdSocket = "/run/containerd/containerd.sock"

// NodeSysctls are settings of a node's own network namespace.
var NodeSysctls = map[string]string{
	"net/ipv4/ip_forward":                "1",
	"net/ipv4/conf/all/send_redirects":   "0",
	"net/ipv4/conf/all/rp_filter":        "0",
	"net/ipv4/conf/default/rp_filter":    "0",
	"net/ipv4/conf/all/accept_redirects": "0",
}

// NodeShownSysctls are the settings of the whole machine that a kubelet would change if it did not find them so.
var NodeShownSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// NodePrivateFolders are the machine's folders that a node has its own of, and what of the node's disk is laid there.
func NodePrivateFolders(p plan.Plan, n plan.Node) map[string]string {
	return map[string]string{
		"/var/lib": filepath.Join(p.Disk(n.Name), "lib"),
		"/var/log": filepath.Join(p.Disk(n.Name), "log"),
	}
}

// NodePrograms are the processes of a node in the order they start.
func NodePrograms(p plan.Plan, n plan.Node, b Build) []member.Program {
	config := func(name string) string { return filepath.Join(p.Config(n.Name), name) }
	programs := []member.Program{{
		Name: "containerd", Path: b.Containerd, Args: []string{"--config", config("containerd.toml")},
		Ready: member.Probe{Socket: containerdSocket},
	}}
	for i, file := range b.ImageFiles {
		programs = append(programs, member.Program{
			Name: fmt.Sprintf("import-%d", i+1), Path: b.Ctr, Args: ImportArgs("-"), Stdin: file, Once: true,
		})
	}
	return append(programs,
		member.Program{
			Name: "kubelet", Path: filepath.Join(b.Bin, "kubelet"),
			Args: []string{
				"--config=" + config("kubelet"), "--kubeconfig=" + config("kubeconfig"),
				"--hostname-override=" + n.Name, "--node-ip=" + n.Address.String(), "--root-dir=/var/lib/kubelet",
			},
			Needs: APIServerProbe(p),
			Ready: member.Probe{URL: "http://127.0.0.1:10248/healthz"},
		},
		member.Program{
			Name: "kube-proxy", Path: filepath.Join(b.Bin, "kube-proxy"), Args: []string{"--config=" + config("kube-proxy")},
			Ready: member.Probe{URL: "http://127.0.0.1:10256/livez"},
		})
}

// ImportArgs are ctr's arguments that import an image where a kubelet finds it.
func ImportArgs(file string) []string {
	return []string{"--address", containerdSocket, "--namespace", "k8s.io", "images", "import", file}
}

// ListImagesArgs are ctr's arguments that list the images which the kubelet's side of containerd has taken notice of.
func ListImagesArgs() []string {
	return []string{
		"--address", containerdSocket, "--namespace", "k8s.io", "images", "list", "--quiet",
		`labels."io.cri-containerd.image"==managed`,
	}
}

// NodeFiles are the files in a node's config folder, by name.
func NodeFiles(p plan.Plan, n plan.Node, b Build) map[string]string {
	return map[string]string{
		"containerd.toml":       containerdConfig(p, n, b),
		"cni/10-rkv.conflist":   CNI(n),
		"kubelet":               kubeletConfig(p, n),
		"kubeconfig":            Kubeconfig(p, n.Name, p.APIServerURL()),
		"kube-proxy":            proxyConfig(p, n),
		"kube-proxy-kubeconfig": Kubeconfig(p, "kube-proxy", p.APIServerURL()),
		// Pods of the host's network get this one; it knows no server, because there is none to know.
		"resolv.conf": "",
	}
}

func containerdConfig(p plan.Plan, n plan.Node, b Build) string {
	return strings.NewReplacer(
		"PAUSE", b.PauseImage, "CNI_BIN", b.CNIFolder, "CNI_CONF", filepath.Join(p.Config(n.Name), "cni"), "SOCKET", containerdSocket,
	).Replace(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# The plugins for other file systems complain when theirs is not there.
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[debug]
  level = "warn"

[grpc]
  address = "SOCKET"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE"
  # A machine that is a container itself may not make a process less likely to be killed for memory.
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "CNI_BIN"
  conf_dir = "CNI_CONF"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`)
}

func kubeletConfig(p plan.Plan, n plan.Node) string {
	pki := func(name string) string { return filepath.Join(p.PKI(), name) }
	return document(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "0.0.0.0", "port": plan.KubeletPort, "healthzBindAddress": "127.0.0.1",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": pki("ca.crt")},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"tlsCertFile":   pki(n.Name + ".crt"), "tlsPrivateKeyFile": pki(n.Name + ".key"),
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"clusterDomain":            plan.ClusterDomain, "clusterDNS": []string{p.DNSService.String()},
		"resolvConf": filepath.Join(p.Config(n.Name), "resolv.conf"),

		"cgroupDriver": "cgroupfs", "cgroupRoot": "/" + p.Cgroup(n.Name), "failCgroupV1": false,
		"enforceNodeAllocatable": []string{}, "oomScoreAdj": 0, "failSwapOn": false, "maxPods": 60,
		"volumePluginDir": "/var/lib/kubelet/volumeplugins", "makeIPTablesUtilChains": false,
		// All nodes share one disk, so none can say how much of it is its own.
		"localStorageCapacityIsolation": false, "volumeStatsAggPeriod": "-1s",
		"evictionHard": map[string]string{
			"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
		},
		// What was loaded cannot be pulled again.
		"imageGCHighThresholdPercent": 100,
		// It is renewed after a quarter of this: a node may miss two renewals in the controller manager's grace of 15 s.
		"nodeLeaseDurationSeconds": 20,
	})
}

func proxyConfig(p plan.Plan, n plan.Node) string {
	return document(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "nftables", "hostnameOverride": n.Name, "clusterCIDR": p.PodNetwork.String(),
		"clientConnection": map[string]any{"kubeconfig": filepath.Join(p.Config(n.Name), "kube-proxy-kubeconfig")},
		// Tests wait for every change of a Service.
		"nftables": map[string]any{"minSyncPeriod": "200ms"},
		// The size of the connection table is the whole machine's.
		"conntrack":   map[string]any{"maxPerCore": 0, "min": 0},
		"oomScoreAdj": 0,
	})
}
