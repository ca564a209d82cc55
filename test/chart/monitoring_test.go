package chart

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	root       = filepath.Join("..", "..")
	monitoring = filepath.Join(root, "charts", "raftkv", "files", "monitoring")
)

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func alerts(t *testing.T) rules {
	t.Helper()
	var r rules
	if err := yaml.Unmarshal(read(t, filepath.Join(monitoring, "rules.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// metricNames are the names that the code gives to metrics: the texts in the calls that make them, as they are in the
// operator's code and with the node's prefix in the node's.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{"controller_runtime_reconcile_errors_total": true} // of controller-runtime
	for folder, prefix := range map[string]string{
		filepath.Join(root, "controllers"):      "",
		filepath.Join(root, "server", "status"): "raftkv_",
	} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil && word.MatchString(text) {
						names[prefix+text] = true
					}
				}
				return true
			})
		}
	}
	return names
}

var (
	word   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	metric = regexp.MustCompile(`\b(raftkv|controller_runtime)_[a-z0-9_]+`)
	suffix = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func checkNames(t *testing.T, names map[string]bool, where, expression string) int {
	t.Helper()
	found := metric.FindAllString(expression, -1)
	for _, name := range found {
		if !names[name] && !names[suffix.ReplaceAllString(name, "")] {
			t.Errorf("%s asks for %s, which nothing measures", where, name)
		}
	}
	return len(found)
}

func TestAlertsAskForMetricsThatExist(t *testing.T) {
	names := metricNames(t)
	for _, g := range alerts(t).Groups {
		for _, r := range g.Rules {
			if checkNames(t, names, r.Alert, r.Expr) == 0 {
				t.Errorf("%s asks for no metric of ours", r.Alert)
			}
		}
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join(monitoring, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	names, graphs := metricNames(t), 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			graphs++
			if checkNames(t, names, p.Title, target.Expr) == 0 {
				t.Errorf("%q asks for no metric of ours", p.Title)
			}
		}
	}
	if graphs < 15 {
		t.Errorf("only %d graphs were found", graphs)
	}
}

func TestEachAlertHasItsRunbookPage(t *testing.T) {
	pages := filepath.Join(root, "docs", "runbooks")
	index, known := string(read(t, filepath.Join(pages, "README.md"))), map[string]bool{"README.md": true}
	names := metricNames(t)
	for _, g := range alerts(t).Groups {
		for _, r := range g.Rules {
			known[r.Alert+".md"] = true
			text := string(read(t, filepath.Join(pages, r.Alert+".md")))
			for _, part := range []string{"# " + r.Alert + "\n", "Severity: " + r.Labels["severity"] + ".", "## What it means", "## What to do"} {
				if !strings.Contains(text, part) {
					t.Errorf("the page of %s lacks %q", r.Alert, part)
				}
			}
			checkNames(t, names, "the page of "+r.Alert, text)
			if !strings.Contains(index, "("+r.Alert+".md)") {
				t.Errorf("the index of the runbooks lacks %s", r.Alert)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s has no summary or no description", r.Alert)
			}
		}
	}
	files, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("docs/runbooks/%s is the page of no alert", f.Name())
		}
	}
}
