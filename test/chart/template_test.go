package chart

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/raftkv/raftkv/controllers/resources"
)

// helm finds the program that localkube builds, or the machine's own. Without one the test fails: it is not skipped.
func helm(t *testing.T) string {
	t.Helper()
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		if path := filepath.Join(assets, "helm"); executable(path) {
			return path
		}
	}
	if path, err := exec.LookPath("helm"); err == nil {
		return path
	}
	if cache, err := os.UserCacheDir(); err == nil {
		built, _ := filepath.Glob(filepath.Join(cache, "raftkv", "localkube", "*", "bin", "helm"))
		for _, path := range built {
			if executable(path) {
				return path
			}
		}
	}
	t.Fatal("this test needs helm: run it with `make test-unit`, which builds it, or put helm into PATH")
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// render gives what helm makes of the chart with these values, or what it complains of.
func render(t *testing.T, values ...string) (string, error) {
	t.Helper()
	return renderAs(t, "release", "raftkv-system", values...)
}

// renderAs is render with a release and a namespace of those names.
func renderAs(t *testing.T, release, namespace string, values ...string) (string, error) {
	t.Helper()
	args := []string{"template", release, filepath.Join(root, "charts", "raftkv"), "--namespace", namespace}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	text, err := exec.Command(helm(t), args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return string(text), err
}

// The members' NetworkPolicy knows the operator's pods by this label, whatever the release is called and wherever it is.
func TestTheMembersNetworkPolicyFindsTheOperator(t *testing.T) {
	text, err := render(t, "nameOverride=store", "podLabels.app\\.kubernetes\\.io/part-of=shop")
	if err != nil {
		t.Fatal(text)
	}
	manifest, err := os.ReadFile(filepath.Join(root, "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, documents := range map[string]string{"chart": text, "config": string(manifest)} {
		_, deployment, found := strings.Cut(documents, "kind: Deployment")
		_, template, labelled := strings.Cut(deployment, "template:")
		labels, _, _ := strings.Cut(template, "containers:")
		if !found || !labelled || !strings.Contains(labels, resources.LabelName+": "+resources.OperatorName) {
			t.Errorf("%s: the operator's pods lack the label %s=%s:\n%s", name, resources.LabelName, resources.OperatorName, labels)
		}
	}
}

// An operator that is confined to namespaces may read nodes, which are in none, and has no other right outside of its namespaces; in them it lacks none.
func TestRightsAreNarrowedToTheNamespaces(t *testing.T) {
	text, err := render(t, "watchNamespaces={one,two}")
	if err != nil {
		t.Fatal(tail(text))
	}
	var all rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(root, "config", "rbac", "role.yaml")), &all); err != nil {
		t.Fatal(err)
	}
	everywhere := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}}}
	inside := slices.DeleteFunc(slices.Clone(all.Rules), func(r rbacv1.PolicyRule) bool { return reflect.DeepEqual(r, everywhere[0]) })
	if len(inside) != len(all.Rules)-1 {
		t.Fatalf("the rules are %+v", all.Rules)
	}
	const name = "release-raftkv-operator"
	found := map[string]bool{}
	for key, o := range objects(t, text) {
		switch x := o.(type) {
		case *rbacv1.ClusterRole:
			found["ClusterRole"] = true
			if !reflect.DeepEqual(x.Rules, everywhere) {
				t.Errorf("%s gives %+v", key, x.Rules)
			}
		case *rbacv1.Role:
			if x.Name == name {
				found["Role "+x.Namespace] = true
				if !reflect.DeepEqual(x.Rules, inside) {
					t.Errorf("%s gives %+v, want %+v", key, x.Rules, inside)
				}
			} else if x.Namespace != "raftkv-system" {
				t.Errorf("there is %s", key)
			}
		case *rbacv1.ClusterRoleBinding:
			found["ClusterRoleBinding"] = true
			checkBinding(t, key, x.Subjects)
		case *rbacv1.RoleBinding:
			found["RoleBinding "+x.Namespace] = true
			checkBinding(t, key, x.Subjects)
		}
	}
	if got, want := slices.Sorted(maps.Keys(found)), []string{
		"ClusterRole", "ClusterRoleBinding", "Role one", "Role two", "RoleBinding one", "RoleBinding raftkv-system", "RoleBinding two",
	}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func checkBinding(t *testing.T, key string, subjects []rbacv1.Subject) {
	t.Helper()
	if len(subjects) != 1 || subjects[0].Kind != rbacv1.ServiceAccountKind || subjects[0].Name != "release-raftkv-operator" || subjects[0].Namespace != "raftkv-system" {
		t.Errorf("%s is for %+v", key, subjects)
	}
}

func TestValuesThatCannotWorkAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"metrics.port=8081":                     "metrics.port and health.port are both 8081",
		"test.storage.size=1Mi":                 "does not match pattern",
		"test.storage.size=255Mi":               "does not match pattern",
		"test.storage.size=268M":                "does not match pattern",
		"metrics.serviceMonitor.interval=often": "does not match pattern",
		"metrics.serviceMonitor.enabled=true,metrics.service.enabled=false": "metrics.serviceMonitor.enabled needs metrics.service.enabled",
		"metrics.port=80":          "minimum",
		"unknown.value=yes":        "unknown",
		"kubeAPI.qps=-1":           "minimum",
		"kubeAPI.qps=3000":         "kubeAPI.burst is 2000 and must be at least kubeAPI.qps, which is 3000",
		"log.format=xml":           "/log/format",
		"fullnameOverride=a.b":     "does not match pattern",
		"nameOverride=Store":       "does not match pattern",
		"serviceAccount.name=A_b":  "does not match pattern",
		"serviceAccount.create=no": "got string, want boolean",
	} {
		if text, err := render(t, value); err == nil || !strings.Contains(text, want) {
			t.Errorf("%s: got %v and %q, want %q", value, err, tail(text), want)
		}
	}
	for _, value := range []string{"test.storage.size=256Mi", "test.storage.size=1000Mi", "test.storage.size=269M", "test.storage.size=1.5Gi", "metrics.port=9090"} {
		if text, err := render(t, value); err != nil {
			t.Errorf("%s: %q", value, tail(text))
		}
	}
}

func tail(text string) string { return text[max(0, len(text)-300):] }

func TestMonitoringComesByItsValuesOnly(t *testing.T) {
	kinds := []string{"kind: ServiceMonitor", "kind: PodMonitor", "kind: PrometheusRule", "kind: ConfigMap"}
	text, err := render(t)
	if err != nil {
		t.Fatal(tail(text))
	}
	for _, kind := range kinds {
		if strings.Contains(text, kind) {
			t.Errorf("by default there is a %s", kind)
		}
	}
	text, err = render(t, "metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true", "metrics.dashboard.enabled=true",
		"metrics.serviceMonitor.labels.team=storage", "metrics.prometheusRule.runbooks=https://runbooks.example.com/raftkv/")
	if err != nil {
		t.Fatal(tail(text))
	}
	text = strings.Join(strings.Fields(text), " ") // long texts are folded
	for _, want := range append(kinds, "team: storage", "grafana_dashboard: \"1\"", "raftkv.json:",
		"runbook_url: https://runbooks.example.com/raftkv/RaftkvClusterUnavailable.md",
		"summary: RaftCluster {{ $labels.cluster_namespace }}/{{ $labels.cluster }} has no leader") {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q", want)
		}
	}
}
