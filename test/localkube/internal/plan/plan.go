// Package plan decides the names, folders and addresses of a local cluster. It is arithmetic only: the same name, folder
// and number of nodes give the same plan on every machine, and nothing here touches the system.
//
// Every address lives in network namespaces that belong to the cluster alone, so two clusters may use the same ones, and
// no address here can meet one of the machine's own network.
package plan

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
)

const (
	// MaxNodes keeps node addresses and pod ranges within one octet, and a test machine alive.
	MaxNodes = 20
	// APIServerPort is where the API server listens inside the control plane's namespace.
	APIServerPort = 6443
	// KubeletPort is where a node's kubelet serves logs, exec and port-forward to the API server.
	KubeletPort = 10250
	// ClusterDomain is the DNS zone of Services and pods.
	ClusterDomain = "cluster.local"
	// ControlName is the member that runs the control plane; it is no Kubernetes node.
	ControlName = "control"
	// Bridge joins the control plane and the nodes; it lives in the control plane's network namespace.
	Bridge = "rkv0"
)

var (
	controlAddress = netip.MustParseAddr("10.219.0.1")
	nodeNetwork    = netip.MustParsePrefix("10.219.0.0/24")
	podNetwork     = netip.MustParsePrefix("10.244.0.0/16")
	serviceNetwork = netip.MustParsePrefix("10.96.0.0/16")
	apiService     = netip.MustParseAddr("10.96.0.1")
	dnsService     = netip.MustParseAddr("10.96.0.10")

	validName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)
)

// Plan is a whole cluster before any of it exists. Its JSON form is kept in the cluster's folder, so that every later
// command speaks of the same cluster.
type Plan struct {
	Name  string `json:"name"`
	Work  string `json:"work"` // absolute folder that holds everything of this cluster
	Nodes []Node `json:"nodes"`

	Control        netip.Addr   `json:"control"`
	NodeNetwork    netip.Prefix `json:"nodeNetwork"`
	PodNetwork     netip.Prefix `json:"podNetwork"`
	ServiceNetwork netip.Prefix `json:"serviceNetwork"`
	APIService     netip.Addr   `json:"apiService"`
	DNSService     netip.Addr   `json:"dnsService"`
}

// Node is one Kubernetes node.
type Node struct {
	Name    string       `json:"name"`
	Address netip.Addr   `json:"address"`
	PodCIDR netip.Prefix `json:"podCIDR"`
	// Port is the node's socket on the bridge, in the control plane's namespace: what cut pulls out.
	Port string `json:"port"`
	// MAC stays the same over restarts, so that no neighbour holds a stale one after a node came back.
	MAC string `json:"mac"`
}

// New plans a cluster of that many nodes under base. The error says what is allowed.
func New(name, base string, nodes int) (Plan, error) {
	if !validName.MatchString(name) {
		return Plan{}, fmt.Errorf("cluster name %q: use 1 to 20 lower-case letters, digits and dashes, a letter first and no dash last", name)
	}
	if !filepath.IsAbs(base) {
		return Plan{}, fmt.Errorf("work folder %q: give an absolute path", base)
	}
	if nodes < 1 || nodes > MaxNodes {
		return Plan{}, fmt.Errorf("%d nodes: give 1 to %d", nodes, MaxNodes)
	}
	p := Plan{
		Name: name, Work: filepath.Join(filepath.Clean(base), name),
		Control: controlAddress, NodeNetwork: nodeNetwork, PodNetwork: podNetwork,
		ServiceNetwork: serviceNetwork, APIService: apiService, DNSService: dnsService,
	}
	for i := 1; i <= nodes; i++ {
		address := nodeNetwork.Addr().As4()
		address[3] = byte(10 + i)
		pods := podNetwork.Addr().As4()
		pods[2] = byte(i)
		p.Nodes = append(p.Nodes, Node{
			Name:    fmt.Sprintf("node-%d", i),
			Address: netip.AddrFrom4(address),
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4(pods), 24),
			Port:    fmt.Sprintf("rkv-n%d", i),
			MAC:     fmt.Sprintf("02:72:6b:76:00:%02x", i),
		})
	}
	return p, nil
}

// Node finds a node by its name.
func (p Plan) Node(name string) (Node, error) {
	for _, n := range p.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("there is no node %q; this cluster has %s to %s", name, p.Nodes[0].Name, p.Nodes[len(p.Nodes)-1].Name)
}

// Members names every group of processes of the cluster: the control plane first, then the nodes.
func (p Plan) Members() []string {
	members := []string{ControlName}
	for _, n := range p.Nodes {
		members = append(members, n.Name)
	}
	return members
}

// CgroupRoot is the cluster's cgroup, relative to the root of each hierarchy.
func (p Plan) CgroupRoot() string { return "rkv-" + p.Name }

// Cgroup is a member's cgroup, relative to the root of each hierarchy.
func (p Plan) Cgroup(member string) string { return filepath.Join(p.CgroupRoot(), member) }

// APIServerURL is the API server's address for everything inside the cluster's namespaces.
func (p Plan) APIServerURL() string {
	return "https://" + netip.AddrPortFrom(p.Control, APIServerPort).String()
}

// The folders and files of a cluster.

func (p Plan) StateFile() string  { return filepath.Join(p.Work, "cluster.json") }
func (p Plan) Kubeconfig() string { return filepath.Join(p.Work, "kubeconfig") }
func (p Plan) PKI() string        { return filepath.Join(p.Work, "pki") }
func (p Plan) Volumes() string    { return filepath.Join(p.Work, "volumes") }

// Bin is the folder of the programs that were compiled for this cluster alone.
func (p Plan) Bin() string { return filepath.Join(p.Work, "bin") }

// Logs is the folder of one member's logs, one file for each of its programs.
func (p Plan) Logs(member string) string { return filepath.Join(p.Work, "logs", member) }

// Config is the folder of the files that a member's programs read.
func (p Plan) Config(member string) string { return filepath.Join(p.Work, "config", member) }

// Disk is the folder of a member's own data: the store's for the control plane; for a node what stands in its /var.
func (p Plan) Disk(member string) string { return filepath.Join(p.Work, "disk", member) }
