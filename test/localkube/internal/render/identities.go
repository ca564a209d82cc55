package render

import (
	"encoding/json"
	"net/netip"
	"path/filepath"

	"github.com/raftkv/raftkv/test/localkube/internal/pki"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// frontProxyUser is whom aggregated API servers believe when it speaks for others.
const frontProxyUser = "front-proxy-client"

// Identities are the holders of certificates in a cluster. The users and groups are those that Kubernetes' built-in
// roles are bound to, so no role of our own is needed.
func Identities(p plan.Plan) []pki.Identity {
	loopback := netip.MustParseAddr("127.0.0.1")
	ids := []pki.Identity{
		{
			File: "kube-apiserver", User: "kube-apiserver",
			Addresses: []netip.Addr{p.Control, p.APIService, loopback},
			Names: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc." + plan.ClusterDomain,
			},
		},
		{File: "kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		{File: "front-proxy", User: frontProxyUser},
		{File: "admin", User: "localkube-admin", Groups: []string{"system:masters"}},
		{File: "kube-controller-manager", User: "system:kube-controller-manager"},
		{File: "kube-scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
	}
	for _, n := range p.Nodes {
		ids = append(ids, pki.Identity{
			File: n.Name, User: "system:node:" + n.Name, Groups: []string{"system:nodes"},
			Addresses: []netip.Addr{n.Address}, Names: []string{n.Name},
		})
	}
	return ids
}

// Kubeconfig is the file by which the holder of the certificate called identity reaches the API server at url.
func Kubeconfig(p plan.Plan, identity, url string) string {
	name := "localkube-" + p.Name
	file := func(suffix string) string { return filepath.Join(p.PKI(), suffix) }
	return document(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []any{map[string]any{"name": name, "cluster": map[string]any{
			"server": url, "certificate-authority": file("ca.crt"),
		}}},
		"users": []any{map[string]any{"name": identity, "user": map[string]any{
			"client-certificate": file(identity + ".crt"), "client-key": file(identity + ".key"),
		}}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": identity}}},
	})
}

// document is v as indented JSON, which every reader of YAML takes.
func document(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		// Only maps, slices, strings, numbers and booleans come in here.
		panic(err)
	}
	return string(text) + "\n"
}
