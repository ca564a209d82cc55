package plan

import (
	"strings"
	"testing"
)

func TestAddressesAreDistinctAndInsideTheirNetworks(t *testing.T) {
	p, err := New("demo", "/var/lib/x", MaxNodes)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{p.Control.String(): true}
	for _, n := range p.Nodes {
		for _, unique := range []string{n.Address.String(), n.PodCIDR.String(), n.Port, n.MAC, n.Name} {
			if seen[unique] {
				t.Errorf("%s: %s is used twice", n.Name, unique)
			}
			seen[unique] = true
		}
		if !p.NodeNetwork.Contains(n.Address) {
			t.Errorf("%s: address %s is outside of %s", n.Name, n.Address, p.NodeNetwork)
		}
		if !p.PodNetwork.Contains(n.PodCIDR.Addr()) || n.PodCIDR.Bits() <= p.PodNetwork.Bits() {
			t.Errorf("%s: pods %s are not a part of %s", n.Name, n.PodCIDR, p.PodNetwork)
		}
		if len(n.Port) > 15 {
			t.Errorf("%s: interface name %s is longer than the kernel's 15 bytes", n.Name, n.Port)
		}
	}
	for _, network := range []struct{ a, b string }{
		{p.NodeNetwork.String(), p.PodNetwork.String()},
		{p.PodNetwork.String(), p.ServiceNetwork.String()},
	} {
		if network.a == network.b {
			t.Errorf("networks overlap: %v", network)
		}
	}
	if !p.ServiceNetwork.Contains(p.DNSService) || !p.ServiceNetwork.Contains(p.APIService) {
		t.Error("the DNS and API Services must lie in the Service network")
	}
}

func TestTwoClustersShareNoFolderAndNoCgroup(t *testing.T) {
	a, err := New("demo", "/var/lib/x", 1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New("e2e", "/var/lib/x", 1)
	if err != nil {
		t.Fatal(err)
	}
	if a.Work == b.Work || a.CgroupRoot() == b.CgroupRoot() {
		t.Errorf("clusters %q and %q share %s or %s", a.Name, b.Name, a.Work, a.CgroupRoot())
	}
}

func TestBadInputIsRefusedWithWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		name, base string
		nodes      int
		says       string
	}{
		{"", "/w", 1, "letters"},
		{"Demo", "/w", 1, "lower-case"},
		{"../etc", "/w", 1, "letters"},
		{"demo-", "/w", 1, "no dash last"},
		{strings.Repeat("a", 21), "/w", 1, "1 to 20"},
		{"demo", "w", 1, "absolute"},
		{"demo", "/w", 0, "1 to 20"},
		{"demo", "/w", MaxNodes + 1, "1 to 20"},
	} {
		_, err := New(c.name, c.base, c.nodes)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("New(%q, %q, %d) = %v, want an error that says %q", c.name, c.base, c.nodes, err, c.says)
		}
	}
}

func TestUnknownNodeIsNamedWithTheKnownOnes(t *testing.T) {
	p, err := New("demo", "/w", 3)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := p.Node("node-3"); err != nil || n.Name != "node-3" {
		t.Errorf("Node(node-3) = %v, %v", n, err)
	}
	if _, err := p.Node("node-4"); err == nil || !strings.Contains(err.Error(), "node-1 to node-3") {
		t.Errorf("Node(node-4) = %v, want the names that exist", err)
	}
}
