package render

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// The texts below are input for `ip -batch`, run inside the network namespace of the member they are named for.

// ControlNetwork makes the bridge that joins everything, and the control plane's ways to the pods.
func ControlNetwork(p plan.Plan) string {
	lines := []string{
		"link set lo up",
		"link add " + plan.Bridge + " type bridge",
		fmt.Sprintf("addr add %s/%d dev %s", p.Control, p.NodeNetwork.Bits(), plan.Bridge),
		"link set " + plan.Bridge + " up",
	}
	for _, n := range p.Nodes {
		lines = append(lines, fmt.Sprintf("route add %s via %s", n.PodCIDR, n.Address))
	}
	return batch(lines)
}

// Cable runs in the control plane's namespace and joins the node, whose init process is pid, to the bridge. A cable
// that is laid unplugged leaves the node cut off, as it was when it was stopped.
func Cable(n plan.Node, pid int, plugged bool) string {
	lines := []string{
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d", n.Port, n.MAC, pid),
		fmt.Sprintf("link set %s up", n.Port),
	}
	if plugged {
		lines = append(lines, Plug(n))
	}
	return batch(lines)
}

// Unlay takes the cable away that a node had.
func Unlay(n plan.Node) string { return "link delete " + n.Port }

// Plug and Unplug move the node's port to and from the bridge. Both ends of the cable stay up, as with a switch that
// died: what the node sends is lost without a word, and so is what is sent to it.
func Plug(n plan.Node) string   { return fmt.Sprintf("link set %s master %s", n.Port, plan.Bridge) }
func Unplug(n plan.Node) string { return fmt.Sprintf("link set %s nomaster", n.Port) }

// NodeNetwork gives a node its address and its ways to the pods of the others.
func NodeNetwork(p plan.Plan, n plan.Node) string {
	lines := []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/%d dev eth0", n.Address, p.NodeNetwork.Bits()),
		"link set eth0 up",
		// Service addresses need a route before they are translated; there is nothing else out there.
		fmt.Sprintf("route add default via %s", p.Control),
	}
	for _, other := range p.Nodes {
		if other.Name != n.Name {
			lines = append(lines, fmt.Sprintf("route add %s via %s", other.PodCIDR, other.Address))
		}
	}
	return batch(lines)
}

func batch(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// CNI is the network configuration of a node's pods: each gets an address of the node's range and a routed link of its
// own. Without a bridge between pods all their traffic passes the node's address translation, also that between two pods
// of one node, and nothing depends on how the kernel filters bridged traffic.
func CNI(n plan.Node) string {
	return document(map[string]any{
		"cniVersion": "0.4.0", "name": "rkv",
		"plugins": []any{map[string]any{
			"type": "ptp", "ipMasq": false, "mtu": 1500,
			"ipam": map[string]any{
				"type":   "host-local",
				"ranges": []any{[]any{map[string]any{"subnet": n.PodCIDR.String()}}},
				"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
			},
		}},
	})
}
