package chart

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	for name, yaml := range map[string]string{"chart": text, "config": string(manifest)} {
		_, deployment, found := strings.Cut(yaml, "kind: Deployment")
		_, template, labelled := strings.Cut(deployment, "template:")
		labels, _, _ := strings.Cut(template, "containers:")
		if !found || !labelled || !strings.Contains(labels, resources.LabelName+": "+resources.OperatorName) {
			t.Errorf("%s: the operator's pods lack the label %s=%s:\n%s", name, resources.LabelName, resources.OperatorName, labels)
		}
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
