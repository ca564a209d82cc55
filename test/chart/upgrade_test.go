package chart

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// patience bounds a wait for the API server; it is a hang that it finds.
const patience = 60 * time.Second

// startPatience is how long the API server may take to start, and to end.
const startPatience = 3 * time.Minute

// assets is the folder of the API server's program: where `make test` says, or where localkube keeps what it built.
func assets(t *testing.T) string {
	t.Helper()
	if folder := os.Getenv("KUBEBUILDER_ASSETS"); folder != "" {
		return folder
	}
	if cache, err := os.UserCacheDir(); err == nil {
		if servers, _ := filepath.Glob(filepath.Join(cache, "raftkv", "localkube", "*", "bin", "kube-apiserver")); len(servers) > 0 {
			return filepath.Dir(servers[0])
		}
	}
	t.Fatal("this test needs a real kube-apiserver: run it with `make test-unit`, which builds one, or set KUBEBUILDER_ASSETS to a folder that holds one")
	return ""
}

// apiServer starts a real one, with a node of this checkout as its store, and gives a client and the path of its kubeconfig.
func apiServer(t *testing.T) (client.Client, string) {
	t.Helper()
	folder := t.TempDir()
	store := filepath.Join(folder, "raftkv-node")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", store, filepath.Join(root, "cmd", "node"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the API server's store: %v\n%s", err, text)
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: assets(t), ControlPlane: envtest.ControlPlane{Etcd: &envtest.Etcd{Path: store}},
		// Its own patience, of 20 seconds, is too short for a busy machine.
		ControlPlaneStartTimeout: startPatience, ControlPlaneStopTimeout: startPatience,
	}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server of %s, which `make test-unit` builds: %v", env.BinaryAssetsDirectory, err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	kubeconfig := filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, kubeconfig
}

// laterRight is a resource that the operator of the earlier chart may not read.
const laterRight = "controllerrevisions"

// earlier is a copy of the chart as an earlier version may have been: its CRD lacks a field, and its operator a right.
func earlier(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "raftkv")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "charts", "raftkv"))); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(folder, "Chart.yaml"), func(chart map[string]any) { chart["version"] = "0.0.1" })
	edit(t, filepath.Join(folder, "files", "crds", "raftkv.io_raftclusters.yaml"), func(crd map[string]any) {
		versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
		for _, v := range versions {
			unstructured.RemoveNestedField(v.(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties", "hibernate")
		}
		if err := unstructured.SetNestedSlice(crd, versions, "spec", "versions"); err != nil {
			t.Fatal(err)
		}
	})
	edit(t, filepath.Join(folder, "files", "rbac", "role.yaml"), func(role map[string]any) {
		rules, _, _ := unstructured.NestedSlice(role, "rules")
		role["rules"] = slices.DeleteFunc(rules, func(rule any) bool {
			resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
			return slices.Contains(resources, laterRight)
		})
	})
	return folder
}

func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	change(object)
	if text, err = yaml.Marshal(object); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func raftCluster(namespace string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"hibernate": true, "storage": map[string]any{"size": "1Gi"},
	}}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "raftkv.io", Version: "v1", Kind: "RaftCluster"})
	u.SetNamespace(namespace)
	u.SetName("demo")
	return u
}

// TestUpgrade takes a release from an earlier chart to this one, and away again. helm leaves alone what is in a chart's folder crds; so this chart's
// CRD is a template, which an upgrade brings up to date like everything else, and which stays when the release goes.
func TestUpgrade(t *testing.T) {
	c, kubeconfig := apiServer(t)
	ctx := context.Background()
	run := func(args ...string) {
		t.Helper()
		command := exec.Command(helm(t), append(args, "--kubeconfig", kubeconfig, "--namespace", "default")...)
		if text, err := command.CombinedOutput(); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	hibernates := func(o *unstructured.Unstructured) bool {
		value, _, err := unstructured.NestedBool(o.Object, "spec", "hibernate")
		return err == nil && value
	}
	run("install", "release", earlier(t))
	o := raftCluster("default")
	eventually(t, "the CRD is served", func() bool {
		err := c.Create(ctx, o)
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	if hibernates(o) {
		t.Fatal("the earlier chart knows the field that it is to lack")
	}
	if granted(t, c) {
		t.Fatal("the earlier chart gives the right that it is to lack")
	}
	uid := o.GetUID()

	run("upgrade", "release", filepath.Join(root, "charts", "raftkv"))
	eventually(t, "the field is there", func() bool {
		if err := c.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"hibernate":true}}`))); err != nil {
			t.Fatal(err)
		}
		return hibernates(o)
	})
	if o.GetUID() != uid {
		t.Error("the RaftCluster was made anew")
	}
	if !granted(t, c) {
		t.Error("the operator did not get the rights of this version")
	}

	run("uninstall", "release")
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil || o.GetUID() != uid || o.GetDeletionTimestamp() != nil {
		t.Errorf("the RaftCluster went with the release: %v", err)
	}
}

// granted tells that the release's operator has the later right.
func granted(t *testing.T, c client.Client) bool {
	t.Helper()
	var roles rbacv1.ClusterRoleList
	if err := c.List(context.Background(), &roles, client.MatchingLabels{"app.kubernetes.io/managed-by": "Helm"}); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(roles.Items, func(role rbacv1.ClusterRole) bool {
		return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, laterRight) })
	})
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
